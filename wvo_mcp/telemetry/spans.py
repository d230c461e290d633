"""Spans as they are made here: the SDK's own cost three times as much, and a call may not become a tenth slower.

What leaves this module is the SDK's `ReadableSpan`, so that its processors, samplers and exporters serve as ever.
"""

import random
import time
from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import DEFAULT_ON, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from wvo_mcp.errors import WvoError
from wvo_mcp.ports.telemetry import Attribute

CURRENT: ContextVar["SpanContext | None"] = ContextVar("wvo-span", default=None)
OPEN: ContextVar["Living | None"] = ContextVar("wvo-open-span", default=None)

_SCOPE = InstrumentationScope("wvo-mcp")
_W3C = TraceContextTextMapPropagator()
_UNSET = Status(StatusCode.UNSET)
_SAMPLED, _NOT_SAMPLED = TraceFlags(TraceFlags.SAMPLED), TraceFlags(TraceFlags.DEFAULT)
_MESSAGE_CHARACTERS = 500
_random = random.Random()  # noqa: S311 - ids; and not the shared one, which somebody may seed


def incoming(carrier: Mapping[str, Any] | None) -> SpanContext | None:
    """The W3C trace context of a request, if there is a valid one."""
    given = None if not carrier else carrier.get("traceparent")
    if not isinstance(given, str):
        return None
    state = carrier.get("tracestate") if carrier else None
    texts = {"traceparent": given, **({"tracestate": state} if isinstance(state, str) else {})}
    found = trace.get_current_span(_W3C.extract(texts)).get_span_context()
    return found if found.is_valid else None


def outgoing(context: SpanContext) -> str:
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def stored(traceparent: str) -> SpanContext | None:
    """The inverse of `outgoing`."""
    parts = traceparent.split("-")
    try:
        trace_id, span_id, flags = (int(part, 16) for part in parts[1:])
    except ValueError:
        return None
    found = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return found if found.is_valid else None


class Living:
    """A span that has begun. Within a `with`, it is the parent of what begins there."""

    __slots__ = (
        "_processor",
        "_resource",
        "_tokens",
        "attributes",
        "context",
        "kind",
        "links",
        "name",
        "parent",
        "start_ns",
        "status",
    )

    def __init__(
        self,
        spans: "Spans",
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: dict[str, Attribute],
        kind: SpanKind,
        start_ns: int,
    ) -> None:
        self._processor = spans.processor
        self._resource = spans.resource
        self.name = name
        self.context = context
        self.parent = parent
        self.attributes = attributes
        self.kind = kind
        self.links: list[Link] = []
        self.start_ns = start_ns
        self.status = _UNSET

    def set(self, name: str, value: Attribute) -> None:
        self.attributes[name] = value

    def link(self, context: SpanContext) -> None:
        self.links.append(Link(context))

    def failed(self, error: BaseException) -> None:
        self.attributes["error.type"] = type(error).__qualname__
        if isinstance(error, WvoError):
            self.attributes["wvo.error.code"] = error.code
        self.status = Status(StatusCode.ERROR, str(error)[:_MESSAGE_CHARACTERS])

    def end(self, at_ns: int | None = None) -> None:
        if not self.context.trace_flags & TraceFlags.SAMPLED:
            return
        self._processor.on_end(
            ReadableSpan(
                name=self.name,
                context=self.context,
                parent=self.parent,
                resource=self._resource,
                attributes=self.attributes,
                links=self.links,
                kind=self.kind,
                status=self.status,
                start_time=self.start_ns,
                end_time=max(self.start_ns, at_ns or time.time_ns()),
                instrumentation_scope=_SCOPE,
            )
        )

    def __enter__(self) -> "Living":
        self._tokens = CURRENT.set(self.context), OPEN.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        CURRENT.reset(self._tokens[0])
        OPEN.reset(self._tokens[1])
        if error is not None:
            self.failed(error)
        self.end()


class Spans:
    """Begins spans, below the current one unless told otherwise."""

    def __init__(self, processor: SpanProcessor, resource: Resource, sampler: Sampler) -> None:
        self.processor = processor
        self.resource = resource
        self._sampler = sampler

    def begin(
        self,
        name: str,
        attributes: dict[str, Attribute],
        *,
        parent: SpanContext | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        start_ns: int | None = None,
    ) -> Living:
        if parent is None:
            parent = CURRENT.get()
        trace_id = parent.trace_id if parent is not None else _random.getrandbits(128) or 1
        flags = self._flags(name, trace_id, parent, attributes, kind)
        state = parent.trace_state if parent is not None else None
        context = SpanContext(
            trace_id, _random.getrandbits(64) or 1, is_remote=False, trace_flags=flags, trace_state=state
        )
        return Living(self, name, context, parent, attributes, kind, start_ns or time.time_ns())

    def _flags(
        self, name: str, trace_id: int, parent: SpanContext | None, attributes: dict[str, Attribute], kind: SpanKind
    ) -> TraceFlags:
        if self._sampler is DEFAULT_ON:  # the same, without asking
            return _SAMPLED if parent is None or parent.trace_flags & TraceFlags.SAMPLED else _NOT_SAMPLED
        above = None if parent is None else trace.set_span_in_context(NonRecordingSpan(parent))
        decision = self._sampler.should_sample(above, trace_id, name, kind, attributes)
        return _SAMPLED if decision.decision.is_sampled() else _NOT_SAMPLED
