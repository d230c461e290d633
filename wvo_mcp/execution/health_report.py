"""The health report in a file that is always whole."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread

from wvo_mcp.execution.replacement import write_whole


class HealthReportFile:
    """`ports.Reports` at one path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def write(self, report: Mapping[str, Any]) -> None:
        text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
        await anyio.to_thread.run_sync(write_whole, self.path, text.encode(errors="replace"))
