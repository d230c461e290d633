"""The store with a span and a duration for each transaction, and what follows from the events that it committed."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from opentelemetry import trace
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanContext, SpanKind

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import SETTLED
from wvo_mcp.errors import WvoError
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.telemetry import Attribute
from wvo_mcp.telemetry.instruments import TRANSACTIONS, left, outcome
from wvo_mcp.telemetry.tracing import Execution, Tracing, failed

T = TypeVar("T")
Run = Callable[[Callable[[Transaction], Awaitable[T]]], Awaitable[T]]

_STORE_ERRORS = ("store_busy", "store_unavailable", "incompatible_store", "internal")
_NEW_ID = RandomIdGenerator()


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

    async def wait_for_change(self, seconds: float) -> bool:
        return await self._store.wait_for_change(seconds)

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self._watched("read", partial(self._store.read, caller), work, "read", "read")

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        done = "committed" if keep else "dry_run"
        return await self._watched(
            "write", partial(self._store.write, caller, keep=keep), work, done, "rolled_back", follow=keep
        )

    async def _watched(
        self,
        operation: str,
        run: Run[T],
        work: Callable[[Transaction], Awaitable[T]],
        done: str,
        refused: str,
        *,
        follow: bool = False,
    ) -> T:
        begun_ns, begun = time.time_ns(), time.perf_counter()
        last = _Attempt(self._tracing, 0, 0.0)
        # Read here: the embedded store works in a thread of its own.
        current = trace.get_current_span()

        async def attempt(tx: Transaction) -> T:
            nonlocal last
            last = _Attempt(self._tracing, last.number + 1, time.perf_counter() - begun)
            result = await work(tx)
            if follow:
                await last.follow(tx, current.get_span_context())
            return result

        error: BaseException | None = None
        try:
            result = await run(attempt)
        except BaseException as raised:
            # An operation that refuses rolls back, and that is no failure of the store.
            if not isinstance(raised, WvoError) or raised.code in _STORE_ERRORS:
                error = raised
            self._record(operation, last, "failed" if error else refused, error, begun_ns, time.perf_counter() - begun)
            raise
        self._record(operation, last, done, None, begun_ns, time.perf_counter() - begun)
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
        span = self._tracing.tracer.start_span(
            "store.transaction", kind=SpanKind.CLIENT, attributes=named, start_time=begun_ns
        )
        if error is not None:
            failed(span, error)
        span.end(begun_ns + int(seconds * 1e9))
