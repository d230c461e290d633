"""Spans of calls, of tasks from claim to end, and of whatever the core opens a span for."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import WvoError
from wvo_mcp.ports.telemetry import Attribute
from wvo_mcp.telemetry.instruments import CALLS, EXECUTIONS, Instruments

_W3C = TraceContextTextMapPropagator()
_MESSAGE_CHARACTERS = 500
_REQUEST: ContextVar[Mapping[str, Attribute] | None] = ContextVar("wvo-request", default=None)
_REMEMBERED = 1_000
_MEASURED = ("mcp.method.name", "mcp.protocol.version", "wvo.face", "gen_ai.operation.name", "gen_ai.tool.name")
_FAILED = ("failed", "failed_attempt", "expired")


@dataclass(frozen=True, slots=True)
class Execution:
    """One claim of a task, from its beginning to its end."""

    task_id: str
    lease_token: int
    parent: SpanContext
    """The span that first claimed the task: the trace of all its executions, and the parent of each."""
    context: SpanContext
    """It follows from the claim, so that every process knows it while the execution lasts."""

    @classmethod
    def of(cls, task_id: str, lease_token: int, traceparent: str) -> "Execution | None":
        """None for what is no W3C trace context."""
        extracted = _W3C.extract({"traceparent": traceparent}, context.Context())
        parent = trace.get_current_span(extracted).get_span_context()
        if not parent.is_valid:
            return None
        seed = f"{parent.trace_id:032x} {task_id} {lease_token}"
        span_id = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) or 1
        own = SpanContext(parent.trace_id, span_id, is_remote=True, trace_flags=parent.trace_flags)
        return cls(task_id, lease_token, parent, own)


class Tracing:
    """`ports.Tracer`, on the SDK's spans. `processor` receives the spans of executions, which begin in one process and end in
    another."""

    def __init__(
        self, tracer: trace.Tracer, processor: SpanProcessor, resource: Resource, instruments: Instruments, face: str
    ) -> None:
        self.tracer = tracer
        self.instruments = instruments
        self._processor = processor
        self._resource = resource
        self._face = face
        self._executions: OrderedDict[str, SpanContext] = OrderedDict()

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Attribute] | None = None) -> Generator[trace.Span]:
        span = self.tracer.start_span(name, attributes=attributes)
        outer = context.attach(trace.set_span_in_context(span))
        try:
            yield span
        except BaseException as error:
            failed(span, error)
            raise
        finally:
            context.detach(outer)
            span.end()

    @contextmanager
    def request(self, attributes: Mapping[str, Attribute], carrier: Mapping[str, Any] | None = None) -> Generator[None]:
        texts = {name: value for name, value in (carrier or {}).items() if isinstance(value, str)}
        request, parent = _REQUEST.set(attributes), context.attach(_W3C.extract(texts, context.Context()))
        try:
            yield
        finally:
            context.detach(parent)
            _REQUEST.reset(request)

    @contextmanager
    def call(self, tool: str, caller: Caller, arguments: Mapping[str, Any] | None) -> Generator[trace.Span]:
        attributes = self._attributes(tool, caller, arguments or {})
        known = self._executions.get(str(attributes.get("wvo.task.id")))
        # Below the caller's span; else below the execution of the task. Where both are known, the latter is linked.
        asked = trace.get_current_span().get_span_context().is_valid
        span = self.tracer.start_span(
            "mcp.tool",
            None if asked or known is None else trace.set_span_in_context(NonRecordingSpan(known)),
            SpanKind.SERVER,
            attributes,
            [Link(known)] if asked and known is not None else [],
        )
        measured = {name: attributes[name] for name in _MEASURED if name in attributes}
        begun = time.perf_counter()
        outer = context.attach(trace.set_span_in_context(span))
        try:
            yield span
        except BaseException as error:
            measured |= failed(span, error, ours="tool_error")
            raise
        finally:
            context.detach(outer)
            span.end()
            self.instruments.record(CALLS, time.perf_counter() - begun, measured)

    def _attributes(self, tool: str, caller: Caller, arguments: Mapping[str, Any]) -> dict[str, Attribute]:
        named: dict[str, Attribute | None] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "wvo.face": self._face,
            "wvo.agent.id": _text(arguments.get("agent_id")) or caller.agent_id,
            "wvo.session.id": caller.session_id,
            "wvo.client.name": caller.client,
            **(_REQUEST.get() or {}),
            "wvo.task.id": _text(arguments.get("task_id")),
        }
        return _known(named)

    def began(self, execution: Execution, claim: trace.Span) -> None:
        """The claim is committed."""
        self._executions[execution.task_id] = execution.context
        if len(self._executions) > _REMEMBERED:
            self._executions.popitem(last=False)
        claim.set_attributes({"wvo.task.id": execution.task_id, "wvo.lease.token": execution.lease_token})
        claim.add_link(execution.context)

    def ended(
        self, execution: Execution, begun: datetime, ended: datetime, outcome: str, holder: str | None, by: trace.Span
    ) -> None:
        """The end is committed: the span of the execution is recorded, whichever process began it. Times are the store's, so
        that they are those of the audit trail."""
        own = execution.context
        if self._executions.get(execution.task_id) == own:
            del self._executions[execution.task_id]
        seconds = max(0.0, (ended - begun).total_seconds())
        self.instruments.record(EXECUTIONS, seconds, {"outcome": outcome})
        ending = by.get_span_context()
        if ending.trace_id != own.trace_id:
            by.add_link(own)
        if not own.trace_flags & TraceFlags.SAMPLED:
            return
        named: dict[str, Attribute | None] = {
            "wvo.task.id": execution.task_id,
            "wvo.task.outcome": outcome,
            "wvo.lease.token": execution.lease_token,
            "wvo.agent.id": holder,
        }
        begun_ns = round(begun.timestamp() * 1000) * 1_000_000
        self._processor.on_end(
            ReadableSpan(
                name="task.execution",
                context=own,
                parent=execution.parent,
                resource=self._resource,
                attributes=_known(named),
                links=[Link(ending)] if ending.is_valid else [],
                status=Status(StatusCode.ERROR, outcome) if outcome in _FAILED else Status(StatusCode.OK),
                start_time=begun_ns,
                end_time=begun_ns + round(seconds * 1000) * 1_000_000,
                instrumentation_scope=InstrumentationScope("wvo-mcp"),
            )
        )


def failed(span: trace.Span, error: BaseException, *, ours: str | None = None) -> dict[str, str]:
    """Mark the span with an error that passes, without its stack trace, which shows what it should not; its attributes. `ours`
    is the type of a `WvoError`, if not its own."""
    named = {"error.type": type(error).__qualname__}
    if isinstance(error, WvoError):
        named = {"error.type": ours or type(error).__qualname__, "wvo.error.code": error.code}
    span.set_attributes(named)
    span.set_status(StatusCode.ERROR, str(error)[:_MESSAGE_CHARACTERS])
    return named


def _known(named: Mapping[str, Attribute | None]) -> dict[str, Attribute]:
    return {name: value for name, value in named.items() if value is not None}


def _text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) and value else None
