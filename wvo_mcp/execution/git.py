"""A person's git repository, handled so that nothing of theirs runs, asks, moves or is lost.

No hooks, no signing, no file watcher, no pager, no question. Whatever is built is built in an index of our own; the
person's index is replaced in one rename under git's own lock, or not at all.
"""

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wvo_mcp.processes import Limit, NotStarted, Program, run_blocking

_SECONDS = 30
_MOST_BYTES = 1 << 26
_OPTIONS = (
    "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "commit.gpgSign=false", "-c", "gc.auto=0",
    "-c", "core.pager=cat", "-c", "advice.detachedHead=false",
)  # fmt: skip
_KEPT = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL")
_US = ("wvo-mcp", "wvo-mcp@localhost")
_REMOTE = "refs/remotes/origin/"
_UNFINISHED = {
    "MERGE_HEAD": "a merge",
    "rebase-merge": "a rebase",
    "rebase-apply": "a rebase or a patch series",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "sequencer": "a series of cherry-picks or reverts",
    "BISECT_LOG": "a bisect",
}


class GitFailed(Exception):
    """git is missing, took too long or refused; the text is the reason. `code` and `output` are those of one that ran to its
    end, `said` what that one wrote as errors."""

    def __init__(self, message: str, code: int | None = None, output: bytes = b"", said: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.output = output
        self.said = said


@dataclass(frozen=True, slots=True)
class Entry:
    """A path as a commit or an index has it. `plain` is False for conflicts, and for what git was configured to skip."""

    mode: str
    blob: str
    plain: bool = True


class Repository:
    """One working tree of a repository."""

    def __init__(self, root: Path, git_dir: Path) -> None:
        self.root = root
        self._git_dir = git_dir

    @classmethod
    def around(cls, folder: Path) -> "Repository | None":
        """None when no folder upward has a `.git`; then git is not even run. Raises GitFailed."""
        if not any((up / ".git").exists() for up in (folder, *folder.parents)):
            return None
        asked = cls(folder, folder)._git("rev-parse", "--show-toplevel", "--absolute-git-dir")
        root, git_dir = asked.decode().splitlines()
        return cls(Path(root), Path(git_dir))

    def unfinished(self) -> str | None:
        """What the person is in the middle of, in words."""
        return next((what for mark, what in _UNFINISHED.items() if (self._git_dir / mark).exists()), None)

    def branch(self) -> str | None:
        """The branch that is checked out; None when none is."""
        return self._asked("symbolic-ref", "--quiet", "HEAD")

    def default_branch(self) -> str | None:
        """That of `origin` where it is here too, else main or master, else the one that is checked out."""
        remote = (self._asked("symbolic-ref", "--quiet", "refs/remotes/origin/HEAD") or "").removeprefix(_REMOTE)
        for name in (remote, "main", "master"):
            if name and self._asked("rev-parse", "--quiet", "--verify", f"refs/heads/{name}^{{commit}}"):
                return name
        return (self.branch() or "").removeprefix("refs/heads/") or None

    def head(self) -> str | None:
        """The present commit; None before the first one."""
        return self._asked("rev-parse", "--quiet", "--verify", "HEAD^{commit}")

    def committed(self, commit: str, name: str) -> Entry | None:
        found = self._git("ls-tree", "-z", "--full-tree", commit, "--", name).decode()
        if not found:
            return None
        mode, kind, blob = found.partition("\t")[0].split()
        return Entry(mode, blob, plain=kind == "blob" and mode.startswith("100"))

    def staged(self, name: str) -> Entry | None:
        """The path in the person's index."""
        found = self._git("ls-files", "-z", "--stage", "-v", "--", name).decode().split("\0")[:-1]
        if not found:
            return None
        tag, mode, blob, stage = found[0].partition("\t")[0].split()
        # Lower case: assumed to be unchanged. S: outside a sparse checkout.
        return Entry(mode, blob, plain=tag == "H" and stage == "0" and len(found) == 1)

    def ignores(self, name: str) -> bool:
        # It accepts only paths, and refuses this variable.
        return self._asked("check-ignore", "--quiet", "--", name, env={"GIT_LITERAL_PATHSPECS": "0"}) is not None

    def content(self, blob: str) -> bytes:
        return self._git("cat-file", "blob", blob)

    def store(self, content: bytes, as_file: str | None = None) -> str:
        """The blob of this content; `as_file`: as `git add` would take it from a file of that name."""
        how = ("--no-filters",) if as_file is None else ("--path", as_file)
        return self._git("hash-object", "-w", "--stdin", *how, content=content).decode().strip()

    def commit(self, parent: str, name: str, entry: Entry, message: str) -> str:
        """A commit on top of `parent` that differs in this one path; no branch knows of it yet."""
        with tempfile.TemporaryDirectory(prefix="wvo-git-") as folder:
            own = {"GIT_INDEX_FILE": f"{folder}/index"}
            self._git("-c", "core.splitIndex=false", "read-tree", parent, env=own)
            self._git(*_replacing(name, entry), env=own)
            tree = self._git("write-tree", env=own).decode().strip()
        made = self._git(
            "commit-tree", "--no-gpg-sign", "-p", parent, tree, content=message.encode(), env=self._names()
        )
        return made.decode().strip()

    def stage(self, name: str, entry: Entry | None) -> None:
        """Put this one path into the person's index as it is given, or take it out; all else in it stays. Raises GitFailed
        while another git command holds the index."""
        if not (self._git_dir / "index").exists():
            raise GitFailed("the repository has no index")
        self._git(*(("update-index", "--force-remove", "--", name) if entry is None else _replacing(name, entry)))

    def advance(self, old: str, new: str, why: str) -> bool:
        """Move the branch that is checked out from `old` to `new`, unless another command moved it."""
        try:
            self._git("update-ref", "-m", why, "HEAD", new, old, env=self._names())
        except GitFailed:
            if self.head() == old:
                raise
            return False
        return True

    def _names(self) -> Mapping[str, str]:
        """We are the author. The committer is the person, if git knows them by name."""
        author = {"GIT_AUTHOR_NAME": _US[0], "GIT_AUTHOR_EMAIL": _US[1]}
        if self._asked("-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT") is None:
            return {**author, "GIT_COMMITTER_NAME": _US[0], "GIT_COMMITTER_EMAIL": _US[1]}
        return author

    def _asked(self, *arguments: str, env: Mapping[str, str] | None = None) -> str | None:
        """What it prints; None when it refuses. A person's name may be in any encoding."""
        try:
            return self._git(*arguments, env=env).decode(errors="replace").strip()
        except GitFailed:
            return None

    def _git(self, *arguments: str, content: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        return run_git(self.root, *arguments, content=content, env=env)


def run_git(
    folder: Path,
    *arguments: str,
    content: bytes = b"",
    env: Mapping[str, str] | None = None,
    seconds: float = _SECONDS,
    ends_with_us: bool = False,
) -> bytes:
    """What it prints. Raises GitFailed."""
    # A server may itself have been started by git, with variables that name another repository or index.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _KEPT}
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_LITERAL_PATHSPECS": "1", "LC_ALL": "C"}
    program = Program(
        argv=("git", *_OPTIONS, *arguments),
        env={**clean, **quiet, **(env or {})},
        cwd=folder,
        stdin=content,
        deadline=seconds,
        output=_MOST_BYTES,
        ends_with_us=ends_with_us,
    )
    try:
        ended = run_blocking(program, keep=_MOST_BYTES)
    except NotStarted as error:
        raise GitFailed("git is not installed" if error.missing else f"git cannot be started: {error}") from None
    if ended.limit is not None:
        raise GitFailed(
            f"git took longer than {seconds:.0f} s" if ended.limit is Limit.DEADLINE else "git printed too much"
        )
    if ended.code:
        said = ended.stderr.decode(errors="replace").strip()
        reason = said.splitlines()[0].removeprefix("fatal: ") if said else f"git {arguments[0]} failed"
        raise GitFailed(reason, ended.code, ended.stdout, said)
    return ended.stdout


def _replacing(name: str, entry: Entry) -> tuple[str, ...]:
    return ("update-index", "--add", "--cacheinfo", f"{entry.mode},{entry.blob},{name}")
