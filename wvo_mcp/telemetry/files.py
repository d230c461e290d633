"""JSON lines under `state/telemetry/`: one line for each span and each point of a metric, for `jq` and for people.

Several processes write the same files. A writer holds a lock on `.lock` for that moment, so no line is torn and files are
rotated by one; the kernel releases the lock when its holder dies. What a killed writer left of a line is cut off by the next.
"""

import fcntl
import io
import os
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, format_span_id, format_trace_id
from pydantic_core import to_json

from wvo_mcp.domain.redaction import redacted

MAX_BYTES = 10 * 2**20
KEPT = 5
"""Files of each kind: the one that is written, and NAME.1 (the last one) to NAME.4."""
_LONGEST_LINE = 2**20


class LineFile(io.StringIO):
    """The file that the SDK's console exporters write to: each flush appends what was written, whole lines, and rotates the
    file when it has grown."""

    def __init__(
        self, folder: Path, name: str, *, max_bytes: int = MAX_BYTES, kept: int = KEPT, lock_seconds: float = 5.0
    ) -> None:
        """`lock_seconds`: the longest wait, in the background, for other writers, who finish within a millisecond."""
        super().__init__()
        self.path = folder / name
        self._max_bytes = max_bytes
        self._kept = kept
        self._lock_seconds = lock_seconds

    def flush(self) -> None:
        """All of the lines or none: none before there is a state folder. Raises OSError; TimeoutError when another keeps
        the lock."""
        data = self.getvalue().encode()
        self.seek(0)
        self.truncate()
        if not data:
            return
        try:
            self.path.parent.mkdir(exist_ok=True)
        except FileNotFoundError:
            return
        with (self.path.parent / ".lock").open("w") as lock:
            until = time.monotonic() + self._lock_seconds
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:  # its holder is stopped
                        raise TimeoutError("another process keeps the lock") from None
                time.sleep(0.005)
            self._append(data)

    def _append(self, data: bytes) -> None:
        with suppress(FileNotFoundError):
            if (size := self.path.stat().st_size) and size + len(data) > self._max_bytes:
                for number in range(self._kept - 1, 0, -1):
                    with suppress(FileNotFoundError):
                        self._numbered(number - 1).replace(self._numbered(number))
        file = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            whole = _whole_lines(file)
            try:
                written = 0
                while written < len(data):  # not buffered: what a full disk refused must not be written at the close
                    written += os.write(file, data[written:])
            except OSError:
                os.ftruncate(file, whole)
                raise
        finally:
            os.close(file)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path


def _whole_lines(file: int) -> int:
    """The size of the file, after half a line at its end, which a killed writer left, was cut off."""
    size = os.fstat(file).st_size
    if not size or os.pread(file, 1, size - 1) == b"\n":
        return size
    start = max(0, size - _LONGEST_LINE)
    size = start + os.pread(file, size - start, start).rfind(b"\n") + 1
    os.ftruncate(file, size)
    return size


def span_line(span: ReadableSpan) -> str:
    """The line of one span, which is redacted already."""
    start, end = span.start_time or 0, span.end_time or 0
    return _line(
        {
            "name": span.name,
            **_ids(span.context),
            "parent_span_id": _ids(span.parent)["span_id"],
            "kind": span.kind.name.lower(),
            "start": _iso(start),
            "end": _iso(end),
            "duration_ms": round((end - start) / 1e6, 3),
            "status": span.status.status_code.name.lower(),
            "message": span.status.description,
            "attributes": dict(span.attributes or {}),
            "links": [_ids(link.context) for link in span.links],
            "resource": dict(span.resource.attributes),
        }
    )


def _ids(context: SpanContext | None) -> dict[str, str | None]:
    if context is None:
        return {"trace_id": None, "span_id": None}
    return {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}


def metric_lines(data: MetricsData) -> str:
    """A line for each point of each metric."""
    return "".join(
        _line(
            asdict(point)
            | {
                "name": metric.name,
                "type": type(metric.data).__name__.lower(),
                "unit": metric.unit,
                "attributes": redacted(dict(point.attributes or {})),
                "at": _iso(point.time_unix_nano),
                "resource": dict(resource.resource.attributes),
            }
        )
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    )


def _line(value: dict[str, Any]) -> str:
    return to_json(value, fallback=str).decode() + "\n"


def _iso(nanoseconds: int) -> str:
    at = datetime.fromtimestamp(nanoseconds // 10**9, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 10**9 // 1000:06}Z"
