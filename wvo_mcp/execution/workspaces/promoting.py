"""What a shadow changed, put into the project's folder: all of it or nothing.

Only paths that the shadow changed are looked at and written, and only where the project still has what the shadow began
with, or has it already. A ref says what was begun before a file is touched, and its commits hold what was there before;
whoever finds it after a crash finishes it.
"""

import json
import os
import stat
import tempfile
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.repository import Common, part
from wvo_mcp.execution.workspaces.rollback import REFUSED
from wvo_mcp.execution.workspaces.snapshot import Tree, joined, opened

JOURNAL = "refs/wvo/promotion"
_NOTHING = "0" * 6
_HAD = "What the project's folder had"
_RIGHTS = 0o777
"""Not those that let a file run as its owner: an agent has written what is in it."""
Entry = tuple[str, str]
"""Mode and object, as git has them."""
Modes = dict[str, int]
"""By path."""


class Moved(Exception):
    """The project's folder has something else in these places by now; nothing was changed."""

    def __init__(self, paths: Collection[str]) -> None:
        super().__init__(", ".join(paths))
        self.paths = sorted(paths)


@dataclass(frozen=True, slots=True)
class Promotion:
    """`before` and `after` are trees of the changed paths alone, as the project's folder has them and is to have them."""

    commit: str
    before: str
    after: str
    changed: tuple[str, ...]


def planned(tree: Tree, root: Path, commit: str) -> Promotion:
    """What makes the project have what `commit` changed of the shadow's base. Raises Moved, Tampered, GitFailed."""
    was, becomes = _sides(tree.common, tree.base, commit)
    changed = sorted({*was, *becomes})
    with _small_index() as own:
        before, after = _written(tree, root, own, was), _written(tree, root, own, becomes)
        new, gone = becomes.keys() - was.keys(), was.keys() - becomes.keys()
        other = _differing(tree, root, own, before, was) | _in_the_way(root, new, gone)
        if other:
            there = _differing(tree, root, own, after, becomes)
            there |= {name for name in other if name not in becomes and _is_there(root / name)}
            there |= {name for name in other if _led_elsewhere(root, name)}
            if moved := other & there:
                raise Moved(moved)
            have = {name: entry for name, entry in was.items() if name not in other}
            before = _written(tree, root, own, have | {name: becomes[name] for name in other if name in becomes})
    return Promotion(commit, before, after, tuple(changed))


def applied(tree: Tree, root: Path, promotion: Promotion) -> None:
    """Do it. Raises Moved where a file changed since it was planned; Tampered, GitFailed where it failed, and then the files
    are what they were, unless that failed as well: `finished` goes on."""
    common = tree.common
    modes = _modes(root, _entries(common, promotion.before))
    begun = common.committed(promotion.before, (), f"{_HAD}\n\n{json.dumps(modes)}\n")
    commit = common.committed(promotion.after, (begun, promotion.commit), "Promotion: what is begun")
    if not common.pin(JOURNAL, commit):
        raise GitFailed("another promotion of this workspace was begun and is not finished")
    try:
        _put(tree, root, promotion.before, promotion.after)
    except GitFailed as error:
        if not any(one in str(error) for one in REFUSED):  # else git has changed nothing
            _undone(tree, root, promotion, modes)
        common.unpin(JOURNAL, commit)
        if any(one in str(error) for one in REFUSED):
            raise Moved(promotion.changed) from None
        raise
    _settled(tree, root, promotion.after, modes)


def kept(tree: Tree) -> None:
    """It is on record that the promotion was made: the journal is not needed any more, what was there before stays."""
    if (found := tree.common.refs(JOURNAL).get(JOURNAL)) is not None:
        tree.common.pin(f"refs/wvo/promoted/{found[0][:16]}", found[0])
        tree.common.unpin(JOURNAL, found[0])


def is_begun(tree: Tree) -> bool:
    """It was cut off, unless it is being made now. Raises Tampered, GitFailed."""
    return JOURNAL in tree.common.refs(JOURNAL)


@dataclass(frozen=True, slots=True)
class Kept:
    """A commit that has what somebody wrote into these files while a promotion was cut off."""

    ref: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The commit that is promoted then."""

    commit: str
    kept: tuple[Kept, ...] = ()


def finished(tree: Tree, root: Path, day: str) -> Finished | None:
    """Go on with what was cut off; None where nothing was begun. Whatever somebody wrote in between is archived first, and
    named until `kept` says that it is on record. Raises Tampered, GitFailed."""
    common = tree.common
    if (found := common.refs(JOURNAL).get(JOURNAL)) is None:
        return None
    begun, after = f"{found[0]}^1", common.tree_of(found[0])
    was, becomes = _entries(common, begun), _entries(common, found[0])
    modes = _modes_of(common, begun)
    with _small_index() as own:
        if led := [name for name in (*was, *becomes) if _led_elsewhere(root, name)]:
            raise GitFailed(f"a link is on the way to {led[0]}")
        here = _here(tree, root, own, was, becomes)
    if _foreign(common, _entries(common, here), was, becomes):
        left = common.committed(here, (begun,), "What was in the project's folder when a promotion went on")
        common.archive(tree.index.name, left, day)
    if here != after:
        _put(tree, root, here, after)
    _settled(tree, root, after, modes)
    return Finished(common.git("rev-parse", f"{found[0]}^2"), tuple(_archived(tree, begun, was, becomes)))


def _archived(tree: Tree, begun: str, was: Mapping[str, Entry], becomes: Mapping[str, Entry]) -> Generator[Kept]:
    """Also by one who went on with it before, and was killed."""
    common = tree.common
    first = common.git("rev-parse", begun)
    for ref, (commit, _) in common.refs(f"refs/wvo/archive/{part(tree.index.name)}").items():
        if common.commit_of(f"{commit}^1") == first:
            yield Kept(ref, tuple(_foreign(common, _entries(common, commit), was, becomes)))


def _foreign(
    common: Common, here: Mapping[str, Entry], was: Mapping[str, Entry], becomes: Mapping[str, Entry]
) -> list[str]:
    """What neither the project's folder had, nor git was to write there: one that git has written in part is no work of
    anybody's."""
    found: list[str] = []
    for name, (_, blob) in here.items():
        known = {one[name][1] for one in (was, becomes) if name in one}
        if blob in known:
            continue
        if name in becomes and _content(common, becomes[name][1]).startswith(_content(common, blob)):
            continue
        found.append(name)
    return sorted(found)


def _content(common: Common, blob: str) -> bytes:
    return common.run("cat-file", "blob", blob)


def theirs(tree: Tree, root: Path, paths: Collection[str]) -> tuple[str, list[str]]:
    """A commit on top of the shadow's base that has these paths as the project's folder has them now; and those that it has
    not, since they hold a secret. Raises Tampered, GitFailed."""
    there = _at(tree, root)
    secret = [name for name in paths if there.holds_secret(name)]
    with tempfile.TemporaryDirectory(prefix="wvo-git-") as folder:
        own = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        there.run(own, "read-tree", tree.base)
        there.enter(own, [name for name in paths if name not in secret], ())
        now = there.run(own, "write-tree").decode().strip()
    return tree.common.committed(now, (tree.base,), "What the project's folder has by now"), secret


def _at(tree: Tree, root: Path) -> Tree:
    """The project's folder, as a working tree of the shadow's repository."""
    return Tree(tree.common, root, tree.base, tree.index)


def _sides(common: Common, old: str, new: str) -> tuple[dict[str, Entry], dict[str, Entry]]:
    """The paths that differ, as the one and as the other has them."""
    raw = common.run("diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", old, new)
    fields = raw.decode(errors="surrogateescape").split("\0")
    was, becomes = dict[str, Entry](), dict[str, Entry]()
    for entry, name in zip(fields[0::2], fields[1::2], strict=False):
        old_mode, mode, old_blob, blob, _ = entry.removeprefix(":").split(" ")
        if old_mode != _NOTHING:
            was[name] = (old_mode, old_blob)
        if mode != _NOTHING:
            becomes[name] = (mode, blob)
    return was, becomes


def _entries(common: Common, content: str) -> dict[str, Entry]:
    """All paths of a tree."""
    printed = common.run("ls-tree", "-r", "-z", "--full-tree", content).decode(errors="surrogateescape")
    found: dict[str, Entry] = {}
    for entry in printed.split("\0")[:-1]:
        what, _, name = entry.partition("\t")
        mode, _, blob = what.split(" ")
        found[name] = (mode, blob)
    return found


@contextmanager
def _small_index() -> Generator[dict[str, str]]:
    """For the few paths that are promoted: the project's other files are not read."""
    with tempfile.TemporaryDirectory(prefix="wvo-git-") as folder:
        yield {"GIT_INDEX_FILE": str(Path(folder) / "index")}


def _written(tree: Tree, root: Path, own: dict[str, str], entries: Mapping[str, Entry]) -> str:
    """A tree of these paths alone, which the index holds then."""
    at = _at(tree, root)
    at.run(own, "read-tree", "--empty")
    lines = [f"{mode} {blob}\t{name}" for name, (mode, blob) in entries.items()]
    at.run(own, "update-index", "-z", "--index-info", content=joined(lines))
    return at.run(own, "write-tree").decode().strip()


def _differing(tree: Tree, root: Path, own: dict[str, str], content: str, entries: Mapping[str, Entry]) -> set[str]:
    """Those that the project's folder does not have like this."""
    at = _at(tree, root)
    at.run(own, "read-tree", "--reset", content)
    with suppress(GitFailed):  # it says so where one differs
        at.run(own, "update-index", "-q", "--refresh")
    printed = at.run(own, "diff-files", "--name-only", "-z", "--no-renames", "--ignore-submodules=all")
    differing = {name for name in printed.decode(errors="surrogateescape").split("\0") if name}
    return differing | {name for name in entries if _led_elsewhere(root, name)}


def _in_the_way(root: Path, new: Collection[str], gone: Collection[str]) -> set[str]:
    """Of paths that are new: those where something is already, or that lead elsewhere. A folder makes room for a file if all
    that it holds goes."""
    there = [name for name in new if _led_elsewhere(root, name) or os.path.lexists(root / name)]
    return {name for name in there if _led_elsewhere(root, name) or not _is_emptied(root, name, gone)}


def _is_emptied(root: Path, name: str, gone: Collection[str]) -> bool:
    """It is a folder with these paths alone."""
    if (root / name).is_symlink() or not (root / name).is_dir():
        return False
    for folder, folders, files in os.walk(root / name):
        links = [one for one in folders if (Path(folder) / one).is_symlink()]
        if any(os.path.relpath(Path(folder) / one, root) not in gone for one in (*files, *links)):
            return False
    return True


def _is_there(path: Path) -> bool:
    """A folder is no file: where one is, the file is gone."""
    return os.path.lexists(path) and (path.is_symlink() or not path.is_dir())


def _led_elsewhere(root: Path, name: str) -> bool:
    """A link is on the way."""
    return any((root / one).is_symlink() for one in PurePosixPath(name).parents if one.name)


def _put(tree: Tree, root: Path, before: str, after: str) -> None:
    """git changes the files; it refuses all of it where one is not as `before` has it, or something is in the way."""
    at = _at(tree, root)
    with _small_index() as own:
        at.run(own, "read-tree", "--reset", before)
        with suppress(GitFailed):
            at.run(own, "update-index", "-q", "--refresh")
        at.run(own, "read-tree", "-m", "-u", before, after)


def _undone(tree: Tree, root: Path, promotion: Promotion, modes: Modes) -> None:
    """Whatever git has changed by now is as it was again. Raises GitFailed: then the journal stays."""
    was, becomes = _entries(tree.common, promotion.before), _entries(tree.common, promotion.after)
    with _small_index() as own:
        here = _here(tree, root, own, was, becomes)
    if here != promotion.before:
        _put(tree, root, here, promotion.before)
    _settled(tree, root, promotion.before, modes)


def _here(tree: Tree, root: Path, own: dict[str, str], was: Mapping[str, Entry], becomes: Mapping[str, Entry]) -> str:
    """A tree of these paths as the project's folder has them now."""
    _written(tree, root, own, was)
    _at(tree, root).enter(own, sorted({*was, *becomes}), ())
    return _at(tree, root).run(own, "write-tree").decode().strip()


def _modes(root: Path, entries: Mapping[str, Entry]) -> Modes:
    """Of the person's files. git makes new ones in their place, with the modes that it gives to all."""
    found: Modes = {}
    for name in entries:
        with suppress(OSError):
            status = (root / name).lstat()
            if stat.S_ISREG(status.st_mode):
                found[name] = status.st_mode & _RIGHTS
    return found


def _modes_of(common: Common, begun: str) -> Modes:
    """As they were when the promotion began."""
    text = common.git("cat-file", "commit", begun).partition(f"{_HAD}\n\n")[2]
    return json.loads(text) if text else {}


def _mode(had: int, executable: bool) -> int:
    """Whoever could read it may run it, or nobody; all else is the person's."""
    if executable == bool(had & stat.S_IXUSR):
        return had
    return had | (had & 0o444) >> 2 if executable else had & ~0o111


def _settled(tree: Tree, root: Path, content: str, modes: Modes) -> None:
    """The files have the modes that the person gave them, and are on the disk."""
    folders = set[Path]()
    for name, (kind, _) in _entries(tree.common, content).items():
        if not kind.startswith("100"):
            continue
        with suppress(OSError):  # somebody removed it again
            descriptor = opened(root, name)
            try:
                if name in modes:
                    os.fchmod(descriptor, _mode(modes[name], executable=kind == "100755"))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        folders.add((root / name).parent)
    for folder in folders:
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(descriptor)
            os.close(descriptor)
