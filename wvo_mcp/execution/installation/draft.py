"""Planned changes of files: each is read once, edited in memory, and written with all the others or not at all."""

import difflib
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from wvo_mcp.errors import Conflict, Forbidden, InvalidInput, StoreUnavailable, WvoError
from wvo_mcp.execution.replacement import replacement

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
    reasons: tuple[str, ...] = ()

    @property
    def is_new(self) -> bool:
        return self.before is None

    def diff(self) -> str:
        """A unified diff, for people."""
        old, new = ((content or b"").decode(errors="replace").splitlines() for content in (self.before, self.after))
        sides = (
            "/dev/null" if self.before is None else f"a/{self.shown}",
            "/dev/null" if self.after is None else f"b/{self.shown}",
        )
        return "\n".join(line.rstrip("\r\n") for line in difflib.unified_diff(old, new, *sides, lineterm=""))

    def check(self) -> None:
        """Raises Conflict when the file is no longer the one that was planned for."""
        if within(self.base, self.relative) != self.path or read_bytes(self.path, self.shown) != self.before:
            raise Conflict(f"{self.shown} was changed meanwhile. Nothing was written.", path=self.shown)

    def undo(self) -> None:
        """As before, if it was carried out."""
        with suppress(OSError, WvoError):
            if read_bytes(self.path, self.shown) == self.after:
                self.path.unlink() if self.before is None else self.path.write_bytes(self.before)


class Draft:
    """The files as they would be. Paths are given relative to a base that they may not leave, not even by a symlink;
    those below `root` are shown relative to it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[Path, Change] = {}

    def read(self, base: Path, relative: str) -> str | None:
        """The text as drafted so far; None when there is no such file.

        Raises Forbidden when the path leaves `base`, InvalidInput when it holds no UTF-8 text, StoreUnavailable when it
        cannot be read.
        """
        file = self._open(base, relative)
        try:
            return None if file.after is None else file.after.decode()
        except UnicodeDecodeError as error:
            raise _unusable(file.shown, f"is not UTF-8 text (byte {error.start})") from None

    def write(self, base: Path, relative: str, text: str | None, reason: str) -> None:
        """Draft the file's new text, or with None that the file goes, and its folder, if that is empty then."""
        file = self._open(base, relative)
        after = None if text is None else text.encode()
        if after != file.after:
            self._files[file.path] = replace(file, after=after, reasons=(*file.reasons, reason))

    def changes(self) -> list[Change]:
        """What differs from the files as they were read, in the order of reading."""
        return [file for file in self._files.values() if file.after != file.before]

    def _open(self, base: Path, relative: str) -> Change:
        path = within(base, relative)
        if path not in self._files:
            name = shown(self._root, base, relative)
            content = read_bytes(path, name)
            self._files[path] = Change(path, base, relative, name, content, content)
        return self._files[path]


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
    gone = [change for change in changes if change.after is None]
    try:
        with ExitStack() as staged:
            for change in changes:
                change.check()
                if change.after is not None:
                    change.path.parent.mkdir(parents=True, exist_ok=True)
                    file = staged.enter_context(replacement(change.path))
                    file.write(change.after)
                    file.flush()
        for change in gone:
            change.path.unlink()
    except OSError as error:
        for change in changes:
            change.undo()
        raise _unreachable(Path(error.filename or changes[0].path), error) from None
    for change in gone:
        if change.path.parent != change.base:
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
