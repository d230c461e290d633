"""The roadmap file as a port: parsing and writing run beside the event loop."""

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import anyio.to_thread

from wvo_mcp.domain.roadmap import Roadmap, RoadmapChanges
from wvo_mcp.execution.roadmap_file import fingerprint, load_roadmap, write_roadmap


class RoadmapSource:
    """Implements `ports.RoadmapFiles` over one file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fingerprint(self) -> str | None:
        return fingerprint(self._path)

    async def read(self, known: Callable[[Iterable[str]], Awaitable[set[str]]]) -> Roadmap:
        draft = await anyio.to_thread.run_sync(load_roadmap, self._path)
        missing = draft.references()
        found = await known(sorted(missing)) if missing else set[str]()
        return await anyio.to_thread.run_sync(draft.checked, found)

    async def write(self, changes: RoadmapChanges, expected_digest: str) -> str:
        return await anyio.to_thread.run_sync(write_roadmap, self._path, changes, expected_digest)
