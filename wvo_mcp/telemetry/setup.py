"""Turns telemetry on, by the standard variables, and off again."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, SynchronousMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.redaction import redacted
from wvo_mcp.ports import Store, WatchedStore
from wvo_mcp.project import WrongSetting
from wvo_mcp.telemetry.files import LineFile, metric_lines, span_line
from wvo_mcp.telemetry.instruments import Instruments
from wvo_mcp.telemetry.sending import OneWarning, RedactedSpans
from wvo_mcp.telemetry.tracing import Tracing
from wvo_mcp.telemetry.transactions import WatchedTransactions

END_SECONDS = 1.5
"""How long the end of a process waits for what is still to be sent."""
_FILE_DELAY_MS = 1_000
"""So much may be lost of the spans when a process is killed."""
_EXPORTERS = ("otlp", "none")


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
    _warn_once()
    resource = _resource(instance)
    interval = _interval_seconds()
    spans: list[SpanProcessor] = []
    readers: list[MetricReader] = []
    if "none" not in spans_to:
        delay = None if os.environ.get("OTEL_BSP_SCHEDULE_DELAY") else _FILE_DELAY_MS
        lines = ConsoleSpanExporter(out=LineFile(folder, "traces.jsonl"), formatter=span_line)
        spans.append(BatchSpanProcessor(RedactedSpans(lines), schedule_delay_millis=delay))
    if "none" not in metrics_to:
        points = ConsoleMetricExporter(LineFile(folder, "metrics.jsonl"), metric_lines)
        readers.append(PeriodicExportingMetricReader(points, interval * 1000))
    # Only where they are used: these take a tenth of a second to import, and most stores have files alone.
    if "otlp" in spans_to:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        spans.append(BatchSpanProcessor(RedactedSpans(OTLPSpanExporter())))
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


def _warn_once() -> None:
    """The SDK logs every attempt that fails; people need to know once."""
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
    sdk = logging.getLogger("opentelemetry")
    sdk.propagate = False
    sdk.handlers = [OneWarning()]


def _exporters(signal: str) -> frozenset[str]:
    """Where that signal goes besides the files; `none` turns it off altogether. Raises WrongSetting."""
    name = f"OTEL_{signal}_EXPORTER"
    given = os.environ.get(name, "")
    chosen = frozenset(part.strip().lower() for part in given.split(",") if part.strip())
    unknown = chosen - {*_EXPORTERS}
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
    try:
        ours = version("wvo-mcp")
    except PackageNotFoundError:  # run from a source tree that was never installed
        ours = "0"
    known = {
        "service.name": "wvo-mcp",
        "service.version": ours,
        "service.instance.id": instance,
        "host.name": socket.gethostname(),
        "process.pid": os.getpid(),
    }
    found = Resource.create(known).merge(OTELResourceDetector().detect())
    return Resource(redacted(dict(found.attributes)), found.schema_url)
