"""git in a repository whose worktrees agents can write: nothing that they put there decides what git reads or runs.

Every command names GIT_DIR, GIT_COMMON_DIR and GIT_WORK_TREE, and starts in no folder of an agent. Of a person's
configuration outside of the repository only what says which files git ignores, and how it ends lines, is used. Hooks, the
file watcher, filters and merge programs are off.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wvo_mcp.execution.git import GitFailed, run_git
from wvo_mcp.execution.workspaces import guard

_SECONDS = 600.0
_TAKEN_OVER = ("core.excludesfile", "core.autocrlf", "core.eol", "core.attributesfile", "lfs.storage")
_OWN = {
    "core.splitIndex": "false",
    "core.untrackedCache": "false",
    "core.safecrlf": "false",
    "core.ignoreStat": "false",  # else git takes it that no file is ever changed
    "core.trustctime": "true",
    "core.checkStat": "default",
    "submodule.recurse": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
}
_MERGE = "git merge-file --quiet --marker-size=%L %A %O %B"
_FULL = ("No space left on device", "Disk quota exceeded", "File too large")
_US = {"NAME": "wvo-mcp", "EMAIL": "wvo-mcp@localhost"}
_SUBMITTED = "refs/wvo/submit"
_ARCHIVED = "refs/wvo/archive"
_FETCHED = "refs/wvo/fetched"


class Tampered(Exception):
    """Somebody changed the repository's own files; the text shows what. Nothing may be run in it."""


class Common:
    """The repository that all worktrees share. `top` is the folder of the worktree that ROOT is in."""

    def __init__(self, top: Path, git_dir: Path, settings: Mapping[str, str], baseline: guard.Baseline) -> None:
        self.top = top
        self.git_dir = git_dir
        self.settings = dict(settings)
        self.baseline = baseline
        self.head = _head(top, git_dir)
        config: Any = baseline["config"]
        ours = {key: value for key, value in self.settings.items() if key not in config}
        # A repository that came from another system may say otherwise; then git would not see some files.
        ours["core.ignorecase"] = "true" if (git_dir / "hEAD").exists() else "false"
        # The second file is the main worktree's alone; the guard watches it as a whole.
        self._options = {**_OWN, **ours, **disabled([*config, *guard.keys_of(git_dir / "config.worktree")])}
        self.lfs = "filter.lfs.required" in self._options or (git_dir / "lfs").is_dir()

    @classmethod
    def of(cls, root: Path) -> "Common | None":
        """As it is now; None where `root` is not in a repository. Raises GitFailed."""
        if (found := found_around(root)) is None:
            return None
        top, git_dir = found
        return cls(top, git_dir, _of_person(top, git_dir), guard.taken(git_dir))

    @classmethod
    def having(cls, commit: str, root: Path, copies: Path) -> "Common | None":
        """The one that has the commit: that around `root`, or one of the copies', which are in the folder `copies`. Raises
        GitFailed."""
        here = cls.of(root)
        if here is not None and here.commit_of(commit) is not None:
            return here
        for git_dir in sorted(copies.glob("*.git")):
            if (git_dir / "HEAD").is_file():
                other = cls(root, git_dir, {}, guard.taken(git_dir))
                if other.commit_of(commit) is not None:
                    return other
        return None

    @classmethod
    def known(cls, root: Path, facts: Mapping[str, Any]) -> "Common":
        """As it was when `facts` were written down. Raises GitFailed."""
        if (found := found_around(root)) is None:
            raise GitFailed(f"{root} is no longer in a git repository")
        return cls(*found, facts["settings"], facts["baseline"])

    @classmethod
    def beside(cls, root: Path, git_dir: Path, facts: Mapping[str, Any]) -> "Common":
        """Our own repository for copies of a folder without git: nobody's settings hold in it. Raises GitFailed."""
        if not (git_dir / "HEAD").is_file():
            raise GitFailed(f"the repository {git_dir} is gone")
        return cls(root, git_dir, {}, facts["baseline"])

    def check(self) -> None:
        """Raises Tampered."""
        if changed := guard.difference(self.git_dir, self.baseline):
            raise Tampered(changed)

    def run(
        self,
        *arguments: str,
        content: bytes = b"",
        env: Mapping[str, str] | None = None,
        tree: Path | None = None,
        ends_with_us: bool = False,
        seconds: float = _SECONDS,
        as_person: bool = False,
        at: Path | None = None,
        settings: Sequence[tuple[str, str]] = (),
    ) -> bytes:
        """In the working tree `tree`, else without one. `as_person`: with all of a person's configuration, for what logs in
        at a remote. `at`: the folder that it starts in. `settings` may be secret: no list of processes shows them. Raises
        Tampered, GitFailed."""
        self.check()
        named = {
            "GIT_DIR": str(self.git_dir),
            "GIT_COMMON_DIR": str(self.git_dir),
            "GIT_WORK_TREE": str(tree or self.top),
        }
        alone = {} if as_person else {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
        alone["PATH"] = _path_outside(self.top)
        alone["GIT_NO_REPLACE_OBJECTS"] = "1"  # refs/replace, which workers can write, calls one commit another
        given = [*self._options.items(), *settings]
        options = {"GIT_CONFIG_COUNT": str(len(given))}
        for number, (key, value) in enumerate(given):
            options |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        all_ = {**alone, **options, **named, **(env or {})}
        apart = self.top if tree in (None, self.top) else self.git_dir  # never where an agent writes
        return run_git(at or apart, *arguments, content=content, env=all_, seconds=seconds, ends_with_us=ends_with_us)

    def git(self, *arguments: str, **more: Any) -> str:
        return self.run(*arguments, **more).decode(errors="surrogateescape").strip()

    def branch(self) -> str | None:
        """The one that is checked out at `top`."""
        try:
            return self.git("symbolic-ref", "--quiet", "--short", self.head)
        except GitFailed:
            return None

    def checkout(self) -> Path | None:
        """The folder of the repository's own files, which git itself guesses by the name `.git`; None where there is none, or
        nothing says where."""
        if self.setting("core.bare", "--type=bool") == "true" or self.top == self.git_dir:
            return None
        if named := self.setting("core.worktree"):
            return Path(os.path.normpath(self.git_dir / named))
        if self.head == "HEAD":
            return self.top
        return self.git_dir.parent if self.git_dir.name == ".git" else None

    def setting(self, name: str, *options: str) -> str | None:
        """Of the repository's own configuration."""
        try:
            return self.git("config", "--get", *options, name) or None
        except GitFailed:
            return None

    def filters(self) -> set[str]:
        """The names of those that somebody configured: files in a person's checkout have passed through them."""
        return filters_of(self._options)

    def commit_of(self, revision: str) -> str | None:
        try:
            return self.git("rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}")
        except GitFailed:
            return None

    def tree_of(self, commit: str) -> str:
        return self.git("rev-parse", "--verify", f"{commit}^{{tree}}")

    def contains(self, commit: str, older: str) -> bool:
        try:
            self.git("merge-base", "--is-ancestor", older, commit)
        except GitFailed:
            return False
        return True

    def committed(
        self,
        tree: str,
        parents: Iterable[str],
        message: str,
        *,
        at: datetime | None = None,
        names: Mapping[str, str] | None = None,
    ) -> str:
        """With `at` the same call gives the same commit. `names`: GIT_AUTHOR_NAME and so on, where it is not ours."""
        by = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _US.items()}
        dates = (
            {} if at is None else {f"GIT_{who}_DATE": f"@{at.timestamp():.0f} +0000" for who in ("AUTHOR", "COMMITTER")}
        )
        with_parents = [one for parent in parents for one in ("-p", parent)]
        content = message.encode(errors="replace")
        return self.git(
            "commit-tree", "--no-gpg-sign", *with_parents, tree, content=content, env={**by, **dates, **(names or {})}
        )

    def pin(self, ref: str, commit: str) -> bool:
        """Make the ref; False where there is one of that name, whatever it leads to. Raises GitFailed."""
        try:
            self.git("update-ref", "--no-deref", ref, commit, "0" * len(commit))
        except GitFailed as error:
            if "exists" in str(error):
                return False
            raise
        return True

    def unpin(self, ref: str, commit: str) -> None:
        """Remove the ref, if it still is of that commit. Raises GitFailed."""
        self.git("update-ref", "--no-deref", "-d", ref, commit)

    def refs(self, prefix: str) -> dict[str, tuple[str, int]]:
        """{name: (object, when its commit was made, in seconds)} of the ref, or those below it."""
        form = "%(refname)%00%(objectname)%00%(committerdate:unix)"
        rows = (line.split("\0") for line in self.git("for-each-ref", f"--format={form}", prefix).splitlines())
        return {name: (commit, int(at or 0)) for name, commit, at in rows}

    def fetched(self, target: str) -> list[str]:
        """The commits of the target as remotes had it when they were last asked."""
        end = fetched_ref("", target).rpartition("/")[2]
        return [one for name, (one, _) in self.refs(_FETCHED).items() if name.rpartition("/")[2] == end]

    def archive(self, task_id: str, commit: str, day: str) -> str:
        """A ref that keeps the commit; the same one for the same commit and day."""
        ref = f"{_ARCHIVED}/{part(task_id)}/{day}-{commit[:16]}"
        if not self.pin(ref, commit) and self.commit_of(ref) != commit:
            raise GitFailed(f"{ref} is not what we left there")
        return ref

    def worktrees(self) -> dict[Path, str | None]:
        """Those that git knows, with their branches."""
        found: dict[Path, str | None] = {}
        path = Path()
        for line in self.git("worktree", "list", "--porcelain", "-z").split("\0"):
            name, _, value = line.partition(" ")
            if name == "worktree":
                path = Path(value)
                found[path] = None
            elif name == "branch":
                found[path] = value.removeprefix("refs/heads/")
        return found

    def exclude(self, rules: Sequence[str]) -> bool:
        """Lines that `.git/info/exclude` has from now on; whether one is new."""
        file = self.git_dir / "info" / "exclude"
        file.parent.mkdir(exist_ok=True)
        text = file.read_text("utf-8", "surrogateescape") if file.exists() else ""
        new = [rule for rule in rules if rule not in text.splitlines()]
        if new:
            self.check()
            with file.open("a", encoding="utf-8", errors="surrogateescape") as out:
                out.write(("" if not text or text.endswith("\n") else "\n") + "".join(f"{rule}\n" for rule in new))
            self.baseline = guard.taken(self.git_dir)
        return bool(new)

    def name(self) -> str:
        """The address of its remote without what logs in there, else the id of its first commit."""
        if (address := self.setting("remote.origin.url")) is None:
            return self.git("rev-list", "--max-parents=0", "HEAD", "--").split()[-1]
        scheme, mark, rest = address.partition("://")
        if not mark:
            return address
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def admin(common: Common, path: Path) -> Path | None:
    """The folder that git keeps for the worktree; found in the repository, never by the worktree's `.git`."""
    for file in sorted((common.git_dir / "worktrees").glob("*/gitdir")):
        # A pipe that somebody put there would keep us waiting. git may write paths that are relative to the file.
        if not file.is_file():
            continue
        named = file.parent / file.read_text("utf-8", "surrogateescape").strip()
        if Path(os.path.normpath(named)) == path / ".git":
            return file.parent
    return None


def means_full(why: str) -> bool:
    """Did git, or the system, say that the disk is full?"""
    return any(one in why for one in _FULL)


def changed(common: Common, older: str, newer: str) -> list[str]:
    """The paths that differ."""
    printed = common.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", older, newer)
    return [name for name in printed.decode(errors="surrogateescape").split("\0") if name]


def objects_apart(common: Common, folder: str) -> dict[str, str]:
    """git's environment in which new objects go to the folder."""
    objects = json.dumps(str(common.git_dir / "objects"), ensure_ascii=False)  # a path may hold a colon
    return {"GIT_OBJECT_DIRECTORY": folder, "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects}


def part(task_id: str) -> str:
    """The id as part of a ref or branch: git refuses some that we allow."""
    odd = ".." in task_id or task_id.endswith((".", ".lock"))
    return task_id.replace(".", "%2E") if odd else task_id


def whole(name: str) -> str:
    """The id whose part of a ref this is."""
    return name.replace("%2E", ".")


def submit_ref(task_id: str, number: int) -> str:
    return f"{_SUBMITTED}/{part(task_id)}/{number}"


def fetched_ref(remote: str, target: str) -> str:
    """What the merge queue fetched last. A person's `refs/remotes` are theirs."""
    return f"{_FETCHED}/{quote(remote, safe='')}/{quote(target, safe='')}"


def found_around(root: Path) -> tuple[Path, Path] | None:
    """The top of the worktree around `root`, and the repository's shared folder; read from files, as git would find them."""
    for top in (root, *root.parents):
        mark = top / ".git"
        if mark.is_dir() and _is_repository(mark):
            return top, mark.resolve()
        if mark.is_file():
            git_dir = (top / mark.read_text("utf-8").removeprefix("gitdir:").strip()).resolve()
            common = git_dir / "commondir"
            return top, (git_dir / common.read_text("utf-8").strip()).resolve() if common.is_file() else git_dir
        if _is_repository(top):
            return top, top.resolve()
    return None


def _is_repository(folder: Path) -> bool:
    """As git judges it. The sandbox of an agent's program may leave an empty `.git` in a folder such as /tmp."""
    return os.path.lexists(folder / "HEAD") and (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _head(top: Path, git_dir: Path) -> str:
    """HEAD of the worktree at `top`, as the repository calls it."""
    mark = top / ".git"
    own = (top / mark.read_text("utf-8").removeprefix("gitdir:").strip()).resolve() if mark.is_file() else git_dir
    return f"worktrees/{own.name}/HEAD" if own.parent == git_dir / "worktrees" else "HEAD"


def _of_person(top: Path, git_dir: Path) -> dict[str, str]:
    """What of a person's own configuration is used: it must not depend on who asks later, for a worker has another home."""
    home = Path.home()
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "git"
    found = {"core.excludesfile": str(folder / "ignore"), "core.attributesfile": str(folder / "attributes")}
    named = {"GIT_DIR": str(git_dir), "GIT_COMMON_DIR": str(git_dir), "GIT_WORK_TREE": str(top)}
    try:
        printed = run_git(top, "config", "--show-scope", "--null", "--list", env=named)
    except GitFailed:
        return found  # it cannot be read; then git itself would not work for the person either
    entries = printed.decode(errors="surrogateescape").split("\0")
    for scope, entry in zip(entries[0::2], entries[1::2], strict=False):
        key, _, value = entry.partition("\n")
        if scope in ("system", "global") and key in _TAKEN_OVER:
            found[key] = str(home / value[2:]) if value.startswith("~/") else value
        if key.startswith("filter."):  # that there is one; its programs are not taken over
            found[f"{key.rpartition('.')[0]}.required"] = "false"
    return found


def disabled(config: Iterable[str]) -> dict[str, str]:
    """Settings that keep the programs of the repository's config from being run: filters, and merges of single files."""
    off: dict[str, str] = {}
    for key in config:
        kind, _, rest = key.partition(".")
        name = rest.rpartition(".")[0]
        if kind == "filter":
            off |= {f"filter.{name}.{what}": "" for what in ("clean", "smudge", "process")}
            off[f"filter.{name}.required"] = "false"
        elif kind == "merge" and name:
            off[f"merge.{name}.driver"] = _MERGE
    return off


def filters_of(settings: Iterable[str]) -> set[str]:
    names = (key.removeprefix("filter.").rpartition(".")[0] for key in settings if key.startswith("filter."))
    return {name for name in names if name}


def _path_outside(top: Path) -> str:
    """PATH without folders that agents write."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(one for one in folders if one.startswith("/") and top not in Path(one).parents)
