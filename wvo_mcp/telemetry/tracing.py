"""What is told of calls, of tasks from claim to end, and of whatever the core opens a span for."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import WvoError
from wvo_mcp.ports.telemetry import Attribute
from wvo_mcp.telemetry.instruments import Instruments
from wvo_mcp.telemetry.spans import CURRENT, Living, Spans, incoming, stored

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
        return stored(self.traceparent)

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
    """`ports.Tracer`."""

    def __init__(self, spans: Spans, instruments: Instruments, face: str) -> None:
        self.spans = spans
        self.instruments = instruments
        self._face = face
        self._executions: OrderedDict[str, SpanContext] = OrderedDict()

    def span(self, name: str, attributes: Mapping[str, Attribute] | None = None) -> Living:
        return self.spans.begin(name, dict(attributes or {}))

    def request(self, attributes: Mapping[str, Attribute], carrier: Mapping[str, Any] | None = None) -> "_Request":
        return _Request(attributes, incoming(carrier))

    def call(self, tool: str, caller: Caller, arguments: Mapping[str, Any] | None) -> "_Call":
        given = arguments or {}
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": tool,
            "wvo.face": self._face,
            "wvo.agent.id": _text(given.get("agent_id")) or caller.agent_id,
            "wvo.session.id": caller.session_id,
        }
        if caller.client is not None:
            attributes["wvo.client.name"] = caller.client
        attributes.update(_REQUEST.get() or {})
        known = None
        task_id = _text(given.get("task_id"))
        if task_id is not None:
            attributes["wvo.task.id"] = task_id
            known = self._executions.get(task_id)
        # Below whoever asks; else below the task that it is about. Where both are known, a link tells of the other.
        asked = CURRENT.get()
        span = self.spans.begin("mcp.tool", attributes, parent=asked or known, kind=SpanKind.SERVER)
        if asked is not None and known is not None:
            span.link(known)
        return _Call(span, self.instruments)

    def tokens(self, tool: str, provider: str, model: str, *, incoming: int, outgoing: int) -> None:
        common = {"gen_ai.operation.name": tool, "gen_ai.provider.name": provider, "gen_ai.request.model": model}
        self.instruments.tokens.record(incoming, {**common, "gen_ai.token.type": "input"})
        self.instruments.tokens.record(outgoing, {**common, "gen_ai.token.type": "output"})

    def began(self, execution: Execution, claim: Living | None) -> None:
        """The claim is committed."""
        context = execution.context
        if context is None:
            return
        self._executions[execution.task_id] = context
        if len(self._executions) > _REMEMBERED:
            self._executions.popitem(last=False)
        if claim is not None:
            claim.set("wvo.task.id", execution.task_id)
            claim.set("wvo.lease.token", execution.lease_token)
            claim.link(context)

    def ended(self, ended: Ended, by: Living | None) -> None:
        """The end is committed: the span of the execution is told, whichever process began it."""
        execution = ended.execution
        context = execution.context
        if context is None:
            return
        if self._executions.get(execution.task_id) == context:
            del self._executions[execution.task_id]
        seconds = max(0.0, (ended.ended_at - ended.begun_at).total_seconds())
        self.instruments.executed(seconds, ended.outcome)
        if by is not None and by.context.trace_id != context.trace_id:
            by.link(context)
        if not context.trace_flags & TraceFlags.SAMPLED:
            return
        attributes: dict[str, Attribute] = {
            "wvo.task.id": execution.task_id,
            "wvo.task.outcome": ended.outcome,
            "wvo.lease.token": execution.lease_token,
        }
        if ended.holder is not None:
            attributes["wvo.agent.id"] = ended.holder
        status = Status(StatusCode.ERROR, ended.outcome) if ended.outcome in _FAILED else Status(StatusCode.OK)
        self.spans.processor.on_end(
            ReadableSpan(
                name="task.execution",
                context=context,
                parent=execution.parent,
                resource=self.spans.resource,
                attributes=attributes,
                links=[] if by is None else [Link(by.context)],
                status=status,
                start_time=_nanoseconds(ended.begun_at),
                end_time=_nanoseconds(max(ended.begun_at, ended.ended_at)),
                instrumentation_scope=InstrumentationScope("wvo-mcp"),
            )
        )


class _Call:
    """The call of an operation. `tool_error` is the convention's word for a tool that answers with an error."""

    __slots__ = ("_begun", "_instruments", "_span")

    def __init__(self, span: Living, instruments: Instruments) -> None:
        self._span = span
        self._instruments = instruments
        self._begun = time.perf_counter()

    def __enter__(self) -> Living:
        return self._span.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        span = self._span
        span.__exit__(kind, error, traceback)
        given = span.attributes
        measured = {name: given[name] for name in _MEASURED if name in given}
        if error is not None:
            if isinstance(error, WvoError):
                given["error.type"] = "tool_error"
                measured["wvo.error.code"] = error.code
            measured["error.type"] = given["error.type"]
        self._instruments.called(time.perf_counter() - self._begun, measured)


class _Request:
    """Nothing but names for what happens within."""

    __slots__ = ("_attributes", "_context", "_tokens")

    def __init__(self, attributes: Mapping[str, Attribute], context: SpanContext | None) -> None:
        self._attributes = attributes
        self._context = context

    def __enter__(self) -> None:
        self._tokens = _REQUEST.set(self._attributes), CURRENT.set(self._context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _REQUEST.reset(self._tokens[0])
        CURRENT.reset(self._tokens[1])


def _text(value: object) -> str | None:
    return value[:200] if isinstance(value, str) and value else None


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000) * 1_000_000
