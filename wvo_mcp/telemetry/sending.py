"""Between the SDK and its exporters: secrets are taken out, and whatever goes wrong is logged once and harms nobody."""

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from wvo_mcp.domain.redaction import redact, redacted

logger = logging.getLogger(__name__)


class _Complaint:
    """Says once in the life of a process that something does not arrive."""

    def __init__(self, what: str, where: str) -> None:
        self._what = what
        self._where = where
        self._said = False

    def about(self, why: object) -> None:
        if not self._said:
            self._said = True
            logger.warning("telemetry: no %s to %s for now (%s); nothing else suffers", self._what, self._where, why)


class CleanSpans(SpanExporter):
    """Runs in the background thread of its processor: redaction costs no call anything."""

    def __init__(self, inner: SpanExporter, where: str) -> None:
        self._inner = inner
        self._complaint = _Complaint("spans", where)
        self.beside: Callable[[], None] = _nothing
        """Done with each batch."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            self.beside()
            result = self._inner.export([_clean(span) for span in spans])
        except Exception as error:  # an edge: a full disk or a defect of an exporter
            self._complaint.about(error)
            return SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            self._complaint.about("it does not answer, or refuses")
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def _nothing() -> None:
    pass


def _clean(span: ReadableSpan) -> ReadableSpan:
    status = span.status
    if status.description:
        status = Status(status.status_code, redact(status.description))
    return ReadableSpan(
        name=_text(span.name, ""),
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes={
            name: _text(value, name) if isinstance(value, str) else value
            for name, value in (span.attributes or {}).items()
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
    """Redacted. Most attributes say the same as in the span before."""
    return redacted(value, name)


class CleanMetrics(MetricExporter):
    """The attributes of metrics are names of tools and outcomes, never texts: here only failures are kept from spreading."""

    def __init__(self, inner: MetricExporter, where: str) -> None:
        wanted = vars(inner)  # where the SDK's own readers look for it; a version without them has its defaults
        super().__init__(
            preferred_temporality=wanted.get("_preferred_temporality"),
            preferred_aggregation=wanted.get("_preferred_aggregation"),
        )
        self._inner = inner
        self._complaint = _Complaint("metrics", where)

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        try:
            result = self._inner.export(metrics_data, timeout_millis)  # pyright: ignore[reportUnknownMemberType]
        except Exception as error:  # an edge: a full disk or a defect of an exporter
            self._complaint.about(error)
            return MetricExportResult.FAILURE
        if result is not MetricExportResult.SUCCESS:
            self._complaint.about("it does not answer, or refuses")
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self._inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        self._inner.shutdown(timeout_millis)  # pyright: ignore[reportUnknownMemberType]
