"""The judgement of a whole text: every program that it runs, whatever it is wrapped in."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from wvo_mcp.domain.command import ANY, SimpleCommand, Word
from wvo_mcp.domain.judging.editing import EDITORS, editing
from wvo_mcp.domain.judging.git import git
from wvo_mcp.domain.judging.known import Judgements, ask, fed, known, listed, matches, programs
from wvo_mcp.domain.judging.reach import Place, Reach, after_equals
from wvo_mcp.domain.judging.variables import SETTING, builtin, variable
from wvo_mcp.domain.policy import ALLOWED, DEFAULT_SEVERITIES, Judgement, Verdict

_DEEPEST = 8
_INLINE = re.compile(
    r"-[a-zA-Z]*[cepriE]$|--(eval|print|exec|execute|command|run|batch|require|import|loader|experimental-loader)\b.*"
    r"|-[ceEpr].+|eval|-$"
)
_PYTHON = re.compile(r"-[bBdEiIOPqRsSuvx]*c.*|-$|-[bBdEIOPqRsSuvx]*i[a-zA-Z]*", re.DOTALL)
_RESERVED = frozenset(
    {"!", "{", "}", "if", "then", "else", "elif", "fi", "while", "until", "do", "done", "for", "in", "case", "esac"}
    | {"select", "function"}
)
"""The grammar took them for a program's name: then it read the text otherwise than a shell does."""
_RUNNING_MODULES = frozenset({"code", "codeop", "timeit", "pdb", "runpy", "cProfile", "profile", "trace", "asyncio"})


def judge(text: str, place: Place) -> Judgement:
    """The strictest judgement of its parts; what is watched is asked where nobody attends."""
    if len(text.encode(errors="replace")) > place.policy.command_bytes:
        return ask("length", f"it is longer than {place.policy.command_bytes:,} bytes", text[:200])
    worst = ALLOWED
    for one in _Judging(place).text(text, 0):
        asked = one.verdict is Verdict.WATCH and not place.attended and one.rule not in DEFAULT_SEVERITIES
        found = replace(one, verdict=Verdict.ASK) if asked else one
        if found.verdict > worst.verdict:
            worst = found
        if worst.verdict is Verdict.DENY:
            break
    return worst


@dataclass(slots=True)
class _Judging:
    place: Place
    reach: Reach = field(init=False)

    def __post_init__(self) -> None:
        self.reach = Reach(self.place)

    def text(self, text: str, depth: int) -> Judgements:
        if depth > _DEEPEST:
            yield ask("nesting", "it is nested too deeply to be judged", text)
            return
        script = self.place.read(text, {"HOME": (self.place.home,), "PATH": ("/usr/bin",)})
        for problem in script.problems:
            yield ask("unparsed", problem, text)
        if script.fork_bomb:
            yield Judgement(Verdict.DENY, "fork bomb", "A function that starts itself without end.", text)
        for position, command in enumerate(script.commands):
            # Only the very first command surely finds the folder as it is now.
            yield from self.simple(command if depth == position == 0 else replace(command, apart=True), depth)

    def simple(self, command: SimpleCommand, depth: int) -> Judgements:
        for redirect in command.redirects:
            if redirect.target is not None:
                yield from self.reach.path(redirect.target, command.text, writes=redirect.writes)
        for name, value in command.assigned:
            yield from variable(name, value, command, self.reach)
        if command.words:
            yield from self.words(command, command.words, depth)

    def words(self, command: SimpleCommand, words: Sequence[Word], depth: int) -> Judgements:
        """One program and its arguments, after the wrappers before them."""
        if depth > _DEEPEST:
            yield ask("nesting", "it is nested too deeply to be judged", command.text)
            return
        named, arguments = words[0], words[1:]
        if not named.text or named.glob:
            yield ask("computed name", "the program's name is computed", command.text)
            return
        if not named.text.isascii() or not named.text.isprintable() or re.search(r"\s", named.text):
            yield ask("look-alike", f"{named.text!r} is not a name in plain letters", command.text)
            return
        if named.text in _RESERVED:
            yield ask("unparsed", f"{named.text} stands where no program should", command.text)
            if arguments:
                yield from self.words(command, arguments, depth + 1)
            return
        names = [named.text]
        if "/" in named.text or named.text.startswith("~"):
            names, found = self.reach.program(named, command.text)
            yield from found
        for name in names:
            # Some file systems do not tell RM from rm.
            plain = re.sub(r"^(pip)[\d.]+$", r"\1", name.lower().removesuffix(".exe"))
            for spelt in dict.fromkeys((name, name.lower(), plain)):
                yield from listed(self.place.policy, spelt, arguments, command)
                yield from self.program(spelt, arguments, command, depth)

    def program(self, name: str, arguments: Sequence[Word], command: SimpleCommand, depth: int) -> Judgements:
        """By what it does with its arguments."""
        text, reach = command.text, self.reach
        wrapper = known()["wrappers"].get(name)
        texts = [one.text for one in arguments]
        if wrapper is not None and ("run" not in wrapper or wrapper["run"] in texts):
            yield from self.wrapped(name, wrapper, arguments, command, depth)
        elif name in programs("shells"):
            yield from self.shell(arguments, command, depth)
        elif name == "eval":
            yield from self.string(arguments, command, depth)
        elif name == "trap":
            if arguments and texts[0] not in ("-p", "-l", "-", ""):
                yield from self.string([one for one in arguments[:2] if one.text != "--"][:1], command, depth)
        elif name in (".", "source"):
            yield from self.script_file(arguments, command)
        elif name in programs("interpreters") or name.rstrip("0123456789.") in programs("interpreters"):
            yield from self.interpreter(name, arguments, command, depth)
        elif name == "git":
            yield from git(arguments, command, reach)
        elif name == "find":
            yield from self.find(arguments, command, depth)
        elif name in ("rm", "rmdir", "unlink", "shred", "truncate"):
            yield from self.remove(name, arguments, command)
        elif name in EDITORS:
            yield from editing(name, arguments, command, reach)
        elif name in ("cd", "pushd"):
            folders = [one for one in arguments if not re.match("[-+].", one.start)]
            yield from reach.folder(folders[0] if folders else None, text, certain=not command.apart)
        elif name == "dd":
            for one in arguments:
                yield from reach.path(after_equals(one), text, writes=one.start.startswith("of="))
                if one.text is None and not one.known.startswith(("if=", "of=")):
                    yield ask("dd", "what dd writes is computed", text)
        elif name in ("cp", "mv", "ln", "install"):
            yield from reach.copied(name, arguments, text)
        elif name in programs("wordless") or name in SETTING:
            yield from builtin(name, arguments, command, reach)
        else:
            yield from self.unlisted(name, arguments, command, depth)

    def unlisted(self, name: str, arguments: Sequence[Word], command: SimpleCommand, depth: int) -> Judgements:
        if name in programs("patterns") and not any(
            re.match(r"-[a-zA-Z]*[ef]$|--(regexp|file)", one.start) for one in arguments
        ):
            first = next((one for one in arguments if not one.start.startswith("-")), None)
            arguments = [one for one in arguments if one is not first]
        if name == "tar" and re.match(r"-?[a-zA-Z]*P", arguments[0].start if arguments else ""):
            yield ask("tar -P", "tar would write wherever the archive says", command.text)
        reads = name in programs("readers")
        yield from self.reach.arguments(arguments, command.text, writes=not reads)
        if name in ("sort", "uniq", "tree", "yq", "xxd", "tee"):  # they write what is named last, or by an option
            yield from self.reach.arguments(arguments, command.text, writes=True)
        for place, one in enumerate(() if reads else arguments[:-1]):  # it may run them, as `perf stat git push` does
            if (one.text or "").rpartition("/")[2] in programs("runnable"):
                yield from self.words(command, arguments[place:], depth + 1)

    def wrapped(
        self, name: str, wrapper: Mapping[str, Any], arguments: Sequence[Word], command: SimpleCommand, depth: int
    ) -> Judgements:
        if wrapper.get("watch"):
            yield Judgement(Verdict.WATCH, name, f"{name} runs it with the rights of another user.", command.text)
        rest, values, skip = list(arguments), wrapper.get("values", ()), wrapper.get("skip", 0)
        if "run" in wrapper:
            at = [one.text for one in rest].index(wrapper["run"])
            for one, value in pairwise(rest[:at]):
                if one.start in wrapper.get("chdir", ()):
                    yield from self.reach.folder(value, command.text)
            rest = rest[at + 1 :]
        unsure, replaced = False, "{}" if name == "parallel" else None
        while rest:
            one = rest[0].text
            if one is None:
                break
            option, equals, value = one.partition("=")
            if one == "--":
                del rest[: 1 if wrapper.get("shell_option") else 1 + skip]
                unsure = False
                break
            if option in wrapper.get("chdir", ()) or (
                option[:2] in wrapper.get("chdir", ()) and not one.startswith("--")
            ):
                attached = value if equals else option[2:] if not one.startswith("--") else ""
                yield from self.reach.folder(Word((attached,)) if attached else (rest[1:2] or [None])[0], command.text)
                del rest[: 1 if attached else 2]
            elif wrapper.get("shell_option") and re.match(r"-[a-zA-Z]*c|--(session-)?command", one):
                attached = value if one.startswith("--") else one.partition("c")[2]
                yield from self.string([Word((attached,))] if attached else rest[1:2], command, depth)
                del rest[: 1 if attached else 2]
            elif wrapper.get("split") and one.startswith(("-S", "-vS", "--split-string")):
                attached = value if one.startswith("--") else one.partition("S")[2]
                yield from self.string([Word((attached,)), *rest[1:]] if attached else rest[1:], command, depth)
                return
            elif name == "xargs" and re.match(r"-I|-i|--replace", one):
                replaced = value or one[2:] if not one.startswith("--") else value
                if not replaced and one == "-I":
                    replaced = rest[1].start if len(rest) > 1 else ""
                    rest.pop(0)
                replaced = replaced or "{}"
                rest.pop(0)
            elif one.startswith("-") and (len(one) > 1 or name == "env"):
                unsure = one not in values and not equals
                given = [Word((value,))] if equals else rest[1:2] if one in values else []
                yield from self.reach.arguments([*rest[:1], *given], command.text, writes=True)
                del rest[: 2 if one in values else 1]
            elif wrapper.get("assigns") and re.match(r"[^=/\s]+=", one):
                yield from variable(option, Word((value,)), command, self.reach)
                rest.pop(0)
                unsure = False
            elif skip:
                rest.pop(0)
                skip -= 1
            else:
                break
        if wrapper.get("file"):
            yield from self.reach.arguments(rest, command.text, writes=True)
            return
        if not rest or (name in ("command", "builtin") and any(one.text in ("-v", "-V") for one in arguments[:1])):
            return
        if wrapper.get("shell"):
            yield from self.string(rest, command, depth)
            return
        if wrapper.get("local"):
            yield from self.package_program(name, rest, command, depth)
            return
        if replaced is not None:
            rest = [ANY if replaced in one.start else one for one in rest]
        if wrapper.get("more"):
            rest.append(ANY)
        inner = replace(command, fed=None, given=None) if wrapper.get("more") else command
        yield from self.words(inner, rest, depth + 1)
        if unsure and len(rest) > 1:  # the option may have taken a word
            yield from self.words(inner, rest[1:], depth + 1)

    def package_program(self, name: str, rest: Sequence[Word], command: SimpleCommand, depth: int) -> Judgements:
        """npx and its like: what the project has installed is run as any other program."""
        inside = f"{self.place.workspace}/node_modules/.bin/{rest[0].text}"
        if (
            not re.fullmatch(r"\w[\w-]*", rest[0].start)
            or not self.place.exists(inside)
            or any(one.text in ("-p", "--package", "-c", "--call") for one in rest)
        ):
            if not any(matches(pattern, name, rest) for pattern in self.place.policy.allow):
                yield ask(name, f"{name} would bring in a package that the project has not installed", command.text)
            return
        yield from self.words(command, rest, depth + 1)

    def shell(self, arguments: Sequence[Word], command: SimpleCommand, depth: int) -> Judgements:
        rest = list(arguments)
        while rest:
            option = rest.pop(0).text
            if option is None:
                yield ask("shell", "what the shell runs is computed", command.text)
                return
            if option in ("--rcfile", "--init-file") or option.startswith(("--rcfile=", "--init-file=")):
                yield ask("shell", f"{option} names a file that the shell runs first", command.text)
                return
            if re.match(r"[-+][a-zA-Z]", option):
                if "c" in option:
                    # With an option that takes a word, which one is the code depends on the shell: all of them are judged.
                    codes = [one for one in rest if one.text is None or not one.text.startswith(("-", "+"))]
                    unclear = re.search("[oO]", option) is not None or rest[:1] != codes[:1]
                    yield from self.string(codes if unclear else codes[:1], command, depth, joined=False)
                    return
                if "s" in option:
                    break  # the rest are its arguments
                if re.search("[oO]", option):
                    del rest[:1]
            elif option not in ("-", "--") and not option.startswith("--"):
                yield from self.script_file([Word((option,)), *rest], command)
                return
        if command.given is not None:
            yield from self.text(command.given, depth + 1)
        elif command.fed is not None:
            yield fed("a shell", command)

    def string(self, words: Sequence[Word], command: SimpleCommand, depth: int, *, joined: bool = True) -> Judgements:
        """Text that is run as a command."""
        if any(one.text is None for one in words):
            yield ask("computed text", "the text that is run is computed", command.text)
            return
        texts = [one.text or "" for one in words]
        for text in [" ".join(texts)] if joined else texts:
            yield from self.text(text, depth + 1)

    def script_file(self, words: Sequence[Word], command: SimpleCommand) -> Judgements:
        """A file that is run must be one of the workspace."""
        if not words:
            return
        text = words[0].text
        if text is not None and re.match(r"[A-Za-z]+:", text):
            reason = "What the interpreter would run is fetched from elsewhere."
            yield Judgement(Verdict.WATCH, "fetched code", reason, command.text)
        elif text is None or text in ("-", "/dev/stdin") or text.startswith(("/dev/fd", "/proc/")):
            yield fed("an interpreter", command)
        else:
            yield from self.reach.path(words[0], command.text, writes=False, runs=True)
            name = text.removesuffix("/__main__.py").rpartition("/")[2]  # such as .venv/bin/twine
            yield from listed(self.place.policy, name, words[1:], command)
            yield from self.reach.arguments(words[1:], command.text, writes=True)

    def interpreter(self, name: str, arguments: Sequence[Word], command: SimpleCommand, depth: int) -> Judgements:
        python = name.startswith(("python", "pypy"))
        for index, one in enumerate(arguments):
            text = one.text
            if text is None:
                yield ask("computed code", "what the interpreter runs is computed", command.text)
                return
            module = re.fullmatch(r"-[bBdEIOPqRsSuvx]*m(.*)", text) if python else None
            if module is not None:
                named = [Word((module[1],))] if module[1] else []
                yield from self.module([*named, *arguments[index + 1 :]], command, depth)
                return
            if text in ("--version", "-V", "--help", "-h", "-v") and len(arguments) == 1:
                return
            if (_PYTHON if python else _INLINE).fullmatch(text):
                if text == "-":
                    break
                reason = f"{name} would run code that is not a file of the workspace: write it to one."
                yield Judgement(Verdict.WATCH, "inline code", reason, command.text)
                return
            if not text.startswith("-"):
                if text in ("run", "test", "fmt", "lint", "check", "task", "install", "add", "build") and name in (
                    "deno",
                    "bun",
                ):
                    continue
                if python and arguments[index - 1].text in ("-W", "-X") and index:
                    continue
                yield from self.script_file(arguments[index:], command)
                return
        if (
            not arguments
            or arguments[-1].start == "-"
            or not any(one.start in ("test", "--test", "install", "build") for one in arguments)
        ):
            yield (
                fed(name, command) if command.fed else ask(name, f"{name} without a file waits for code", command.text)
            )

    def module(self, words: Sequence[Word], command: SimpleCommand, depth: int) -> Judgements:
        """`python -m`: of the standard library, of a package, or of the workspace."""
        name = words[0].text if words else None
        if not name:
            yield ask("computed code", "the module is computed", command.text)
            return
        first = name.partition(".")[0]
        if first in _RUNNING_MODULES:
            yield Judgement(
                Verdict.WATCH, "inline code", f"The module {first} runs code from its arguments.", command.text
            )
        yield from self.words(command, (Word((first.replace("_", "-"),)), *words[1:]), depth + 1)

    def find(self, arguments: Sequence[Word], command: SimpleCommand, depth: int) -> Judgements:
        roots: list[Word] = []
        for one in arguments:
            if re.match(r"-[a-zA-Z]{2}|[(!)]", one.start):
                break
            if not re.fullmatch(r"-[HLPDO].*", one.start):
                roots.append(one)
        roots = roots or [Word((".",))]
        texts = [one.text for one in arguments]
        yield from self.reach.arguments(roots, command.text, writes=False)
        for option, value in zip(texts, arguments[1:], strict=False):
            if option in ("-fprint", "-fprintf", "-fls", "-fprint0"):
                yield from self.reach.path(value, command.text, writes=True)
        if "-delete" in texts:
            yield from self.remove(
                "rm",
                [Word(("-r",)), *[Word(tuple(f"{value}/x" for value in one.values), one.known) for one in roots]],
                command,
            )
        rest = list(arguments)
        while rest:
            if rest.pop(0).text not in ("-exec", "-execdir", "-ok", "-okdir"):
                continue
            inner: list[Word] = []
            while rest and rest[0].text not in (";", "+"):
                inner.append(rest.pop(0))
            values = tuple(value for root in roots for value in root.values)
            below = (
                Word(tuple(f"{value}/x" for value in values), glob=True) if all(one.values for one in roots) else ANY
            )
            found = [below if one.text == "{}" else ANY if "{}" in one.start else one for one in inner]
            if found:
                yield from self.words(replace(command, fed=None, given=None), found, depth + 1)

    def remove(self, name: str, arguments: Sequence[Word], command: SimpleCommand) -> Judgements:
        """Below the workspace what is not protected; elsewhere never a folder."""
        options = [one.start for one in arguments if one.start.startswith("-")]
        deep = name == "rm" and any(
            one in ("--recursive", "--no-preserve-root") or re.match(r"-[a-zA-Z]*[rR]", one) for one in options
        )
        for one in arguments:
            if not one.start.startswith("-") or one.text is None:
                yield from self.reach.path(one, command.text, writes=True, removes=deep)
