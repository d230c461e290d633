"""The store, watched: a span and a duration for each transaction, and what follows from the events that it committed."""

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import SETTLED
from wvo_mcp.errors import WvoError
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.telemetry import Attribute
from wvo_mcp.telemetry.instruments import left, outcome
from wvo_mcp.telemetry.tracing import Ended, Execution, Tracing, failed, traceparent

T = TypeVar("T")

_STORE_ERRORS = ("store_busy", "store_unavailable", "incompatible_store", "internal")


class _Seen:
    """What was seen of one transaction; of its last attempt, where a database asks for several."""

    def __init__(self) -> None:
        self.begun_ns = time.time_ns()
        self.begun = time.perf_counter()
        self.attempts = 0
        self.waited = 0.0
        self.events: list[tuple[str, str | None, dict[str, object]]] = []
        self.claims: list[Execution] = []
        self.ends: list[Ended] = []

    def attempt(self) -> None:
        self.attempts += 1
        self.waited = time.perf_counter() - self.begun


class WatchedTransactions:
    """`ports.WatchedStore` around another. Nothing is told of what was not committed."""

    def __init__(self, store: WatchedStore, tracing: Tracing, system: str) -> None:
        self._store = store
        self._tracing = tracing
        self._system = system

    async def wait_for_change(self, seconds: float) -> bool:
        return await self._store.wait_for_change(seconds)

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        seen = _Seen()

        async def watched(tx: Transaction) -> T:
            seen.attempt()
            return await work(tx)

        try:
            result = await self._store.read(caller, watched)
        except BaseException as error:
            self._tell("read", seen, "failed" if _is_ours(error) else "read", error)
            raise
        self._tell("read", seen, "read", None)
        return result

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        seen = _Seen()
        # Not asked for within: the embedded store works in a thread of its own.
        current = trace.get_current_span()
        here = current.get_span_context()

        async def watched(tx: Transaction) -> T:
            seen.attempt()
            result = await work(tx)
            if keep:
                seen.events = [(kind, task_id, dict(data)) for kind, task_id, data in tx.events.appended]
                seen.claims, seen.ends = [], []
                await self._follow(tx, seen, here)
            return result

        try:
            result = await self._store.write(caller, watched, keep=keep)
        except BaseException as error:
            self._tell("write", seen, "failed" if _is_ours(error) else "rolled_back", error)
            raise
        self._tell("write", seen, "committed" if keep else "dry_run", None)
        for kind, _, data in seen.events:
            self._tracing.instruments.count(kind, data)
            if kind == "provider.reported":
                self._reported(data)
        for ended in seen.ends:
            self._tracing.ended(ended, current)
        for claim in seen.claims:
            self._tracing.began(claim, current)
        return result

    def _reported(self, data: Mapping[str, Any]) -> None:
        incoming, outgoing = int(data["tokens_in"]) + int(data["tokens_cached"]), int(data["tokens_out"])
        if incoming or outgoing:
            self._tracing.tokens("chat", data["provider"], data["model"], incoming=incoming, outgoing=outgoing)

    async def _follow(self, tx: Transaction, seen: _Seen, here: SpanContext) -> None:
        """Keep the traces of the tasks that were claimed here, and take those that ended: all in the same transaction."""
        for kind, task_id, data in seen.events:
            if task_id is None:
                continue
            if kind == "task.claimed":
                await self._claimed(tx, seen, task_id, data, here)
            elif left(data):
                await self._left(tx, seen, task_id, outcome(kind), data["lease_token"], data["holder"])
            if data.get("to") in SETTLED and kind != "task.claimed":
                await tx.traces.forget(task_id)

    async def _claimed(
        self, tx: Transaction, seen: _Seen, task_id: str, data: dict[str, object], here: SpanContext
    ) -> None:
        token = data["lease_token"]
        if not isinstance(token, int):
            return
        row = await tx.traces.get(task_id)
        if row is None:
            parent = traceparent(here if here.is_valid else _new_root())
        else:  # it was given back, or its holder is gone: the same work goes on
            parent = str(row["traceparent"])
            if "resumed_from" in data:
                await self._left(tx, seen, task_id, "resumed", row["lease_token"], data.get("agent"))
        await tx.traces.put(task_id, token, parent)
        seen.claims.append(Execution(task_id, token, parent))

    async def _left(self, tx: Transaction, seen: _Seen, task_id: str, how: str, token: object, holder: object) -> None:
        row = await tx.traces.get(task_id)
        if row is None or row["lease_token"] != token:
            return  # it was claimed where telemetry was off: when that was is not known here
        execution = Execution(task_id, row["lease_token"], row["traceparent"])
        named = holder if isinstance(holder, str) else None
        seen.ends.append(Ended(execution, instant(row["started_at"]), tx.now, how, named))

    def _tell(self, operation: str, seen: _Seen, how: str, error: BaseException | None) -> None:
        seconds = time.perf_counter() - seen.begun
        named: dict[str, Attribute] = {
            "db.system.name": self._system,
            "db.operation.name": operation,
            "wvo.store.outcome": how,
        }
        self._tracing.instruments.transactions.record(seconds, named)
        # What looks around and renews every few seconds is measured, but makes no trace of its own.
        if not trace.get_current_span().get_span_context().is_valid and not seen.events and how != "failed":
            return
        attributes = {**named, "wvo.store.wait_ms": round(seen.waited * 1000, 3)}
        if seen.events:
            attributes["wvo.store.events"] = len(seen.events)
        if seen.attempts > 1:
            attributes["wvo.store.attempts"] = seen.attempts
        span = self._tracing.tracer.start_span(
            "store.transaction", kind=SpanKind.CLIENT, attributes=attributes, start_time=seen.begun_ns
        )
        if how == "failed" and error is not None:
            failed(span, error)
        span.end(seen.begun_ns + int(seconds * 1e9))


def _is_ours(error: BaseException) -> bool:
    """Did the store fail? An operation that refuses rolls back, and that is no failure of the store."""
    return not isinstance(error, WvoError) or error.code in _STORE_ERRORS


def _new_root() -> SpanContext:
    return SpanContext(
        secrets.randbits(128) or 1,
        secrets.randbits(64) or 1,
        is_remote=False,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
