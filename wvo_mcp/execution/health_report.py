"""The health report in a file that is always whole."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread

from wvo_mcp.errors import StoreUnavailable
from wvo_mcp.execution.replacement import replacement


class HealthReportFile:
    """`ports.Reports` at one path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def write(self, report: Mapping[str, Any]) -> None:
        await anyio.to_thread.run_sync(self._write, json.dumps(report, ensure_ascii=False, indent=1) + "\n")

    def _write(self, text: str) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacement(self.path) as file:
                file.write(text.encode(errors="replace"))
        except OSError as error:
            place = error.filename or self.path
            raise StoreUnavailable(
                f"{place} cannot be written: {error.strerror or error}.", cause=str(error)
            ) from error
