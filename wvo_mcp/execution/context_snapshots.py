"""The running context as markdown files; the last ten stay."""

import re
from datetime import UTC, datetime
from pathlib import Path

import anyio.to_thread

from wvo_mcp.execution.replacement import disk_errors, write_whole
from wvo_mcp.ports.backend import Snapshot

KEPT = 10
_NAME = re.compile(r"context-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z\.md")


class ContextSnapshots:
    """`ports.Snapshots` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def newest(self) -> Snapshot | None:
        return await anyio.to_thread.run_sync(self._newest)

    async def write(self, at: datetime, text: str) -> Snapshot:
        return await anyio.to_thread.run_sync(self._write, at, text)

    def _newest(self) -> Snapshot | None:
        for name in reversed(self._names()):
            at = _time(name)
            try:
                text = (self._folder / name).read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            if at is not None:
                return Snapshot(name, at, text)
        return None

    def _write(self, at: datetime, text: str) -> Snapshot:
        name = f"context-{at.astimezone(UTC):%Y-%m-%dT%H-%M-%S}-{at.microsecond // 1000:03}Z.md"
        write_whole(self._folder / name, text.encode(errors="replace"))
        with disk_errors(self._folder):
            for old in self._names()[:-KEPT]:
                (self._folder / old).unlink(missing_ok=True)
        return Snapshot(name, at, text)

    def _names(self) -> list[str]:
        """Oldest first."""
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if _NAME.fullmatch(path.name))


def _time(name: str) -> datetime | None:
    try:
        return datetime.strptime(name, "context-%Y-%m-%dT%H-%M-%S-%fZ.md").replace(tzinfo=UTC)
    except ValueError:
        return None
