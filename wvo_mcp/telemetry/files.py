"""JSON lines under `state/telemetry/`: one line for each span and each point of a metric, for `jq` and for people.

Several processes write the same files. Whoever writes holds a lock on `.lock` for that moment, so no line is torn and
files are turned over by one; the kernel gives the lock back when its holder dies. What a killed writer left of a line is
cut away by the next.
"""

import fcntl
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from opentelemetry.sdk.metrics.export import (
    Histogram,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import format_span_id, format_trace_id
from pydantic_core import to_json

from wvo_mcp.domain.redaction import redacted

MAX_BYTES = 10 * 2**20
KEPT = 5
"""Files of each kind: the one that is written, and NAME.1 (the last one) to NAME.4."""
_LOCK_SECONDS = 5.0
"""So long a writer waits for the others; it writes in the background, and they are done within a millisecond."""
_LONGEST_LINE = 2**20


class LineFile:
    """Appends whole lines to one file, and turns it over when it has grown."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        max_bytes: int = MAX_BYTES,
        kept: int = KEPT,
        lock_seconds: float = _LOCK_SECONDS,
    ) -> None:
        self.path = folder / name
        self._max_bytes = max_bytes
        self._kept = kept
        self._lock_seconds = lock_seconds

    def append(self, lines: Iterable[bytes]) -> None:
        """All of the lines or none: none before there is a state folder. Raises OSError; TimeoutError when another keeps
        the lock."""
        data = b"\n".join([*lines, b""])
        try:
            self.path.parent.mkdir(exist_ok=True)
        except FileNotFoundError:
            return
        lock = os.open(self.path.parent / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            _lock(lock, self._lock_seconds)
            self._append(data)
        finally:
            os.close(lock)

    def _append(self, data: bytes) -> None:
        with suppress(FileNotFoundError):
            size = self.path.stat().st_size
            if size and size + len(data) > self._max_bytes:
                self._turn_over()
        file = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            size = _whole_lines(file)
            try:
                written = 0
                while written < len(data):
                    written += os.write(file, data[written:])
            except OSError:
                os.ftruncate(file, size)  # the disk is full
                raise
        finally:
            os.close(file)

    def _turn_over(self) -> None:
        for number in range(self._kept - 1, 0, -1):
            older = self._numbered(number - 1) if number > 1 else self.path
            with suppress(FileNotFoundError):
                older.replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _lock(lock: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:  # its holder is stopped
                raise TimeoutError("another process keeps the lock") from None
            time.sleep(0.005)
        else:
            return


def _whole_lines(file: int) -> int:
    """The size of the file, after half a line at its end, if there is one, was cut off."""
    size = os.fstat(file).st_size
    if not size or os.pread(file, 1, size - 1) == b"\n":
        return size
    start = max(0, size - _LONGEST_LINE)
    size = start + os.pread(file, size - start, start).rfind(b"\n") + 1
    os.ftruncate(file, size)
    return size


class SpanLines(SpanExporter):
    def __init__(self, file: LineFile, resource: Resource) -> None:
        self._file = file
        self._resource = b',"resource":' + to_json(redacted(dict(resource.attributes))) + b"}"

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Raises as `LineFile.append`."""
        self._file.append(to_json(_span_line(span), fallback=str)[:-1] + self._resource for span in spans)
        return SpanExportResult.SUCCESS


def _span_line(span: ReadableSpan) -> dict[str, Any]:
    context, parent = span.context, span.parent
    start, end = span.start_time or 0, span.end_time or 0
    return {
        "name": span.name,
        "trace_id": format_trace_id(context.trace_id) if context is not None else None,
        "span_id": format_span_id(context.span_id) if context is not None else None,
        "parent_span_id": format_span_id(parent.span_id) if parent is not None else None,
        "kind": span.kind.name.lower(),
        "start": _iso(start),
        "end": _iso(end),
        "duration_ms": round((end - start) / 1e6, 3),
        "status": span.status.status_code.name.lower(),
        "message": span.status.description,
        "attributes": dict(span.attributes or {}),
        "links": [
            {"trace_id": format_trace_id(link.context.trace_id), "span_id": format_span_id(link.context.span_id)}
            for link in span.links
        ],
    }


class MetricLines(MetricExporter):
    def __init__(self, file: LineFile) -> None:
        super().__init__()
        self._file = file

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """Raises as `LineFile.append`."""
        lines = _metric_lines(metrics_data)
        if lines:
            self._file.append(to_json(line, fallback=str) for line in lines)
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        pass


def _metric_lines(data: MetricsData) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for of_resource in data.resource_metrics:
        resource = redacted(dict(of_resource.resource.attributes))
        for metric in (metric for scope in of_resource.scope_metrics for metric in scope.metrics):
            kind = "sum" if isinstance(metric.data, Sum) else "gauge"
            for point in metric.data.data_points:
                line: dict[str, Any] = {
                    "name": metric.name,
                    "type": "histogram" if isinstance(metric.data, Histogram) else kind,
                    "unit": metric.unit,
                    "attributes": redacted(dict(point.attributes or {})),
                    "start": _iso(point.start_time_unix_nano) if point.start_time_unix_nano else None,
                    "at": _iso(point.time_unix_nano),
                }
                value = getattr(point, "value", None)
                if value is None:
                    names = ("count", "sum", "min", "max", "explicit_bounds", "bucket_counts")
                    line |= {name: getattr(point, name, None) for name in names}
                else:
                    line["value"] = value
                lines.append({**line, "resource": resource})
    return lines


def _iso(nanoseconds: int) -> str:
    at = datetime.fromtimestamp(nanoseconds // 10**9, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 10**9 // 1000:06}Z"
