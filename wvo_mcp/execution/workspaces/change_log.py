"""What changed in a workspace, as JSON lines under `state/workers/changes/WORKSPACE.jsonl`, for people and `jq`."""

import json
import os
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from wvo_mcp.domain.changes import FileChange
from wvo_mcp.domain.redaction import redact

MOST_BYTES = 4 << 20
_LONGEST = 1_000
_SUFFIX = ".jsonl"


class ChangeLog:
    """Bounded: when it has grown to `most` bytes the older half goes."""

    def __init__(self, folder: Path, workspace_id: str, most: int = MOST_BYTES) -> None:
        self._path = folder / f"{workspace_id}{_SUFFIX}"
        self._most = most

    def add(self, changes: Sequence[FileChange]) -> None:
        """With the time now. Names are redacted, cut, and written in ASCII: they may hold anything. Raises OSError."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._append(
            "".join(_line({"at": at, "kind": one.kind.value, "path": redact(one.path)[:_LONGEST]}) for one in changes)
        )

    def end(self, why: str) -> None:
        """The last line: changes after it are not in the log. Raises OSError."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._append(_line({"at": at, "kind": "ended", "reason": redact(why)[:_LONGEST]}))

    def _append(self, text: str) -> None:
        data = text.encode()
        if len(data) > self._most:
            data = data[data.find(b"\n", len(data) - self._most) + 1 :]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self._path, flags, 0o600)
        try:
            size = os.fstat(file).st_size
            if size + len(data) > self._most:
                data = _newer(file, size, self._most // 2) + data
                os.ftruncate(file, 0)
            written = 0
            while written < len(data):
                written += os.write(file, data[written:])
        finally:
            os.close(file)


def sweep(folder: Path, live: Collection[str]) -> None:
    """Remove the logs of workspaces that are gone."""
    for path in folder.glob(f"*{_SUFFIX}"):
        if path.stem not in live:
            path.unlink(missing_ok=True)


def _newer(file: int, size: int, most: int) -> bytes:
    """Its whole lines within the last `most` bytes."""
    start = max(0, size - most)
    kept = os.pread(file, most, start)
    return kept[kept.find(b"\n") + 1 :] if start else kept


def _line(value: dict[str, str]) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"
