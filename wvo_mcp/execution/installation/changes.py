"""Planned changes of files: each is read once, edited in memory, and written with all the others or not at all."""

import difflib
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wvo_mcp.errors import Conflict, Forbidden, StoreUnavailable, WvoError
from wvo_mcp.execution.installation.document import unsafe
from wvo_mcp.execution.replacement import read_at_most, replacement

MAX_BYTES = 2_000_000
"""A configuration file that is larger is not one."""


@dataclass(frozen=True, slots=True)
class File:
    """A file by its path below a base that it may not leave, not even by a symlink. `shown`: its path as people see it."""

    base: Path
    relative: str
    shown: str

    def path(self) -> Path:
        """The real one. Raises Forbidden when it lies outside the real base, InvalidInput for a loop of links."""
        try:
            base = self.base.resolve()
            path = (base / self.relative).resolve()
        except (OSError, RuntimeError) as error:
            raise unsafe(self.shown, f"cannot be followed ({error})") from None
        if path.is_relative_to(base):
            return path
        raise Forbidden(
            f"{self.relative} is a link that leaves {base} (to {path}). Nothing was written.",
            hint="Replace the link by a file, or make the change by hand (--dry-run shows it for a plain file).",
            path=self.relative,
            target=str(path),
        )

    def content(self) -> bytes | None:
        """None when nothing is there. Raises Forbidden, InvalidInput for anything but a text file of a sensible size, and
        StoreUnavailable when it cannot be read."""
        path = self.path()
        try:
            content = read_at_most(path, MAX_BYTES, self.shown, self.shown)
            if content is not None:
                content.decode()
        except OSError as error:
            raise _unreachable(path, error) from None
        except UnicodeDecodeError as error:
            raise unsafe(self.shown, f"it is not UTF-8 text (byte {error.start})") from None
        if content is not None and len(content) > MAX_BYTES:
            raise unsafe(self.shown, f"it is larger than {MAX_BYTES:,} bytes")
        return content


@dataclass(frozen=True, slots=True)
class Change:
    """One file before (None: it does not exist) and after (None: it is removed); `path` is the real one."""

    file: File
    path: Path
    before: bytes | None
    after: bytes | None
    reasons: tuple[str, ...] = ()

    @property
    def verb(self) -> str:
        return "create" if self.before is None else "remove" if self.after is None else "change"

    def diff(self) -> str:
        """A unified diff, for people."""
        old, new = ((content or b"").decode().splitlines() for content in (self.before, self.after))
        sides = (
            "/dev/null" if self.before is None else f"a/{self.file.shown}",
            "/dev/null" if self.after is None else f"b/{self.file.shown}",
        )
        return "\n".join(line.rstrip("\r\n") for line in difflib.unified_diff(old, new, *sides, lineterm=""))

    def undo(self) -> None:
        """As before, if it was carried out."""
        with suppress(OSError, WvoError):
            if self.file.content() != self.after:
                return
            if self.before is None:
                self.path.unlink()
            else:
                with replacement(self.path) as file:
                    file.write(self.before)


class Plan:
    """The files as they would be; `notes` are for people. `accepts`: what of `project:` in the roadmap is written now, and
    thereby accepted."""

    def __init__(self) -> None:
        self.accepts: dict[str, Any] = {}
        self.notes: list[str] = []
        self._changes: dict[Path, Change] = {}

    def read(self, file: File) -> str | None:
        """The text as planned so far; None when there is no such file. Raises as `File.content`."""
        after = self._change(file).after
        return None if after is None else after.decode()

    def write(self, file: File, text: str | None, reason: str) -> None:
        """Plan the file's new text, or with None that the file goes, and its folder, if that is empty then."""
        change = self._change(file)
        after = None if text is None else text.encode()
        if after != change.after:
            self._changes[change.path] = replace(change, after=after, reasons=(*change.reasons, reason))

    @property
    def changes(self) -> list[Change]:
        """What differs from the files as they were read, in the order of reading."""
        return [change for change in self._changes.values() if change.after != change.before]

    def _change(self, file: File) -> Change:
        path = file.path()
        if path not in self._changes:
            content = file.content()
            self._changes[path] = Change(file, path, content, content)
        return self._changes[path]

    def apply(self) -> None:
        """Write all files, each atomically, or none.

        Raises Conflict when a file is no longer the one that was planned for, StoreUnavailable when the disk refuses.
        """
        gone = [change for change in self.changes if change.after is None]
        try:
            with ExitStack() as staged:
                for change in self.changes:
                    if change.file.path() != change.path or change.file.content() != change.before:
                        raise Conflict(
                            f"{change.file.shown} was changed meanwhile. Nothing was written.", path=change.file.shown
                        )
                    if change.after is not None:
                        change.path.parent.mkdir(parents=True, exist_ok=True)
                        new = staged.enter_context(replacement(change.path))
                        new.write(change.after)
                        new.flush()  # a full disk refuses here, before any file has taken its place
            for change in gone:
                change.path.unlink()
        except OSError as error:
            for change in self.changes:
                change.undo()
            raise _unreachable(Path(error.filename or self.changes[0].path), error) from None
        for change in gone:
            if change.path.parent != change.file.base.resolve():
                with suppress(OSError):  # other files are in it
                    change.path.parent.rmdir()


def _unreachable(path: Path, error: OSError) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path}: {error.strerror or error}. Nothing was written.",
        hint="Fix the permissions or free disk space, then run wvo-mcp init again.",
        path=str(path),
    )
