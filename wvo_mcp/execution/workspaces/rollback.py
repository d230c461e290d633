"""The files of a working tree back to what a commit holds: all of them, or those that are named.

What is here now is committed first, ignored files that must give way included, so that every rollback can be undone. A ref
says what was begun before a file is touched, and whoever finds it after a crash finishes it. git changes the files: it
follows no link on the way, makes new files instead of writing into old ones (which may have other names elsewhere), and
refuses all of it where a file changed meanwhile. The worktree's own index and branch stay as they are.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.lfs import LONGEST, Contents, Pointer
from wvo_mcp.execution.workspaces.repository import changed, objects_apart
from wvo_mcp.execution.workspaces.snapshot import Tree, joined, opened

JOURNAL = "refs/wvo/rollback"
_MOST_SHOWN = 200_000
_MOST_NAMED = 10
REFUSED = ("not uptodate", "would be overwritten", "would lose untracked", "would be removed")
"""What git says before it changes anything."""


class NotPossible(Exception):
    """Nothing was changed; the text names the files and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`before` and `after` are trees: what is here, and what will be. `changed`: paths that differ between them. `kept`: those
    that differ from the commit and stay. `apart`: those with a known secret, and those that git refuses: no commit ever
    holds them, so what is in them is copied to `aside` instead."""

    before: str
    after: str
    whole: bool
    changed: tuple[str, ...]
    kept: tuple[str, ...]
    apart: tuple[str, ...]
    aside: Path
    diff: str = ""

    @property
    def nothing(self) -> bool:
        return not self.changed and not self.apart


def planned(
    tree: Tree, to: str, names: Sequence[str] | None = None, *, shown: bool = False, lenient: bool = False
) -> Plan:
    """What a rollback to the commit `to` would do; of the files and folders `names` alone where they are given. With `shown`
    it has the diff, and leaves nothing in the repository. Names of nothing are refused, unless `lenient`. Raises NotPossible,
    Tampered, GitFailed."""
    with tree.own_index() as own, _objects(tree, own, apart=shown):
        before, apart = _here(tree, own, to)
        differing = _entries(tree, own, before, to)
        chosen = differing
        if names is not None:
            named = [inside(tree.path, name) for name in names]
            if not lenient:
                _check_known(tree, own, named, [*differing, *apart], before)
            chosen = {name: entry for name, entry in differing.items() if covered(name, named)}
            apart = [name for name in apart if covered(name, named)]
        after = tree.common.tree_of(to) if names is None else _changed_tree(tree, own, before, chosen)
        _check_way(tree, own, before, after)
        changed = tuple(_entries(tree, own, before, after))
        return Plan(
            before=before,
            after=after,
            whole=names is None,
            changed=changed,
            kept=tuple(name for name in differing if name not in chosen),
            apart=tuple(apart),
            aside=tree.index.with_name(f"{tree.index.name}.kept") / before[:16],
            diff=_diff(tree, own, before, after) if shown else "",
        )


def held(tree: Tree) -> str:
    """The tree of all that is here, but for files with a known secret: those are as in the base. Raises NotPossible, Tampered,
    GitFailed."""
    with tree.own_index() as own:
        return _here(tree, own, tree.base)[0]


def applied(tree: Tree, plan: Plan, before: str) -> None:
    """Do it; `before` is a commit of the tree `plan.before` that something else keeps. Raises NotPossible where a file
    changed since it was planned, Tampered, GitFailed; cut off or failed half-way, `finished` goes on."""
    journal = _journal(tree)
    commit = tree.common.committed(plan.after, (before,), "Rollback: what is begun")
    if not tree.common.pin(journal, commit):
        raise NotPossible("Another rollback of this workspace was begun and is not finished.")
    try:
        _apply(tree, plan)
    except NotPossible:
        tree.common.unpin(journal, commit)
        raise
    tree.common.unpin(journal, commit)


def finished(tree: Tree, day: str) -> str | None:
    """Go on with a rollback that was cut off. What was here meanwhile is archived first; the ref of it, None where nothing
    was begun. Raises NotPossible, Tampered, GitFailed."""
    journal = _journal(tree)
    found = tree.common.refs(journal).get(journal)
    if found is None:
        return None
    commit = found[0]
    names = _split(tree.common.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", f"{commit}^", commit))
    plan = planned(tree, commit, names, lenient=True)
    here = tree.common.committed(plan.before, (f"{commit}^",), "What was here when a rollback went on")
    kept = tree.common.archive(tree.index.name, here, day)
    _apply(tree, plan)
    tree.common.unpin(journal, commit)
    return kept


def _apply(tree: Tree, plan: Plan) -> None:
    with tree.own_index() as own:
        if hidden := tree.hidden(own):  # where they would be, there may be something else
            tree.unhide(own, hidden)
        # The index keeps what it knows of files that do not change. The others are read again: one may be of another size
        # than git noted, and yet be the same but for the ends of its lines.
        tree.run(own, "read-tree", "--reset", plan.before)
        here = [name for name in plan.changed if name not in plan.apart]
        of_lfs = tree.of_lfs(own, here)
        tree.enter(own, [name for name in here if not _is_dir(tree, name)], of_lfs)
        if (now := tree.run(own, "write-tree").decode().strip()) != plan.before:
            raise NotPossible(f"{_few(changed(tree.common, plan.before, now))}: it changed meanwhile.")
        if plan.apart:
            _set_aside(tree, plan)
        moved = [*of_lfs, *plan.apart]  # the index cannot compare these
        for name in moved:
            _removed(tree.path, name)
        try:
            tree.run(own, "read-tree", "-m", "-u", plan.before, plan.after)
        except GitFailed as error:
            if not moved and any(one in str(error) for one in REFUSED):
                raise NotPossible(f"A file changed meanwhile: {error}") from None
            raise
        there = set(_split(tree.run(own, "ls-files", "-z"))) if moved else set[str]()
        if lost := [name for name in moved if name in there]:
            tree.run(own, "checkout-index", "-f", "-z", "--stdin", content=joined(lost))
        for name in of_lfs:
            _fetched(tree, plan, name)
        if plan.whole:
            _without_empty_folders(tree, own)


# What is here, and what will be


def _here(tree: Tree, own: dict[str, str], to: str) -> tuple[str, list[str]]:
    """The tree of all that is here, and of ignored files that the commit has; and paths that no tree holds, for a secret or
    because git refuses them, which it has as in the base."""
    found = tree.changes(own)
    names = [*found.tracked, *found.new]
    apart = [name for name in names if tree.holds_secret(name)]
    taken = [name for name in names if name not in apart]
    apart += tree.enter(own, taken, tree.of_lfs(own, taken))
    now = tree.run(own, "write-tree").decode().strip()
    hidden = [name for name, entry in _entries(tree, own, now, to).items() if entry[0] == "A" and _is_file(tree, name)]
    if way := [name for name in hidden if name in tree.left_out]:
        raise NotPossible(f"{_few(way)}: it came by .worktreeinclude and is in the way.")
    hidden = [name for name in hidden if name not in apart]
    apart += [name for name in hidden if tree.holds_secret(name)]
    if hidden := [name for name in hidden if name not in apart]:
        apart += tree.enter(own, hidden, tree.of_lfs(own, hidden))
        now = tree.run(own, "write-tree").decode().strip()
    return now, apart


def _entries(tree: Tree, own: dict[str, str], old: str, new: str) -> dict[str, tuple[str, str, str]]:
    """By path: how it differs (A, D, M, T), and the mode and object that it has in `new`."""
    raw = _split(tree.run(own, "diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", old, new))
    found: dict[str, tuple[str, str, str]] = {}
    for entry, name in zip(raw[0::2], raw[1::2], strict=True):
        _, mode, _, blob, kind = entry.split(" ")
        found[name] = (kind, mode, blob)
    return found


def covered(name: str, by: Collection[str]) -> bool:
    """It is one of them, or below one."""
    return name in by or any(str(above) in by for above in PurePosixPath(name).parents)


def _check_known(tree: Tree, own: dict[str, str], names: Sequence[str], moving: Sequence[str], before: str) -> None:
    """Raises NotPossible for names of nothing."""
    above = {str(one) for name in moving for one in (name, *PurePosixPath(name).parents)}
    if unseen := [one for one in names if one not in above]:
        same = _split(tree.run(own, "ls-tree", "-z", "--name-only", "--full-tree", before, "--", *unseen))
        if unknown := [one for one in unseen if one not in same]:
            raise NotPossible(
                f"{_few(unknown)}: neither here nor in the checkpoint is there such a file that git sees."
            )


def _changed_tree(tree: Tree, own: dict[str, str], before: str, chosen: dict[str, tuple[str, str, str]]) -> str:
    with tempfile.TemporaryDirectory(prefix="wvo-git-") as folder:
        other = {**own, "GIT_INDEX_FILE": str(Path(folder) / "index")}
        tree.run(other, "read-tree", before)
        ordered = sorted(chosen.items(), key=lambda one: one[1][0] != "D")  # a file makes room for a folder first
        lines = [f"{mode} {blob}\t{name}" for name, (_, mode, blob) in ordered]
        tree.run(other, "update-index", "-z", "--index-info", content=joined(lines))
        return tree.run(other, "write-tree").decode().strip()


def inside(top: Path, name: str) -> str:
    """The path as git has it. Raises NotPossible for what is not below the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() and path.is_relative_to(top):
        path = path.relative_to(top)
    parts = path.parts
    if not parts or path.is_absolute() or ".." in parts or "\0" in name or any(one.lower() == ".git" for one in parts):
        raise NotPossible(f"{name!r} is not a file of the workspace {top}.")
    return str(path)


def _check_way(tree: Tree, own: dict[str, str], before: str, after: str) -> None:
    """Ignored files stay, so nothing may come to stand in their place. Raises NotPossible."""
    entries = _entries(tree, own, before, after)
    gone = {name for name, (kind, *_) in entries.items() if kind == "D"}
    way: list[str] = []
    for name in (name for name, (kind, *_) in entries.items() if kind in "AT"):
        above = [str(one) for one in PurePosixPath(name).parents][:-1]
        way += [one for one in above if one not in gone and os.path.lexists(tree.path / one) and not _is_dir(tree, one)]
        if _is_dir(tree, name):
            for folder, _, files in os.walk(tree.path / name):
                below = (str((Path(folder) / file).relative_to(tree.path)) for file in files)
                way += [one for one in below if one not in gone]
    if way:
        raise NotPossible(f"{_few(way)}: ignored files stay, and this one is in the way. Move it.")


def _diff(tree: Tree, own: dict[str, str], before: str, after: str) -> str:
    how = ("-r", "-p", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames")
    return tree.run(own, "diff-tree", *how, before, after).decode(errors="replace")[:_MOST_SHOWN]


@contextmanager
def _objects(tree: Tree, own: dict[str, str], *, apart: bool) -> Generator[None]:
    """With `apart` new objects go to a folder that is gone afterwards."""
    if not apart:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="wvo-git-") as folder:
        own |= objects_apart(tree.common, folder)
        yield


# What git does not do


def _set_aside(tree: Tree, plan: Plan) -> None:
    plan.aside.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in plan.apart:
        copy = plan.aside / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch(0o600)
        with suppress(FileNotFoundError), os.fdopen(opened(tree.path, name), "rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target)
            target.flush()
            os.fsync(target.fileno())


def _fetched(tree: Tree, plan: Plan, name: str) -> None:
    """The content of an LFS file, where the task had it: one that is as the base has it was never more than a pointer."""
    entries = {
        rev: tree.common.git("ls-tree", "-z", "--full-tree", rev, "--", name).rstrip("\0")
        for rev in (tree.base, plan.after)
    }
    pointer = Pointer.of(tree.read(name, LONGEST) or b"")
    if entries[tree.base] == entries[plan.after] or pointer is None:
        return
    contents = Contents.of(tree.common)
    if not contents.seem_to_have(pointer):
        return
    with (
        contents.place(pointer.oid).open("rb") as source,
        os.fdopen(opened(tree.path, name, os.O_WRONLY | os.O_TRUNC), "wb") as target,
    ):
        shutil.copyfileobj(source, target)


def _removed(top: Path, name: str) -> None:
    """Never through a link on the way; a folder stays."""
    *parents, last = PurePosixPath(name).parts
    with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
        above = opened(top, "/".join(parents), os.O_DIRECTORY) if parents else os.open(top, os.O_DIRECTORY)
        try:
            os.unlink(last, dir_fd=above)
        finally:
            os.close(above)


def _without_empty_folders(tree: Tree, own: dict[str, str]) -> None:
    printed = _split(tree.run(own, "ls-files", "-z", "--others", "--directory", "--exclude-standard"))
    for name in (one for one in printed if one.endswith("/")):
        for folder, _, files in os.walk(tree.path / name, topdown=False):
            if not files:
                with suppress(OSError):  # it is not empty
                    Path(folder).rmdir()


def _is_file(tree: Tree, name: str) -> bool:
    """A file or a link is there, and no link on the way to it."""
    mode = _mode(tree, name)
    return mode is not None and not stat.S_ISDIR(mode)


def _is_dir(tree: Tree, name: str) -> bool:
    mode = _mode(tree, name)
    return mode is not None and stat.S_ISDIR(mode)


def _mode(tree: Tree, name: str) -> int | None:
    path = tree.path / name
    if any(one.is_symlink() for one in path.parents if one.is_relative_to(tree.path)):
        return None
    try:
        return path.lstat().st_mode
    except OSError:
        return None


def _journal(tree: Tree) -> str:
    return f"{JOURNAL}/{tree.index.name}"


def _split(printed: bytes) -> list[str]:
    return [one for one in printed.decode(errors="surrogateescape").split("\0") if one]


def _few(names: Collection[str]) -> str:
    shown = [repr(name)[1:-1] for name in list(names)[:_MOST_NAMED]]
    return ", ".join(shown) + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")
