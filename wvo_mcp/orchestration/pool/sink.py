"""What streams from many workers, written in one transaction now and then, so that a claim never queues behind it."""

import logging
from collections.abc import Mapping
from typing import Any

import anyio

from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.pool.parts import Parts
from wvo_mcp.orchestration.pool.spending import Ledger, Mark
from wvo_mcp.ports import Transaction

logger = logging.getLogger(__name__)
_BATCH_SECONDS = 0.1
_QUIET_SECONDS = 1.0
"""What only says what a worker does at the moment may be so old."""
_SETTLE_SECONDS = 1.0
"""As often as rows are written anyway. With the wait for the next look, two seconds of what is used are lost to budgets
when this process is killed."""
_RETRY_SECONDS = 1.0
_QUIET_FIELDS = frozenset({"reason", "last_act", "memory_mb", "cpu_percent"})


class Sink:
    """The last value of each column counts. What was put is kept until the store has it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._pending: dict[str, dict[str, Any]] = {}
        self._shown: dict[str, dict[str, Any]] = {}
        self._ledgers: dict[str, Ledger] = {}
        self._settled_at: dict[str, float] = {}
        self._changed = anyio.Event()
        self._writing = anyio.Lock()

    def begin(self, worker_id: str, ledger: Ledger) -> None:
        """From now on what the ledger counts is written as well."""
        self._ledgers[worker_id] = ledger
        self._shown[worker_id] = {}

    def put(self, worker_id: str, fields: Mapping[str, Any], *, now: bool = False) -> None:
        """Columns of the worker's row."""
        shown = self._shown.setdefault(worker_id, {})
        fresh = {name: value for name, value in fields.items() if name not in shown or shown[name] != value}
        if fresh:
            shown |= fresh
            self._pending.setdefault(worker_id, {}).update(fresh)
            if now or not _QUIET_FIELDS.issuperset(fresh):
                self._changed.set()

    def hurry(self) -> None:
        """What is to be settled is settled now."""
        self._changed.set()

    def roots(self) -> dict[str, int]:
        """Pids of the workers that have a process, by worker."""
        return {one: int(fields["pid"]) for one, fields in self._shown.items() if fields.get("pid") is not None}

    async def flush(self, worker_id: str, *, last: bool = False) -> None:
        """What was put, and all that the worker used, is in the store when it returns. `last`: nothing follows. Raises the
        store's typed errors."""
        await self._write([worker_id], whole=True, last=last)
        if last:
            self._ledgers.pop(worker_id, None)
            for kept in (self._shown, self._pending, self._settled_at):
                kept.pop(worker_id, None)

    async def run(self) -> None:
        """Until cancelled. A store that cannot be reached is tried again."""
        while True:
            with anyio.move_on_after(_QUIET_SECONDS):
                await self._changed.wait()
                await anyio.sleep(_BATCH_SECONDS)  # what comes together is written together
            self._changed = anyio.Event()
            try:
                await self._write([*self._pending.keys() | self._due()])
            except WvoError as error:
                logger.warning("what workers do could not be written: %s", error.message)
                await anyio.sleep(_RETRY_SECONDS)

    def _due(self) -> set[str]:
        now = self._parts.clock.steady()
        return {
            worker_id
            for worker_id, ledger in self._ledgers.items()
            if ledger.unsettled
            and (ledger.urgent or now - self._settled_at.get(worker_id, -_SETTLE_SECONDS) >= _SETTLE_SECONDS)
        }

    async def _write(self, worker_ids: list[str], *, whole: bool = False, last: bool = False) -> None:
        async with self._writing:
            given = {one: self._pending.pop(one) for one in worker_ids if one in self._pending}
            due = set(worker_ids) if whole else self._due() & set(worker_ids)
            ledgers = {one: self._ledgers[one] for one in due if one in self._ledgers}
            if not given and not ledgers:
                return

            async def work(tx: Transaction) -> dict[str, Mark]:
                for worker_id, fields in given.items():
                    await tx.workers.change(worker_id, fields)
                return {one: await ledger.settle(tx, last=last) for one, ledger in ledgers.items()}

            try:
                marks = await self._parts.store.write(self._parts.caller, work)
            except BaseException:
                for one, fields in given.items():  # what came meanwhile is newer
                    self._pending[one] = {**fields, **self._pending.get(one, {})}
                raise
            for one, mark in marks.items():
                self._settled_at[one] = self._parts.clock.steady()
                ledgers[one].settled(mark)
