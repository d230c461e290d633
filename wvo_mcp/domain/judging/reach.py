"""Which paths a command reaches, and whether it may."""

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from wvo_mcp.domain.command import Script, Word
from wvo_mcp.domain.judging.known import Judgements, ask, programs
from wvo_mcp.domain.policy import Judgement, SafetyPolicy, Verdict, matching

_ALONE = re.compile(r"-[\w,:+-]+?(?=~|[./])")
_PATH_IN_WORD = re.compile(r"[\w.:-]*[=@<]{1,2}")
_MOST_FOLDERS = 32


@dataclass(frozen=True, slots=True)
class Place:
    """Where a command is run, and what it may reach. All paths are canonical."""

    workspace: str
    cwd: str
    home: str
    resolve: Callable[[str, str], Iterable[str]]
    """(path, cwd) -> the canonical paths that it names, a pattern's matches and its folder among them."""
    read: Callable[[str, Mapping[str, tuple[str, ...]]], Script]
    """The parser; the mapping has the values of variables that are known."""
    exists: Callable[[str], bool]
    is_folder: Callable[[str], bool]
    policy: SafetyPolicy
    temporary: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    """Folders of people and of the project, which are not temporary even where they are below a temporary one."""
    attended: bool = False


@dataclass(slots=True)
class Reach:
    """Of one text. `folders`: every one that a part of it may run in; which of them it is, is not followed."""

    place: Place
    folders: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.folders.append(self.place.cwd)

    def folder(self, target: Word | None, command: str, *, certain: bool = False) -> Judgements:
        """What comes later may run there; `certain`: it does, if there is such a folder."""
        if target is None or target.text in (None, "-", ""):
            yield ask("cd", "the folder that later commands run in is not known", command)
            return
        yield from self.path(target, command, writes=False)
        yield from self._entered(target.text or "", command)
        if certain and len(self.folders) == 1:
            real = [*self.place.resolve(self._home(target.text or ""), self.folders[0])]
            if len(real) == 1 and within(real[0], self.place.workspace) and self.place.is_folder(real[0]):
                self.folders[:] = real
                return
        for folder in list(self.folders):
            for one in self.place.resolve(self._home(target.text or ""), folder):
                if one not in self.folders:
                    self.folders.append(one)
        if len(self.folders) > _MOST_FOLDERS:
            yield ask("cd", "it changes its folder too often to be followed", command)
            del self.folders[_MOST_FOLDERS:]

    def _entered(self, target: str, command: str) -> Judgements:
        """Some programs keep the folder for their next command, where a relative path would not show what it is."""
        for folder in self.folders:
            for real in self.place.resolve(self._home(target), folder):
                inner = real[len(self.place.workspace) :].lstrip("/") if within(real, self.place.workspace) else ""
                if inner and self.place.policy.protects(inner) is not None:
                    verdict = Verdict.ASK if self.place.attended else Verdict.DENY
                    reason = f"{inner} is protected: stay above it, and name its files from the top of the workspace."
                    yield Judgement(verdict, "cd", reason, command)

    def arguments(self, words: Sequence[Word], command: str, *, writes: bool) -> Judgements:
        """All of them may be paths. What a program that only reads is given may be computed."""
        for one in words:
            text = one.start
            inner = _PATH_IN_WORD.match(text)
            if text.startswith("-"):
                path = after_equals(one) if "=" in text else _of_short_option(one)
                if path is not None:
                    yield from self.path(path, command, writes=writes)
            elif inner is not None:
                yield from self.path(_cut(one, inner.end()), command, writes=writes)
                yield from self.path(one, command, writes=writes)
            elif text.startswith("file:"):
                yield from self.path(_cut(one, 5), command, writes=writes)
            elif "://" not in text:
                yield from self.path(one, command, writes=writes)

    def copied(self, name: str, words: Sequence[Word], command: str) -> Judgements:
        """cp, mv, ln, install: what is made below the last word counts too."""
        plain = [one for one in words if not one.start.startswith("-")]
        yield from self.arguments(words, command, writes=True) if name != "cp" else self._copies(words, plain, command)
        into = [after_equals(one) for one in words if one.start.startswith("--target-directory=")] or plain[-1:]
        into += [two for one, two in pairwise(words) if one.text in ("-t", "--target-directory")]
        for target in into:
            for source in plain:
                last = (source.text or "").rstrip("/").rpartition("/")[2]
                if target.text is not None and last and last not in (".", "..") and source is not target:
                    yield from self.path(Word((f"{target.text}/{last}",)), command, writes=True)

    def _copies(self, words: Sequence[Word], plain: Sequence[Word], command: str) -> Judgements:
        into = any(one.start.startswith(("-t", "--target-directory")) for one in words)
        sources = plain if into else plain[:-1]
        yield from self.arguments(sources, command, writes=False)
        yield from self.arguments(
            [one for one in words if not any(one is source for source in sources)], command, writes=True
        )
        if any(one.text is None and not one.known for one in sources):
            yield ask("computed path", "what is copied is computed", command)

    def path(self, word: Word, command: str, *, writes: bool, runs: bool = False, removes: bool = False) -> Judgements:
        """Inside the workspace or a temporary folder, and neither forbidden nor protected from what is done with it. `runs`:
        as code; `removes`: whole, as rm -r does."""
        if not word.values:
            if word.known.startswith(("/", "~")) or "../" in word.known:
                yield from self.path(
                    Word((word.known.rpartition("/")[0] or "/",)), command, writes=writes, runs=runs, removes=removes
                )
            if writes or runs:
                yield ask("computed path", "a path that is written or run is computed", command)
            return
        for value in word.values:
            if value in programs("devices") or value.startswith("/dev/fd/") or not value:
                continue
            if value.startswith(("/dev/tcp/", "/dev/udp/")):
                yield ask("network", "the shell opens a connection", command)
                continue
            for folder in self.folders:
                for real in self.place.resolve(self._home(value), folder):
                    if real.startswith("/dev/") and writes and real not in programs("devices"):
                        yield Judgement(Verdict.DENY, "device", f"{value} is a device.", command)
                    else:
                        yield from self._real(real, value, command, writes=writes, runs=runs, removes=removes)

    def _real(self, real: str, value: str, command: str, *, writes: bool, runs: bool, removes: bool) -> Judgements:
        place, policy = self.place, self.place.policy
        inside = within(real, place.workspace)
        inner = real[len(place.workspace) :].lstrip("/") if inside else real
        forbidden = matching(policy.forbidden, inner)
        if forbidden is not None:
            reason = f"{value} is forbidden by the policy of this project ({forbidden})."
            yield Judgement(policy.verdict("forbidden"), "forbidden", reason, command)
        if inside:
            if removes and not inner:
                reason = "The workspace itself is never removed; name what is in it."
                yield Judgement(Verdict.DENY, "rm -r", reason, command)
            if writes and inner:
                yield from self._protected(inner, command)
            return
        if not runs and self._temporary(real) and not (removes and real in place.temporary):
            return
        allowed = [place.home + one[1:] if one.startswith("~/") else one for one in policy.allowed]
        if matching([one for one in allowed if one.startswith("/")], real) is not None:
            return
        if not writes and any(within(real, one) for one in (*programs("readable"), *programs("system"))):
            return
        if removes:
            yield Judgement(
                Verdict.DENY, "rm -r", f"{value} is outside of the workspace: it is never removed.", command
            )
            return
        act = "run" if runs else "written" if writes else "read"
        verdict = policy.verdict("outside")
        asked = ask("outside", f"{value} is outside of the workspace and would be {act}", command)
        yield replace(asked, verdict=verdict)

    def _temporary(self, real: str) -> bool:
        closed = self.place.closed
        return any(
            within(real, one) and not any(within(own, one) and within(real, own) for own in closed)
            for one in self.place.temporary
        )

    def _protected(self, inner: str, command: str) -> Judgements:
        rule = self.place.policy.protects(inner)
        if rule == ".git":
            reason = f"{inner} belongs to git: it is not written by hand; use git add, commit, diff, log and status."
            yield Judgement(Verdict.DENY, ".git", reason, command)
        elif rule is not None:
            asked = ask("protected", f"{inner} is protected ({rule})", command)
            yield replace(asked, verdict=self.place.policy.verdict("protected"))

    def _home(self, path: str) -> str:
        if path == "~" or path.startswith("~/"):
            return self.place.home + path[1:]
        return "/" + path if path.startswith("~") else path  # another user's home is outside in any case

    def program(self, name: Word, command: str) -> tuple[list[str], list[Judgement]]:
        """The names under which a program named by its path is judged: its own, and that of what it links to."""
        text = name.text or ""
        base = posixpath.basename(text)
        lexical = [posixpath.normpath(posixpath.join(folder, self._home(text))) for folder in self.folders]
        names, found = [base], list[Judgement]()
        for one in lexical:
            if not any(within(one, folder) for folder in (self.place.workspace, *programs("system"))):
                found += self.path(name, command, writes=False, runs=True)
            names += [posixpath.basename(real) for real in self.place.resolve(one, "/")]
        return list(dict.fromkeys(one for one in names if one)), found


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def after_equals(word: Word) -> Word:
    return _cut(word, word.start.find("=") + 1)


def _cut(word: Word, start: int) -> Word:
    if word.text is None:
        return replace(word, values=(), known=word.known[start:])
    return Word((word.text[start:],), glob=word.glob)


def _of_short_option(word: Word) -> Word | None:
    """The path in `-o/etc/x` and `-I../y`, if there is one; a single slash is a delimiter."""
    found = _ALONE.match(word.start)
    return None if found is None or word.start[found.end() :] == "/" else _cut(word, found.end())
