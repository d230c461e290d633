"""`ports.world.Exchange` over the files of a workspace."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio.to_thread

from wvo_mcp.errors import InvalidInput, NotFound
from wvo_mcp.execution.replacement import read_at_most, replacement

MAX_BYTES = 20_000_000


class WorkspaceExchange:
    def __init__(self, root: Path) -> None:
        self._root = root

    async def read(self, path: str) -> bytes:
        return await anyio.to_thread.run_sync(self._read, path)

    def _read(self, path: str) -> bytes:
        place = self._within(path)
        try:
            content = read_at_most(place, MAX_BYTES, "path", path)
        except OSError as error:
            raise InvalidInput("path", f"cannot be read: {error.strerror}") from None
        if content is None:
            near = sorted(each.name for each in place.parent.glob("*") if each.suffix == place.suffix)[:5]
            raise NotFound("file", path, near, field="path", hint="Name a file of the workspace.")
        if len(content) > MAX_BYTES:
            raise InvalidInput("path", f"has more than {MAX_BYTES:,} bytes; split the file")
        return content

    async def write(self, path: str, lines: AsyncIterator[str]) -> int:
        place = self._within(path)
        if place.suffix != ".jsonl":
            raise InvalidInput("path", "expected a name that ends with .jsonl")
        if not place.parent.is_dir():
            raise InvalidInput("path", "its folder does not exist")
        size = 0
        try:
            with replacement(place) as file:
                async for line in lines:
                    size += file.write(f"{line}\n".encode())
        except OSError as error:
            raise InvalidInput("path", f"cannot be written: {error.strerror}") from None
        return size

    def _within(self, path: str) -> Path:
        try:
            root = self._root.resolve()
            place = (root / path).resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise InvalidInput("path", f"is not a path: {error}") from None
        if not place.is_relative_to(root) or place == root:
            raise InvalidInput("path", "lies outside of the workspace")
        return place
