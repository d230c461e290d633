"""The health report in a file that is always whole."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread

from wvo_mcp.errors import StoreUnavailable

_READABLE = 0o644
"""Others read it; only this user's servers write."""


class HealthReportFile:
    """`ports.Reports` at one path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    async def write(self, report: Mapping[str, Any]) -> None:
        await anyio.to_thread.run_sync(self._write, json.dumps(report, ensure_ascii=False, indent=1) + "\n")

    def _write(self, text: str) -> None:
        made = self.path.with_name(f".{secrets.token_hex(4)}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with made.open("x", encoding="utf-8", errors="replace") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                made.chmod(_READABLE)
                made.replace(self.path)
            finally:
                made.unlink(missing_ok=True)
        except OSError as error:
            place = error.filename or self.path
            raise StoreUnavailable(
                f"{place} cannot be written: {error.strerror or error}.", cause=str(error)
            ) from error
