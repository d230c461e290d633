"""Between the SDK and its exporters: secrets are redacted, and what goes wrong is logged once and harms no call."""

import logging
from collections.abc import Sequence
from functools import lru_cache

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from wvo_mcp.domain.redaction import redact, redacted

logger = logging.getLogger(__name__)


class OneWarning(logging.Handler):
    """For the SDK's loggers: one warning for each that gave up on something, with its reason; none for a retry."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._logged: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name not in self._logged:
            self._logged.add(record.name)
            error = record.exc_info[1] if record.exc_info else None
            why = f"{record.getMessage().rstrip('.')}{f': {error}' if error else ''}"
            logger.warning("telemetry is incomplete (%s); nothing else is affected", why)


class RedactedSpans(SpanExporter):
    """Runs in the background thread of its processor: redaction delays no call."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._inner.export([_redacted(span) for span in spans])

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def _redacted(span: ReadableSpan) -> ReadableSpan:
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
    """Redacted. Most attributes have the value of the span before."""
    return redacted(value, name)
