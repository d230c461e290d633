"""The roadmap file as a port: parsing and writing run beside the event loop.

The readers of YAML are imported when a file has to be parsed: most commands and most starts find it unchanged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from wvo_mcp.execution.replacement import fingerprint

if TYPE_CHECKING:
    from wvo_mcp.domain.roadmap import Roadmap, RoadmapChanges


class RoadmapSource:
    """Implements `ports.RoadmapFiles` over one file."""

    def __init__(self, path: Path, location: str | None = None) -> None:
        self._path = path
        self.location = location

    def fingerprint(self) -> str | None:
        return fingerprint(self._path)

    async def digest(self) -> str | None:
        return await anyio.to_thread.run_sync(self._digest)

    def _digest(self) -> str | None:
        try:
            with self._path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None

    async def read(self, known: Callable[[Iterable[str]], Awaitable[set[str]]]) -> Roadmap:
        from wvo_mcp.execution.roadmap.file import load_roadmap

        draft = await anyio.to_thread.run_sync(load_roadmap, self._path)
        missing = draft.references()
        found = await known(sorted(missing)) if missing else set[str]()
        return await anyio.to_thread.run_sync(draft.checked, found)

    async def write(self, changes: RoadmapChanges, expected_digest: str) -> str:
        from wvo_mcp.execution.roadmap.file import write_roadmap

        return await anyio.to_thread.run_sync(write_roadmap, self._path, changes, expected_digest)
