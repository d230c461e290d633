"""`ports.exchange.Exchange` over the files of a workspace."""

import os
import stat
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TextIO

import anyio.to_thread

from wvo_mcp.errors import InvalidInput, NotFound

MAX_BYTES = 20_000_000
_SUFFIX = ".jsonl"
_BATCH = 500


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


class WorkspaceExchange:
    def __init__(self, root: Path) -> None:
        self._root = root

    async def read(self, path: str) -> bytes:
        return await anyio.to_thread.run_sync(self._read, path)

    def _read(self, path: str) -> bytes:
        place = self._within(path)
        try:
            # A pipe would be waited for without end.
            with open(place, "rb", opener=_at_once) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise InvalidInput("path", "is no plain file")
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise NotFound("file", path, _alike(place), field="path", hint="Name a file of the workspace.") from None
        except OSError as error:
            raise InvalidInput("path", f"cannot be read: {error.strerror}") from None
        if len(content) > MAX_BYTES:
            raise InvalidInput("path", f"has more than {MAX_BYTES:,} bytes; split the file")
        return content

    async def write(self, path: str, lines: AsyncIterator[str]) -> int:
        place = self._within(path)
        if place.suffix != _SUFFIX:
            raise InvalidInput("path", f"expected a name that ends with {_SUFFIX}")
        if not place.parent.is_dir():
            raise InvalidInput("path", "its folder does not exist")
        try:
            handle, name = await anyio.to_thread.run_sync(_beside, place)
        except OSError as error:
            raise InvalidInput("path", f"cannot be written: {error.strerror}") from None
        temporary = Path(name)
        size = 0
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                batch: list[str] = []
                async for line in lines:
                    batch.append(line)
                    if len(batch) >= _BATCH:
                        size += await anyio.to_thread.run_sync(_append, file, batch)
                        batch = []
                size += await anyio.to_thread.run_sync(_append, file, batch)
                await anyio.to_thread.run_sync(_settle, file, temporary, place)
        except BaseException:
            _discard(temporary)
            raise
        return size

    def _within(self, path: str) -> Path:
        try:
            root = self._root.resolve()
            place = (root / path).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise InvalidInput("path", f"is no path: {error}") from None
        if not place.is_relative_to(root) or place == root:
            raise InvalidInput("path", "lies outside of the workspace")
        return place


def _alike(place: Path) -> list[str]:
    """Names in the same folder that end alike: no glob, for what is asked may hold wildcards itself."""
    try:
        return sorted(each.name for each in place.parent.iterdir() if each.suffix == place.suffix)[:5]
    except OSError:
        return []


def _beside(place: Path) -> tuple[int, str]:
    return tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)


def _append(file: TextIO, lines: list[str]) -> int:
    text = "".join(f"{line}\n" for line in lines)
    file.write(text)
    return len(text.encode())


def _settle(file: TextIO, temporary: Path, place: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    temporary.chmod(0o644)
    temporary.replace(place)


def _discard(temporary: Path) -> None:
    temporary.unlink(missing_ok=True)
