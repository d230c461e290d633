"""Pause and stop: facts of the store that outlive every process (contract, section 10)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import anyio

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.worker import WorkerState
from wvo_mcp.errors import StoreBusy, StoreUnavailable
from wvo_mcp.orchestration.tasks.asked import DECIDED
from wvo_mcp.orchestration.workspaces import pausing
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.store import WatchedStore

PAUSED, PAUSED_REASON = "paused", "paused_reason"
"""Claims look whether the first is anything but null and false."""
STOP_OF_ONE = "worker_stop:"
"""And a worker's id: a person wants this one ended."""
BY_A_PERSON = "stopped by a person"
KEPT_FOR = timedelta(minutes=15)
"""So long a task stays kept for the autopilot that has its session, once it may go on."""
UNTIL_RESUMED = datetime(9999, 12, 31, tzinfo=UTC)
_LOOK_SECONDS, _AGAIN_SECONDS = 5.0, 1.0
_AWAY = "the store was away until its lease would have ended"


class PauseMode(StrEnum):
    NOW = "now"
    """Workers are interrupted, and go on in the same session after `resume`."""
    GENTLY = "gently"
    """Workers finish their tasks."""


@dataclass(frozen=True, slots=True)
class Halt:
    """What people want to stand still. `stop`: as paused now, and autopilots exit. `asked`: reasons by worker. `still`: tasks
    in whose workspaces nobody may write now, each with what tells one pause from the next."""

    mode: PauseMode | None = None
    stop: bool = False
    reason: str | None = None
    asked: Mapping[str, str] = field(default_factory=dict[str, str])
    still: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def gives_out(self) -> bool:
        """May tasks be claimed?"""
        return self.mode is None and not self.stop

    @property
    def interrupts(self) -> bool:
        """Must running workers end now?"""
        return self.stop or self.mode is PauseMode.NOW


async def read(tx: Transaction) -> Halt:
    """As it is now."""
    value = await tx.state.get(PAUSED)
    if value is True:  # from before there were workers
        value = {"mode": PauseMode.GENTLY.value}
    kept: Mapping[str, Any] = value or {}
    mode = kept.get("mode")
    found: Mapping[str, Mapping[str, Any]] = await tx.state.named(STOP_OF_ONE)
    asked = {name.removeprefix(STOP_OF_ONE): str(why.get("reason") or BY_A_PERSON) for name, why in found.items()}
    reason = await tx.state.get(PAUSED_REASON) if kept else None
    still = await pausing.standing(tx)
    return Halt(PauseMode(mode) if mode else None, bool(kept.get("stop")), reason, asked, still)


async def _read_with_decision(tx: Transaction) -> tuple[Halt, object]:
    return await read(tx), await tx.state.get(DECIDED)


async def pause(tx: Transaction, mode: PauseMode, reason: str | None) -> Halt:
    """Nothing is given out until `resume`. A pause that is on already takes the new mode; without a reason it keeps its own."""
    before = await read(tx)
    if before.mode is not mode or reason is not None:
        await _put(tx, mode, before.stop, reason, "work.paused", {"mode": mode.value})
    return await read(tx)


async def stop(tx: Transaction, reason: str | None) -> Halt:
    """As a pause, and autopilots exit. A pause that is on stays on."""
    before = await read(tx)
    if not before.stop or reason is not None:
        await _put(tx, before.mode, True, reason or before.reason, "work.stopped", {})
    return await read(tx)


async def resume(tx: Transaction) -> Halt:
    """Ends both; what waited for it may be claimed by its autopilot."""
    if not (await read(tx)).gives_out:
        await _put(tx, None, False, None, "work.resumed", {})
        await _let_go(tx)
    return await read(tx)


async def begin(tx: Transaction) -> Halt:
    """A person starts an autopilot: that ends a stop, and no pause."""
    before = await read(tx)
    if before.stop:
        await _put(tx, before.mode, False, before.reason if before.mode else None, "work.resumed", {"of": "stop"})
        if before.mode is None:
            await _let_go(tx)
    return await read(tx)


async def forget_ask(tx: Transaction, worker_id: str) -> None:
    """The worker has ended: nobody asks for its end any more."""
    await tx.state.drop(STOP_OF_ONE + worker_id)


async def _put(
    tx: Transaction, mode: PauseMode | None, stopped: bool, reason: str | None, event: str, data: Mapping[str, Any]
) -> None:
    on = mode is not None or stopped
    await tx.state.put(PAUSED, {"mode": mode and mode.value, "stop": stopped} if on else False)
    await tx.state.put(PAUSED_REASON, reason)
    await tx.events.append(event, None, {**data, **({"reason": reason} if reason else {})})


async def _let_go(tx: Transaction) -> None:
    """What is kept until resumed is kept for a while from now on, so that an autopilot that never comes back keeps nothing."""
    for worker in await tx.workers.open():
        if worker.state is WorkerState.PAUSED:
            task = await tx.tasks.get(worker.task_id)
            if task.kept_until == UNTIL_RESUMED:
                await tx.tasks.change(task, "task.kept", {"kept_until": tx.now + KEPT_FOR}, {"for": task.kept_for})


class Watch:
    """Tells the pool of every change of it, soon after whoever made it has committed; and that all must end, when the store
    was away for as long as leases certainly last without it."""

    def __init__(self, store: WatchedStore, caller: Caller, lasting: float) -> None:
        self._store = store
        self._caller = caller
        self._lasting = lasting
        self.now = Halt()
        self._decided: object = None

    async def look(self) -> Halt:
        self.now, self._decided = await self._store.read(self._caller, _read_with_decision)
        return self.now

    async def run(self, on_change: Callable[[Halt], None], on_decision: Callable[[], None] = lambda: None) -> None:
        """Until it is cancelled. The only waiter of the store."""
        away: float | None = None
        while True:
            before, decided = self.now, self._decided
            try:
                await self._store.wait_for_change(_LOOK_SECONDS)
                changed = await self.look() != before
                away = None
            except (StoreBusy, StoreUnavailable):  # workers go on meanwhile
                away = anyio.current_time() if away is None else away
                if anyio.current_time() - away > self._lasting:
                    on_change(Halt(PauseMode.NOW, reason=_AWAY))
                await anyio.sleep(_AGAIN_SECONDS)
                continue
            if changed:
                on_change(self.now)
            if decided != self._decided:
                on_decision()
