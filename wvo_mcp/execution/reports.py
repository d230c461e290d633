"""What the leader leaves in files for people: the running context as markdown, and the health report."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio.to_thread

from wvo_mcp.execution.replacement import disk_errors, write_whole
from wvo_mcp.ports.backend import Snapshot

KEPT = 10
_NAME = re.compile(r"context-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z\.md")


class ContextSnapshots:
    """`ports.Snapshots` in a folder; the last ten stay."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def newest(self) -> Snapshot | None:
        return await anyio.to_thread.run_sync(self._newest)

    def _newest(self) -> Snapshot | None:
        for path in reversed(self._files()):
            with suppress(OSError, ValueError):  # gone meanwhile; a name of no date
                at = datetime.strptime(path.name, "context-%Y-%m-%dT%H-%M-%S-%fZ.md").replace(tzinfo=UTC)
                return Snapshot(path.name, at, path.read_text(encoding="utf-8", errors="replace"))
        return None

    async def write(self, at: datetime, text: str) -> Snapshot:
        return await anyio.to_thread.run_sync(self._write, at, text)

    def _write(self, at: datetime, text: str) -> Snapshot:
        name = f"context-{at.astimezone(UTC):%Y-%m-%dT%H-%M-%S}-{at.microsecond // 1000:03}Z.md"
        write_whole(self._folder / name, text.encode(errors="replace"))
        with disk_errors(self._folder):
            for old in self._files()[:-KEPT]:
                old.unlink(missing_ok=True)
        return Snapshot(name, at, text)

    def _files(self) -> list[Path]:
        """Oldest first."""
        return sorted(path for path in self._folder.glob("context-*.md") if _NAME.fullmatch(path.name))


class HealthReportFile:
    """`ports.Reports` at one path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def write(self, report: Mapping[str, Any]) -> None:
        text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
        await anyio.to_thread.run_sync(write_whole, self.path, text.encode(errors="replace"))
