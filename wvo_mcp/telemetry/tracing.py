"""What is told of calls, of tasks from claim to end, and of whatever the core opens a span for."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
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
from wvo_mcp.telemetry.instruments import Instruments

_W3C = TraceContextTextMapPropagator()
_MESSAGE_CHARACTERS = 500
_REQUEST: ContextVar[Mapping[str, Attribute] | None] = ContextVar("wvo-request", default=None)
_REMEMBERED = 1_000
_MEASURED = ("mcp.method.name", "mcp.protocol.version", "wvo.face", "gen_ai.operation.name", "gen_ai.tool.name")
_FAILED = ("failed", "failed_attempt", "expired")


@dataclass(frozen=True)
class Execution:
    """One claim of a task, from its beginning to its end. The id of its span follows from the claim, so that every process
    knows it while it lasts."""

    task_id: str
    lease_token: int
    traceparent: str
    """The span that first claimed the task: the trace of all its executions, and the parent of each."""

    @cached_property
    def parent(self) -> SpanContext | None:
        """None for what is no W3C trace context."""
        return _stored(self.traceparent)

    @cached_property
    def context(self) -> SpanContext | None:
        parent = self.parent
        if parent is None:
            return None
        seed = f"{parent.trace_id:032x} {self.task_id} {self.lease_token}"
        span_id = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8]) or 1
        return SpanContext(parent.trace_id, span_id, is_remote=True, trace_flags=parent.trace_flags)


@dataclass(frozen=True, slots=True)
class Ended:
    """How an execution ended. Times are the store's, so that they are those of the audit trail."""

    execution: Execution
    begun_at: datetime
    ended_at: datetime
    outcome: str
    holder: str | None


class Tracing:
    """`ports.Tracer`, on the SDK's spans. `processor` takes the spans of executions, which begin in one process and end in
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
        with self._current(self.tracer.start_span(name, attributes=attributes)) as span:
            try:
                yield span
            except BaseException as error:
                failed(span, error)
                raise

    def _current(self, span: trace.Span) -> AbstractContextManager[trace.Span]:
        # What the SDK says of an error by itself has a stack trace, which shows what it should not.
        return trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False)

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
        # Below whoever asks; else below the task that it is about. Where both are known, a link tells of the other.
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
        try:
            with self._current(span):
                try:
                    yield span
                except BaseException as error:
                    measured |= failed(span, error, ours="tool_error")
                    raise
        finally:
            self.instruments.calls.record(time.perf_counter() - begun, measured)

    def _attributes(self, tool: str, caller: Caller, arguments: Mapping[str, Any]) -> dict[str, Attribute]:
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "wvo.face": self._face,
            "wvo.agent.id": _text(arguments.get("agent_id")) or caller.agent_id,
            "wvo.session.id": caller.session_id,
        }
        if caller.client is not None:
            attributes["wvo.client.name"] = caller.client
        attributes.update(_REQUEST.get() or {})
        task_id = _text(arguments.get("task_id"))
        if task_id is not None:
            attributes["wvo.task.id"] = task_id
        return attributes

    def tokens(self, tool: str, provider: str, model: str, *, incoming: int, outgoing: int) -> None:
        common = {"gen_ai.operation.name": tool, "gen_ai.provider.name": provider, "gen_ai.request.model": model}
        self.instruments.tokens.record(incoming, {**common, "gen_ai.token.type": "input"})
        self.instruments.tokens.record(outgoing, {**common, "gen_ai.token.type": "output"})

    def began(self, execution: Execution, claim: trace.Span) -> None:
        """The claim is committed."""
        own = execution.context
        if own is None:
            return
        self._executions[execution.task_id] = own
        if len(self._executions) > _REMEMBERED:
            self._executions.popitem(last=False)
        claim.set_attribute("wvo.task.id", execution.task_id)
        claim.set_attribute("wvo.lease.token", execution.lease_token)
        claim.add_link(own)

    def ended(self, ended: Ended, by: trace.Span) -> None:
        """The end is committed: the span of the execution is told, whichever process began it."""
        execution = ended.execution
        own = execution.context
        if own is None:
            return
        if self._executions.get(execution.task_id) == own:
            del self._executions[execution.task_id]
        seconds = max(0.0, (ended.ended_at - ended.begun_at).total_seconds())
        self.instruments.executions.record(seconds, {"outcome": ended.outcome})
        ending = by.get_span_context()
        if ending.trace_id != own.trace_id:
            by.add_link(own)
        if not own.trace_flags & TraceFlags.SAMPLED:
            return
        attributes: dict[str, Attribute] = {
            "wvo.task.id": execution.task_id,
            "wvo.task.outcome": ended.outcome,
            "wvo.lease.token": execution.lease_token,
        }
        if ended.holder is not None:
            attributes["wvo.agent.id"] = ended.holder
        status = Status(StatusCode.ERROR, ended.outcome) if ended.outcome in _FAILED else Status(StatusCode.OK)
        self._processor.on_end(
            ReadableSpan(
                name="task.execution",
                context=own,
                parent=execution.parent,
                resource=self._resource,
                attributes=attributes,
                links=[Link(ending)] if ending.is_valid else [],
                status=status,
                start_time=_nanoseconds(ended.begun_at),
                end_time=_nanoseconds(max(ended.begun_at, ended.ended_at)),
                instrumentation_scope=InstrumentationScope("wvo-mcp"),
            )
        )


def failed(span: trace.Span, error: BaseException, *, ours: str | None = None) -> dict[str, str]:
    """Mark the span with an error that passes; its attributes. `ours` is the type of a `WvoError`, if not its own."""
    named = {"error.type": type(error).__qualname__}
    if isinstance(error, WvoError):
        named = {"error.type": ours or type(error).__qualname__, "wvo.error.code": error.code}
    span.set_attributes(named)
    span.set_status(StatusCode.ERROR, str(error)[:_MESSAGE_CHARACTERS])
    return named


def traceparent(found: SpanContext) -> str:
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-{found.trace_flags:02x}"


def _stored(traceparent: str) -> SpanContext | None:
    """The inverse; None for what is no W3C trace context."""
    extracted = _W3C.extract({"traceparent": traceparent}, context.Context())
    found = trace.get_current_span(extracted).get_span_context()
    return found if found.is_valid else None


def _text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) and value else None


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000) * 1_000_000
