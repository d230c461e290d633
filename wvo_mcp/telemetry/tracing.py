"""Spans of calls, of transactions, of tasks from claim to end, and of whatever the core opens a span for."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import SETTLED
from wvo_mcp.errors import WvoError
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.store import SOON
from wvo_mcp.ports.telemetry import Attribute
from wvo_mcp.telemetry.instruments import CALLS, EXECUTIONS, TRANSACTIONS, WORKSPACES, Instruments, left, outcome

T = TypeVar("T")
Work = Callable[[Transaction], Awaitable[T]]

_W3C = TraceContextTextMapPropagator()
_MESSAGE_CHARACTERS = 500
_REQUEST: ContextVar[Mapping[str, Attribute] | None] = ContextVar("wvo-request", default=None)
_REMEMBERED = 1_000
_MEASURED = ("mcp.method.name", "mcp.protocol.version", "wvo.face", "gen_ai.operation.name", "gen_ai.tool.name")
_FAILED = ("failed", "failed_attempt", "expired")
_STORE_ERRORS = ("store_busy", "store_unavailable", "incompatible_store", "internal")
_NEW_ID = RandomIdGenerator()


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

    def measured(self, what: str, seconds: float, attributes: Mapping[str, Attribute] | None = None) -> None:
        self.instruments.record(WORKSPACES[what], seconds, attributes or {})

    def carrier(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        _W3C.inject(found)
        return found

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


class _Attempt:
    """What the last attempt of a transaction did; some databases need several."""

    def __init__(self, tracing: Tracing, number: int, waited: float) -> None:
        self._tracing = tracing
        self.number = number
        self.waited = waited
        self.events: list[tuple[str, str | None, dict[str, Any]]] = []
        self.reports: list[Callable[[trace.Span], None]] = []
        """What is reported of executions once this is committed; given the span that it is part of."""

    async def follow(self, tx: Transaction, here: SpanContext) -> None:
        """Keep the traces of the tasks that were claimed, and read those that ended: all in the same transaction."""
        self.events = [(kind, task_id, dict(data)) for kind, task_id, data in tx.events.appended]
        for kind, task_id, data in self.events:
            if task_id is None:
                continue
            if kind == "task.claimed":
                await self._claimed(tx, task_id, data, here)
            elif left(data):
                await self._left(tx, task_id, outcome(kind), data["lease_token"], data["holder"])
            if data.get("to") in SETTLED and kind != "task.claimed":
                await tx.traces.forget(task_id)

    async def _claimed(self, tx: Transaction, task_id: str, data: dict[str, Any], here: SpanContext) -> None:
        token: int = data["lease_token"]
        row = await tx.traces.get(task_id)
        if row is not None:  # the task was released or its lease expired: the same work goes on
            parent = str(row["traceparent"])
            if "resumed_from" in data:
                await self._left(tx, task_id, "resumed", row["lease_token"], data.get("agent"))
        elif here.is_valid:
            parent = f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}"
        else:
            parent = f"00-{_NEW_ID.generate_trace_id():032x}-{_NEW_ID.generate_span_id():016x}-01"
        await tx.traces.put(task_id, token, parent)
        if (execution := Execution.of(task_id, token, parent)) is not None:
            self.reports.append(partial(self._tracing.began, execution))

    async def _left(self, tx: Transaction, task_id: str, how: str, token: int, holder: str | None) -> None:
        row = await tx.traces.get(task_id)
        if row is None or row["lease_token"] != token:
            return  # it was claimed where telemetry was off: when that was is not known here
        if (execution := Execution.of(task_id, token, row["traceparent"])) is not None:
            begun = instant(row["started_at"])
            self.reports.append(partial(self._tracing.ended, execution, begun, tx.now, how, holder))


class WatchedTransactions:
    """`ports.WatchedStore` around another. Nothing is reported of what was not committed."""

    def __init__(self, store: WatchedStore, tracing: Tracing, system: str) -> None:
        self._store = store
        self._tracing = tracing
        self._system = system

    async def wait_for_change(self, seconds: float, *, within: float = SOON) -> bool:
        return await self._store.wait_for_change(seconds, within=within)

    async def read(self, caller: Caller, work: Work[T]) -> T:
        return await self._watched("read", partial(self._store.read, caller), work, "read", "read")

    async def write(self, caller: Caller, work: Work[T], *, keep: bool = True) -> T:
        run = partial(self._store.write, caller, keep=keep)
        return await self._watched("write", run, work, "committed" if keep else "dry_run", "rolled_back")

    async def _watched(
        self, operation: str, run: Callable[[Work[T]], Awaitable[T]], work: Work[T], done: str, refused: str
    ) -> T:
        begun_ns, begun = time.time_ns(), time.perf_counter()
        last = _Attempt(self._tracing, 0, 0.0)
        # Read here: the embedded store works in a thread of its own.
        current = trace.get_current_span()

        async def attempt(tx: Transaction) -> T:
            nonlocal last
            last = _Attempt(self._tracing, last.number + 1, time.perf_counter() - begun)
            result = await work(tx)
            if done == "committed":
                await last.follow(tx, current.get_span_context())
            return result

        how, error = refused, None
        try:
            result = await run(attempt)
            how = done
        except BaseException as raised:
            # An operation that refuses rolls back, and that is no failure of the store.
            if not isinstance(raised, WvoError) or raised.code in _STORE_ERRORS:
                how, error = "failed", raised
            raise
        finally:
            self._record(operation, last, how, error, begun_ns, time.perf_counter() - begun)
        for kind, _, data in last.events:
            self._tracing.instruments.count(kind, data)
        for report in last.reports:
            report(current)
        return result

    def _record(
        self, operation: str, last: _Attempt, how: str, error: BaseException | None, begun_ns: int, seconds: float
    ) -> None:
        named: dict[str, Attribute] = {
            "db.system.name": self._system,
            "db.operation.name": operation,
            "wvo.store.outcome": how,
        }
        self._tracing.instruments.record(TRANSACTIONS, seconds, named)
        # Transactions that only look or renew a lease every few seconds are measured, but make no trace of their own.
        if not trace.get_current_span().get_span_context().is_valid and not last.events and error is None:
            return
        named["wvo.store.wait_ms"] = round(last.waited * 1000, 3)
        if last.events:
            named["wvo.store.events"] = len(last.events)
        if last.number > 1:
            named["wvo.store.attempts"] = last.number
        span = self._tracing.tracer.start_span("store.transaction", None, SpanKind.CLIENT, named, start_time=begun_ns)
        if error is not None:
            failed(span, error)
        span.end(begun_ns + int(seconds * 1e9))
