"""Turns telemetry on, by the standard variables, and off again."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.redaction import redact, redacted
from wvo_mcp.ports import Store, WatchedStore
from wvo_mcp.project import WrongSetting, installed_version
from wvo_mcp.telemetry.files import LineFile, metric_lines, span_line
from wvo_mcp.telemetry.instruments import Instruments
from wvo_mcp.telemetry.tracing import Tracing, WatchedTransactions

logger = logging.getLogger(__name__)

END_SECONDS = 1.5
"""How long the end of a process waits for what is still to be sent."""
_FILE_DELAY_MS = 1_000
"""So much may be lost of the spans when a process is killed."""


class Telemetry:
    """Everything that listens in one process: its tracer, and the store as it is watched."""

    def __init__(self, tracing: Tracing, interval_seconds: float, endings: list[Callable[[], object]]) -> None:
        self.tracer = tracing
        self.interval_seconds = interval_seconds
        self._endings = endings

    def watch(self, store: WatchedStore, system: str) -> WatchedStore:
        """The store with a span for each transaction; `system` as the convention names it: sqlite, postgresql."""
        return WatchedTransactions(store, self.tracer, system)

    async def look(self, store: Store, caller: Caller, wip_limit: int) -> None:
        """Read what the gauges show until the next look; for the leader, every `interval_seconds`."""
        await store.read(caller, lambda tx: self.tracer.instruments.look(tx, wip_limit))

    def end(self) -> None:
        """Send what there is, for at most 1.5 seconds. Blocks."""
        threads = [threading.Thread(target=ending, daemon=True) for ending in self._endings]
        for thread in threads:
            thread.start()
        until = time.monotonic() + END_SECONDS
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


def begin(folder: Path, face: str, instance: str) -> Telemetry | None:
    """Telemetry to `folder`, and to a collector where OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_*_EXPORTER=otlp says so; None
    with OTEL_SDK_DISABLED=true. Raises WrongSetting."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    spans_to, metrics_to = _exporters("TRACES"), _exporters("METRICS")
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
    sdk = logging.getLogger("opentelemetry")
    sdk.propagate = False
    sdk.handlers = [_OneWarning()]
    resource = _resource(instance)
    interval = _interval_seconds()
    spans: list[SpanProcessor] = []
    readers: list[MetricReader] = []
    if "none" not in spans_to:
        delay = None if os.environ.get("OTEL_BSP_SCHEDULE_DELAY") else _FILE_DELAY_MS
        lines = ConsoleSpanExporter(out=LineFile(folder, "traces.jsonl"), formatter=span_line)
        spans.append(BatchSpanProcessor(_Redacted(lines), schedule_delay_millis=delay))
    if "none" not in metrics_to:
        points = ConsoleMetricExporter(LineFile(folder, "metrics.jsonl"), metric_lines)
        readers.append(PeriodicExportingMetricReader(points, interval * 1000))
    # Only where they are used: these take a tenth of a second to import, and most stores have files alone.
    if "otlp" in spans_to:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        spans.append(BatchSpanProcessor(_Redacted(OTLPSpanExporter())))
    if "otlp" in metrics_to:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter(), interval * 1000))
    # Neither is made the process's global one: the SDK of the protocol would record each call a second time.
    processor = SynchronousMultiSpanProcessor()
    for each in spans:
        processor.add_span_processor(each)
    provider = TracerProvider(resource=resource, shutdown_on_exit=False, active_span_processor=processor)
    metrics = MeterProvider(readers, resource, AlwaysOffExemplarFilter(), shutdown_on_exit=False)
    instruments = Instruments(metrics.get_meter("wvo-mcp"), interval)
    tracing = Tracing(provider.get_tracer("wvo-mcp"), processor, resource, instruments, face)
    endings: list[Callable[[], object]] = [each.shutdown for each in spans]
    endings += [reader.shutdown for reader in readers]  # pyright: ignore[reportUnknownMemberType]
    return Telemetry(tracing, interval, endings)


def _exporters(signal: str) -> frozenset[str]:
    """Where that signal goes besides the files; `none` turns it off altogether. Raises WrongSetting."""
    name = f"OTEL_{signal}_EXPORTER"
    given = os.environ.get(name, "")
    chosen = frozenset(part.strip().lower() for part in given.split(",") if part.strip())
    unknown = chosen - {"otlp", "none"}
    if unknown:
        raise WrongSetting(
            f"{name}={given!r}: {sorted(unknown)[0]!r} is not supported; allowed: otlp, none, or leave it unset"
            " (the files under state/telemetry are always written)"
        )
    for variable in ("OTEL_EXPORTER_OTLP_PROTOCOL", f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"):
        protocol = os.environ.get(variable, "http/protobuf").strip().lower()
        if protocol not in ("http/protobuf", ""):
            raise WrongSetting(f"{variable}={protocol!r}: allowed: http/protobuf (a collector takes it on port 4318)")
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    if not chosen and any(os.environ.get(endpoint) for endpoint in endpoints):
        return frozenset({"otlp"})
    return chosen


def _interval_seconds() -> float:
    """Raises WrongSetting."""
    given = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip() or "60000"
    try:
        milliseconds = float(given)
    except ValueError:
        milliseconds = 0.0
    if not 10 <= milliseconds <= 86_400_000:
        raise WrongSetting(f"OTEL_METRIC_EXPORT_INTERVAL={given!r}: allowed: milliseconds, 10 to 86400000")
    return milliseconds / 1000


def _resource(instance: str) -> Resource:
    """The process that reports, redacted. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win."""
    known = {
        "service.name": "wvo-mcp",
        "service.version": installed_version(),
        "service.instance.id": instance,
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
    }
    found = Resource.create(known).merge(OTELResourceDetector().detect())
    return Resource(redacted(dict(found.attributes)), found.schema_url)


class _OneWarning(logging.Handler):
    """For the SDK's loggers, which log every attempt: one warning for each that gave up on something, none for a retry."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._logged: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name not in self._logged:
            self._logged.add(record.name)
            error = record.exc_info[1] if record.exc_info else None
            why = f"{record.getMessage().rstrip('.')}{f': {error}' if error else ''}"
            logger.warning("telemetry is incomplete (%s); nothing else is affected", why)


class _Redacted(SpanExporter):
    """Runs in the background thread of its processor: redaction delays no call."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.shutdown = inner.shutdown

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._inner.export([_redacted(span) for span in spans])


def _redacted(span: ReadableSpan) -> ReadableSpan:
    status, attributes = span.status, span.attributes or {}
    if status.description:
        status = Status(status.status_code, redact(status.description))
    return ReadableSpan(
        name=redact(span.name),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes={
            name: _text(value, name) if isinstance(value, str) else value for name, value in attributes.items()
        },
        links=span.links,
        kind=span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


@lru_cache(2_048)
def _text(value: str, name: str) -> str:
    """Redacted. Most attributes have the value of the span before."""
    return redacted(value, name)
