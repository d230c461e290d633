"""Planned changes of files: each is read once, edited in memory, and written with all the others or not at all."""

import difflib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wvo_mcp.errors import Conflict, Forbidden, InvalidInput, StoreUnavailable, WvoError

MAX_BYTES = 2_000_000
"""A configuration file that is larger is not one."""


@dataclass(frozen=True, slots=True)
class Change:
    """One file before (None: it does not exist) and after (None: it is removed). `shown` is its path as people are shown it.

    `path` is the real file behind `base/relative`.
    """

    path: Path
    base: Path
    relative: str
    shown: str
    before: bytes | None
    after: bytes | None
    reasons: tuple[str, ...]

    @property
    def is_new(self) -> bool:
        return self.before is None

    def diff(self) -> str:
        """A unified diff, for people."""
        old = [] if self.before is None else _lines(self.before)
        lines = difflib.unified_diff(
            old,
            [] if self.after is None else _lines(self.after),
            fromfile="/dev/null" if self.before is None else f"a/{self.shown}",
            tofile="/dev/null" if self.after is None else f"b/{self.shown}",
            lineterm="",
        )
        return "\n".join(line.rstrip("\r\n") for line in lines)


def _lines(content: bytes) -> list[str]:
    return content.decode(errors="replace").splitlines()


class Draft:
    """The files as they would be. Paths are given relative to a base that they may not leave, not even by a symlink;
    those below `root` are shown relative to it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._before: dict[Path, bytes | None] = {}
        self._after: dict[Path, bytes | None] = {}
        self._facts: dict[Path, tuple[Path, str]] = {}
        self._reasons: dict[Path, list[str]] = {}

    def read(self, base: Path, relative: str) -> str | None:
        """The text as drafted so far; None when there is no such file.

        Raises Forbidden when the path leaves `base`, InvalidInput when it holds no UTF-8 text, StoreUnavailable when it
        cannot be read.
        """
        path = self._open(base, relative)
        content = self._after.get(path, self._before[path])
        if content is None:
            return None
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise _unusable(self._shown(path), f"is no UTF-8 text (byte {error.start})") from None

    def write(self, base: Path, relative: str, text: str, reason: str) -> None:
        """Draft the file's new text; the same text as before is no change."""
        self._set(self._open(base, relative), text.encode(), reason)

    def remove(self, base: Path, relative: str, reason: str) -> None:
        """Draft that the file goes, and its folder, if that is empty then."""
        self._set(self._open(base, relative), None, reason)

    def _set(self, path: Path, content: bytes | None, reason: str) -> None:
        if content != self._after.get(path, self._before[path]):
            self._after[path] = content
            self._reasons.setdefault(path, []).append(reason)

    def changes(self) -> list[Change]:
        """What differs from the files as they were read, in the order of drafting."""
        return [
            Change(path, *self._facts[path], self._shown(path), self._before[path], after, tuple(self._reasons[path]))
            for path, after in self._after.items()
            if after != self._before[path]
        ]

    def _shown(self, path: Path) -> str:
        return shown(self._root, *self._facts[path])

    def _open(self, base: Path, relative: str) -> Path:
        path = within(base, relative)
        if path not in self._before:
            self._before[path] = read_bytes(path, shown(self._root, base, relative))
            self._facts[path] = (base, relative)
        return path


def shown(root: Path, base: Path, relative: str) -> str:
    """`relative` for what lies in the project, the whole path for the rest."""
    return relative if base == root else str(base / relative)


def within(base: Path, relative: str) -> Path:
    """The real path behind `base/relative`. Raises Forbidden when it lies outside the real `base`."""
    try:
        root = base.resolve()
        path = (root / relative).resolve()
    except (OSError, RuntimeError) as error:
        raise _unusable(relative, f"cannot be followed ({error})") from None
    if not path.is_relative_to(root):
        raise Forbidden(
            f"{relative} is a link that leaves {root} (to {path}). Nothing was written.",
            hint="Replace the link by a file, or make the change by hand (--dry-run shows it for a plain file).",
            path=relative,
            target=str(path),
        )
    return path


def read_bytes(path: Path, name: str) -> bytes | None:
    """The content, or None when nothing is there. Raises InvalidInput for anything but a file of a sensible size."""
    try:
        if not path.exists():
            return None
        if not path.is_file():
            raise _unusable(name, "is not a regular file")
        if path.stat().st_size > MAX_BYTES:
            raise _unusable(name, f"is larger than {MAX_BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise _unreachable(path, error) from None


def apply(changes: list[Change]) -> None:
    """Write all files, each atomically, or none.

    Raises Conflict when a file is no longer the one that was planned for, StoreUnavailable when the disk refuses.
    """
    staged: list[tuple[Change, Path]] = []
    try:
        for change in changes:
            temporary = change.path.with_name(f".{change.path.name}.{secrets.token_hex(4)}.tmp")
            staged.append((change, temporary))
            _stage(change, temporary)
        _swap(staged)
    except OSError as error:
        raise _unreachable(Path(error.filename or changes[0].path), error) from None
    finally:
        for _, temporary in staged:
            with suppress(OSError):
                temporary.unlink()


def _stage(change: Change, temporary: Path) -> None:
    """Write the new content, synced, beside the old file."""
    if within(change.base, change.relative) != change.path or read_bytes(change.path, change.shown) != change.before:
        raise Conflict(f"{change.shown} was changed meanwhile. Nothing was written.", path=change.shown)
    if change.after is None:
        return
    change.path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o666 if change.before is None else change.path.stat().st_mode & 0o777
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        if change.before is not None:
            os.fchmod(descriptor, mode)
        file.write(change.after)
        file.flush()
        os.fsync(descriptor)


def _swap(staged: list[tuple[Change, Path]]) -> None:
    done: list[Change] = []
    try:
        for change, temporary in staged:
            if change.after is None:
                change.path.unlink()
            else:
                temporary.replace(change.path)
            done.append(change)
    except OSError:
        for change in done:
            with suppress(OSError):
                if change.before is None:
                    change.path.unlink()
                else:
                    change.path.write_bytes(change.before)
        raise
    for change in done:
        if change.after is None and change.path.parent != change.base:
            with suppress(OSError):  # other files are in it
                change.path.parent.rmdir()


def _unusable(name: str, problem: str) -> InvalidInput:
    error = InvalidInput(name, problem, message=f"{name} {problem}. Nothing was written.")
    error.hint = "Move it away, then run wvo-mcp init again."
    return error


def _unreachable(path: Path, error: OSError) -> WvoError:
    return StoreUnavailable(
        f"{path}: {error.strerror or error}. Nothing was written.",
        hint="Fix the permissions or free disk space, then run wvo-mcp init again.",
        path=str(path),
    )
