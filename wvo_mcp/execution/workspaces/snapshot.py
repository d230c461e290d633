"""What a worktree holds, as a commit: untracked files too, by an index of our own, without running anything.

Only commands that look at files themselves are used: `git add` starts `git status` in each submodule, which reads the
configuration that it finds there. Files of Git LFS become pointers here, as its filter would make them.
"""

import hashlib
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from wvo_mcp.domain.known_secrets import known_in
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.lfs import LONGEST, POINTER, Contents, Pointer
from wvo_mcp.execution.workspaces.repository import Common, admin, changed, means_full

LARGEST = 10 << 20
"""Bytes of one new file."""
MOST = 50 << 20
"""Bytes of all new files."""
_MOST_FILES = 20_000
_CHUNK = 1 << 20
_SETTLED_SECONDS = 3.0
_MOST_REFUSED = 20
_DIED = 128
"""How git ends when it refuses."""
_GITS = "on some system that is the name of git's own folder"
_NO_PATTERNS = (("core.sparseCheckout", "false"),)


class NotSubmittable(Exception):
    """What the worktree holds cannot become a commit as it is; the text names the files and what to do."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Paths that differ from the base, or may. `nested`: repositories within it that are not part of it."""

    tracked: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tree:
    """The working tree of a task. `index` is ours, as git wrote it when it made the tree from `base`; `left_out` never enters
    a commit."""

    common: Common
    path: Path
    base: str
    index: Path
    left_out: Collection[str] = field(default_factory=frozenset[str])

    def commit(self, message: str, *, everything: bool = False) -> str:
        """A commit of all that is here on top of the base; the base itself when nothing differs. With `everything` nothing is
        refused. Raises NotSubmittable, Tampered, GitFailed."""
        with self.own_index() as own:
            found = self.changes(own)
            names = [*found.tracked, *found.new]
            of_lfs = self.of_lfs(own, names)
            if not everything:
                self._judge(found, of_lfs)
            if (refused := self.enter(own, names, of_lfs)) and not everything:
                why = next(iter(refused.values()))
                raise NotSubmittable(f"{_named(refused)}: git does not take it ({why}). Remove or rename it.")
            # Also where nothing differs from the index: that is of the first base, and this may be a later one.
            tree = self.run(own, "write-tree").decode().strip()
        if tree == self.common.tree_of(self.base):
            return self.base
        return self.common.committed(tree, (self.base,), message)

    def files(self, commit: str) -> list[str]:
        """The paths that differ between the base and the commit."""
        return changed(self.common, self.base, commit)

    def submodules(self) -> list[str]:
        """Those of the base that somebody fetched here: what is in them only git could compare, by their own settings."""
        with self.own_index() as own:
            printed = self.run(own, "ls-files", "-z", "--stage").decode(errors="surrogateescape")
        names = (entry.partition("\t")[2] for entry in printed.split("\0") if entry.startswith("160000 "))
        return [name for name in names if os.path.lexists(self.path / name / ".git")]

    def begin(self, git_index: Path) -> None:
        """Keep the index that git has just written."""
        self.index.parent.mkdir(parents=True, exist_ok=True)
        self._settled.unlink(missing_ok=True)
        _put(git_index, self.index)  # never none: only it tells what a sparse checkout leaves out

    def forget(self) -> None:
        """Remove the index."""
        self._settled.unlink(missing_ok=True)
        self.index.unlink(missing_ok=True)

    @property
    def _settled(self) -> Path:
        """The same index, written anew once the files were older than it: git reads those of the same second each time."""
        return self.index.with_name(f"{self.index.name}.settled")

    @contextmanager
    def own_index(self) -> Generator[dict[str, str]]:
        """A copy of the index, as git's environment, with its time: what is younger is looked at by its content."""
        if self.path.is_symlink() or not self.path.is_dir() or self.path.resolve() != self.path:
            raise GitFailed(f"{self.path} is not a folder")
        with tempfile.TemporaryDirectory(prefix="wvo-git-") as folder:
            copy = Path(folder) / "index"
            own = {"GIT_INDEX_FILE": str(copy)}
            if self._settled.is_file():
                shutil.copy2(self._settled, copy)
            elif self.index.is_file():
                shutil.copy2(self.index, copy)
                self._settle(own, copy)
            else:
                self.run(own, "read-tree", self.base)
            self._as_worker_has_it(own)
            yield own

    def _settle(self, own: dict[str, str], copy: Path) -> None:
        """Write it anew, if it is old enough. What was changed since stays changed in it: git marks what it cannot tell."""
        if time.time() - self.index.stat().st_mtime < _SETTLED_SECONDS:
            return
        with suppress(GitFailed):  # it says so where a file differs
            self.run(own, "update-index", "-q", "--refresh")
        with suppress(OSError):  # without it the next one takes longer
            _put(copy, self._settled)

    def hidden(self, own: dict[str, str]) -> list[str]:
        """Paths that a sparse checkout leaves out: that they are not here says nothing."""
        return [name for name, tag in self._tags(own).items() if tag == "S"] if self._is_sparse() else []

    def hide(self, own: dict[str, str], names: Collection[str]) -> None:
        self.run(own, "update-index", "-z", "--skip-worktree", "--stdin", content=joined(names))

    def unhide(self, own: dict[str, str], names: Collection[str]) -> None:
        self.run(own, "update-index", "-z", "--no-skip-worktree", "--stdin", content=joined(names))

    def _is_sparse(self) -> bool:
        """The worktree may be a sparse checkout, or was made in one."""
        own = admin(self.common, self.path)
        return any((one / "info/sparse-checkout").is_file() for one in (self.common.git_dir, own) if one is not None)

    def _tags(self, own: dict[str, str]) -> dict[str, str]:
        printed = self.run(own, "ls-files", "-z", "-t").decode(errors="surrogateescape")
        return {entry[2:]: entry[0] for entry in printed.split("\0")[:-1]}

    def _as_worker_has_it(self, own: dict[str, str]) -> None:
        """What a worker took into its sparse checkout is not left out: if it is not here, it was removed. What the worker has
        left out since was not removed. Only its own index tells; what is here counts in any case."""
        if not self._is_sparse():
            return
        ours, theirs = self._tags(own), self._tags_of_worker()
        folders = {folder: (self.path / folder).is_dir() for folder in {str(PurePosixPath(one).parent) for one in ours}}
        here = {one for one in ours if folders[str(PurePosixPath(one).parent)] and os.path.lexists(self.path / one)}
        taken = [
            one for one, tag in ours.items() if tag == "S" and (one in here or (theirs and theirs.get(one) != "S"))
        ]
        if taken:
            self.unhide(own, taken)
        if left := [one for one, tag in ours.items() if tag != "S" and one not in here and theirs.get(one) == "S"]:
            self.hide(own, left)

    def _tags_of_worker(self) -> dict[str, str]:
        index = (admin(self.common, self.path) or self.path) / "index"
        if not index.is_symlink() and index.is_file():
            with tempfile.TemporaryDirectory(prefix="wvo-git-") as folder, suppress(GitFailed):  # it may be anything
                shutil.copyfile(index, Path(folder) / "index")
                return self._tags({"GIT_INDEX_FILE": str(Path(folder) / "index")})
        return {}

    def run(self, own: dict[str, str], *arguments: str, content: bytes = b"") -> bytes:
        """git with such an index, in the working tree. Raises Tampered, GitFailed."""
        # Patterns would be those of the checkout that it was made in.
        return self.common.run(*arguments, content=content, env=own, tree=self.path, settings=_NO_PATTERNS)

    def enter(self, own: dict[str, str], names: Collection[str], of_lfs: Collection[str]) -> dict[str, str]:
        """Take the paths into the index as they are here; those of LFS as pointers. The ones that git takes from nobody, with
        what it said: a name like `.GIT`, an encoding that the file does not have. Raises Tampered, GitFailed."""
        contents = Contents.of(self.common) if of_lfs else None
        pointers = {name: entry for name in of_lfs if contents and (entry := self._pointer(name, contents)) is not None}
        # git takes no path beyond a link, not even out of its index: a folder may have become one.
        beyond = {name for name in names if _beyond_link(self.path, name)}
        plain = [name for name in names if name not in pointers and name not in beyond]
        refused: dict[str, str] = {}
        self._add(own, plain, refused)
        if pointers or beyond:
            lines = [f"{entry}\t{name}" for name, entry in pointers.items()]
            lines += [f"0 {'0' * len(self.base)}\t{name}" for name in beyond]
            self.run(own, "update-index", "-z", "--index-info", content=joined(lines))
        return refused | self._passed_over(own, [name for name in plain if _may_be_gits(name) and name not in refused])

    def _passed_over(self, own: dict[str, str], names: Collection[str]) -> dict[str, str]:
        """Those that git did not take, and said nothing."""
        if not names:
            return {}
        known = set(self.run(own, "ls-files", "-z", "--", *names).decode(errors="surrogateescape").split("\0"))
        return {name: _GITS for name in names if name not in known and _is_there(self.path / name)}

    def _add(self, own: dict[str, str], names: Sequence[str], refused: dict[str, str]) -> None:
        """All of them, or else each half by itself, until those that git refuses are alone."""
        try:
            if names:
                self.run(own, "update-index", "-z", "--add", "--remove", "--replace", "--stdin", content=joined(names))
        except GitFailed as error:
            if error.code != _DIED or means_full(error.said) or len(refused) == _MOST_REFUSED:
                raise
            if len(names) == 1:
                refused[names[0]] = str(error).removeprefix("error: ").removeprefix("hint: ")
                return
            half = len(names) // 2
            self._add(own, names[:half], refused)
            self._add(own, names[half:], refused)

    def changes(self, own: dict[str, str]) -> Changes:
        printed = self.run(own, "ls-files", "-z", "-t", "--modified", "--deleted", "--others", "--exclude-standard")
        tracked: dict[str, None] = {}
        new: list[str] = []
        nested: list[str] = []
        for entry in printed.decode(errors="surrogateescape").split("\0")[:-1]:
            tag, name = entry[0], entry[2:]
            if tag != "?":
                tracked[name] = None
            elif name.endswith("/"):
                nested.append(name)
            elif name not in self.left_out:
                new.append(name)
        kept = tuple(name for name in tracked if name not in self.left_out)
        return Changes(kept, tuple(new), tuple(nested))

    def size(self, name: str) -> int:
        """Bytes; 0 for what is gone by now."""
        try:
            return (self.path / name).lstat().st_size
        except OSError:
            return 0

    def _judge(self, found: Changes, of_lfs: Collection[str]) -> None:
        """Raises NotSubmittable."""
        sizes = {name: self.size(name) for name in found.new if name not in of_lfs}
        total, advice = sum(sizes.values()), "Remove them, or let .gitignore name them."
        if large := [name for name, size in sizes.items() if size > LARGEST]:
            raise NotSubmittable(f"{_named(large)}: new files of more than {LARGEST >> 20} MiB. {advice}")
        if total > MOST or len(sizes) > _MOST_FILES:
            raise NotSubmittable(
                f"{len(sizes):,} new files hold {total >> 20} MiB, such as {_named(sizes)}; at most {_MOST_FILES:,} and"
                f" {MOST >> 20} MiB are taken. {advice}"
            )
        if found.nested:
            raise NotSubmittable(
                f"{_named(found.nested)}: a git repository within the worktree, whose files would not be submitted. Remove"
                " its .git folder, or let .gitignore name it."
            )
        if empty := self._empty_pointers(of_lfs):
            raise NotSubmittable(
                f"{_named(empty)}: a pointer of Git LFS to content that is not here. Write the content itself, or fetch it (git"
                " lfs pull)."
            )
        secret = [name for name in (*found.tracked, *found.new) if self.holds_secret(name)]
        if secret:
            raise NotSubmittable(f"{_named(secret)}: it holds a known secret. Take it out of the file.")

    def _empty_pointers(self, of_lfs: Collection[str]) -> list[str]:
        """Those whose content neither the repository nor, as far as the base tells, a remote has."""
        read = {name: Pointer.of(self.read(name, LONGEST) or b"") for name in of_lfs}
        pointers = {name: pointer for name, pointer in read.items() if pointer is not None}
        if not pointers:
            return []
        contents = Contents.of(self.common)
        missing = [name for name, pointer in pointers.items() if not contents.seem_to_have(pointer)]
        if not missing:
            return []
        known = set(self.common.git("ls-tree", "-r", "--format=%(objectname)", self.base).split())
        return [name for name in missing if self._blob(name) not in known]

    def _blob(self, name: str) -> str:
        content = self.read(name, LONGEST) or b""
        return self.common.git("hash-object", "--stdin", "--no-filters", content=content)

    def holds_secret(self, name: str) -> bool:
        """In its beginning, as far as it is read."""
        content = self.read(name)
        return content is not None and bool(known_in(content.decode(errors="replace")))

    def read(self, name: str, most: int = LARGEST) -> bytes | None:
        """The beginning of a regular file; never through a link, never of what could keep us waiting."""
        try:
            with open(opened(self.path, name), "rb") as file:
                return file.read(most) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
        except OSError:
            return None

    def of_lfs(self, own: dict[str, str], names: Collection[str]) -> list[str]:
        """Those of the paths whose content Git LFS keeps."""
        if not self.common.lfs or not names:
            return []
        printed = self.run(own, "check-attr", "-z", "--stdin", "filter", content=joined(names))
        parts = printed.decode(errors="surrogateescape").split("\0")
        return [name for name, value in zip(parts[0::3], parts[2::3], strict=False) if value == "lfs"]

    def _pointer(self, name: str, contents: Contents) -> str | None:
        """Its entry in an index, mode and blob; the content goes where Git LFS keeps it. None for what is no regular file, and
        for a pointer that the content was never fetched for."""
        try:
            file = open(opened(self.path, name), "rb")  # noqa: SIM115
        except OSError:
            return None
        with file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode) or (pointer := _digested(file)) is None:
                return None
            if not contents.seem_to_have(pointer):
                file.seek(0)
                pointer = self._keep(file, contents)
        blob = self.common.git("hash-object", "-w", "--stdin", "--no-filters", content=pointer.text)
        return f"{'100755' if mode & 0o100 else '100644'} {blob}"

    def _keep(self, file: BinaryIO, contents: Contents) -> Pointer:
        """What is kept is what is named, though the file may be written to meanwhile."""
        contents.unfinished.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="wvo-lfs-", dir=contents.unfinished) as folder:
            copy = Path(folder) / "object"
            with copy.open("wb") as out:
                pointer = _digested(file, out)
                out.flush()
                os.fsync(out.fileno())
            if pointer is None:
                raise GitFailed("a file of Git LFS was changed while it was read")
            place = contents.place(pointer.oid)
            place.parent.mkdir(parents=True, exist_ok=True)
            copy.replace(place)
        return pointer


def _digested(file: BinaryIO, out: BinaryIO | None = None) -> Pointer | None:
    """What its content is called, which goes to `out`; None for a pointer, and for nothing."""
    digest, size = hashlib.sha256(), 0
    while chunk := file.read(_CHUNK):
        if not size and chunk.startswith(POINTER):
            return None
        digest.update(chunk)
        size += len(chunk)
        if out is not None:
            out.write(chunk)
    return Pointer(digest.hexdigest(), size) if size else None


def opened(folder: Path, name: str, flags: int = os.O_RDONLY) -> int:
    """Below the folder, without following a link on the way; nothing is made. Raises OSError."""
    *parents, last = Path(name).parts
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for parent in parents:
            at, above = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at), at
            os.close(above)
        return os.open(last, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    finally:
        os.close(at)


def _put(source: Path, place: Path) -> None:
    """Copy the file, with its time, in one step."""
    kept = place.with_name(f"{place.name}.{os.getpid()}-{threading.get_ident()}")
    shutil.copy2(source, kept)
    kept.replace(place)


def _is_there(path: Path) -> bool:
    return path.is_symlink() or (path.exists() and not path.is_dir())


def _may_be_gits(name: str) -> bool:
    """Some file system takes a part of the path for `.git`: the letters of any case, with others that it does not see, or as
    the short name of it."""
    plain = name.encode("ascii", "ignore").decode().lower().replace("\\", "/")
    return any(part.startswith((".git", "git~")) for part in plain.split("/"))


def _beyond_link(folder: Path, name: str) -> bool:
    return any((folder / one).is_symlink() for one in Path(name).parents)


def joined(names: Collection[str]) -> bytes:
    """As git reads paths with `-z`."""
    return "".join(f"{name}\0" for name in names).encode(errors="surrogateescape")


def _named(names: Collection[str]) -> str:
    shown = [name.encode(errors="replace").decode() for name in list(names)[:5]]
    return ", ".join(repr(name) if "\n" in name else name for name in shown) + (", ..." if len(names) > 5 else "")
