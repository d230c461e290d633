"""The pool: keeps its slots at work until nothing is left to do, or people end it."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from wvo_mcp.domain.finding import Outcome as Found
from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.domain.worker import Outcome
from wvo_mcp.errors import BudgetExhausted, InvalidInput, StoreBusy, StoreUnavailable, WvoError
from wvo_mcp.orchestration.merging.queue import MergeQueue
from wvo_mcp.orchestration.pool import facts, successor
from wvo_mcp.orchestration.pool.ending import End
from wvo_mcp.orchestration.pool.facts import Halt
from wvo_mcp.orchestration.pool.launching import Launched, Nothing, launch
from wvo_mcp.orchestration.pool.parts import Parts
from wvo_mcp.orchestration.pool.sink import Sink
from wvo_mcp.orchestration.pool.working import Work
from wvo_mcp.orchestration.workspaces.triggers import Triggers

logger = logging.getLogger(__name__)
_LOOK_SECONDS = 5.0
"""How long a free slot waits at most before it looks again: another agent may have made work."""
_WALK_SECONDS = 2.0
DISK_FULL = "worker_disk_full"
_MISSING_SECONDS = 60.0
_LEAST_WAIT = 0.2
_REASONS = {
    "no_ready_tasks": "nothing is left that could be done now",
    "paused": "work is paused",
    "budget": "no provider may be used now",
    "wip_limit": "as much work is in progress as is allowed",
    "epic_wip_limit": "as much work is in progress as its epic allows",
}


async def _nothing_waits() -> bool:
    return False


class Pool:
    """Runs at most `size` workers at once. `most`: so many launches and no more; `only`: this task alone; `waits`: for
    resets and for people, before it ends. `queue` lands finished work; the run ends after that."""

    def __init__(
        self,
        parts: Parts,
        size: int,
        *,
        most: int,
        only: str | None = None,
        waits: bool = True,
        queue: MergeQueue | None = None,
    ) -> None:
        self._parts = parts
        self._free = list(range(size))
        self._most = most
        self._only = only
        self._waits = waits
        self._queue = queue
        self._sink = Sink(parts)
        # Leases are renewed at a third of their length, and that the store is away is seen within seconds.
        self._watch = facts.Watch(parts.store, parts.caller, parts.policy.lease_seconds * 0.6)
        self._works: dict[int, Work] = {}
        self._begun: list[str] = []
        self._missing: Mapping[str, str] = {}
        self._missing_at: float | None = None
        self._changed = anyio.Event()
        self._full: bool | None = None
        self._draining: str | None = None
        self._halted = False
        self.reviews_wait: Callable[[], Awaitable[bool]] = _nothing_waits
        """Is a review done here, or could one be begun? The run ends after that."""
        self.when_over: Callable[[], None] = lambda: None
        """Called when a launch is over."""
        self.tally: dict[str, dict[str, dict[str, Any]]] = {"done": {}, "failed": {}, "waiting": {}}
        """What became of the tasks that the run began, each where it stands at the end."""

    @property
    def gives_out(self) -> bool:
        """May anything be begun, as people want it?"""
        return not self._halted and self._watch.now.gives_out and not self._watch.now.stop

    def look(self) -> None:
        """Something may have become ready."""
        self._changed.set()

    def drain(self, reason: str = "asked to end") -> None:
        """Launch nothing more; what runs is finished."""
        self._draining = self._draining or reason
        self._changed.set()

    def stop(self, reason: str = "stopped") -> None:
        """End all workers now; their tasks are kept for the next autopilot, with their sessions."""
        self.drain(reason)
        self._halted = True
        for work in self._works.values():
            work.halted(Halt(stop=True, reason=reason))

    async def run(self) -> str:
        """Why it ended, when nothing runs any more."""
        parts = self._parts
        for told in await successor.take_over(parts.store, parts.caller, parts.policy, parts.trees, parts.host):
            parts.news(told)
        guard = parts.guard
        unfinished = [] if guard is None else await guard.rollbacks.finish()
        for line in [*unfinished, *await parts.places.recover()]:
            parts.news({"event": "left", "reason": line})
        await successor.forget_settled(parts.store, parts.caller, parts.homes)
        await parts.store.write(parts.caller, facts.begin)
        await self._watch.look()
        ended = ""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._sink.run)
            tasks.start_soon(self._watch.run, self._on_halt, self.look)
            tasks.start_soon(self._walk)
            if guard is not None:
                tasks.start_soon(Triggers(guard, parts.caller, self._running, alone=self._alone).run)
            ended = await self._fill(tasks)
            tasks.cancel_scope.cancel()
        return ended

    def _running(self) -> set[str]:
        return {work.launched.task.id for work in self._works.values()}

    def _alone(self) -> set[str]:
        """Those whose workers nobody takes part in."""
        watched = ((work.launched.task.id, work.watching) for work in self._works.values())
        return {task_id for task_id, watching in watched if watching is not None and watching.alone is not None}

    async def _fill(self, tasks: TaskGroup) -> str:
        """Keep the slots at work."""
        while True:
            self._changed = anyio.Event()
            try:
                nothing = await self._launch_all(tasks)
                ended = await self._ended(nothing)
            except (StoreBusy, StoreUnavailable) as error:
                logger.warning("nothing can be launched: %s", error.message)
                nothing, ended = None, None
            # What was found may be older than a worker's end, or than work that came back from the merge queue.
            if ended is not None and not self._changed.is_set():
                return ended
            with anyio.move_on_after(self._patience(nothing)):
                await self._changed.wait()

    async def _launch_all(self, tasks: TaskGroup) -> Nothing | None:
        """Launch until no slot is free, or say why nothing is launched."""
        while self._free:
            await self._look_for_logins()
            if self._draining is not None:
                return Nothing("draining", self._draining)
            if (begun := len(self._begun)) >= self._most:
                self.drain(f"{begun} {'task was' if begun == 1 else 'tasks were'} begun, as many as allowed")
                continue
            if self._watch.now.stop:
                self.drain(self._watch.now.reason or "stopped by a person")
                continue
            if not self._watch.now.gives_out:
                return Nothing("paused", self._watch.now.reason)
            if (full := await self._disk_full()) is not None:
                return full
            with self._parts.tracer.span("worker.launch"):  # the worker's span is below it, in the trace of the task
                found = await self._launch(tasks, self._free[0])
            if found is not None:
                return found
        return None

    async def _disk_full(self) -> Nothing | None:
        """Nothing is launched meanwhile, and people are told once."""
        why, parts = self._parts.places.full(), self._parts
        if (why is not None) is not self._full:
            message = f"No worker is launched: {why}."
            await parts.store.write(
                parts.caller,
                lambda tx: (
                    tx.alerts.resolve_alert(DISK_FULL, None)
                    if why is None
                    else tx.alerts.raise_alert(DISK_FULL, "critical", None, message)
                ),
            )
            self._full = why is not None
        return None if why is None else Nothing(DISK_FULL, why, parts.now() + timedelta(seconds=_LOOK_SECONDS))

    async def _launch(self, tasks: TaskGroup, slot: int) -> Nothing | None:
        try:
            busy = self._running() | self._watch.now.still.keys()
            found = await launch(self._parts, slot, self._only, self._missing, busy)
        except (StoreBusy, StoreUnavailable):
            raise
        except WvoError as error:
            return await self._refused(error)
        if isinstance(found, Nothing):
            return found
        self._free.remove(slot)
        if (
            found.before is None or found.task.id not in self._begun
        ):  # its own session that goes on is no new assignment
            self._begun.append(found.task.id)
        work = Work(self._parts, found, self._sink)
        self._works[slot] = work
        tasks.start_soon(self._work, slot, work, found)
        return None

    async def _work(self, slot: int, work: Work, launched: Launched) -> None:
        # What people said while it was claimed was told to nobody.
        work.halted(Halt(stop=True, reason=self._draining) if self._halted else self._watch.now)
        task, end = await work.run()
        if end.halts is not None:
            self.stop(end.halts)
        self._count(task, end)
        worker = launched.worker
        self._parts.news(
            {
                "event": "ended" if end.outcome is not Outcome.LIMITED else "parked",
                "task_id": task.id,
                "worker_id": worker.worker_id,
                "provider": worker.provider,
                "outcome": end.outcome.value,
                "task": task.status.value,
                "reason": (task.last_error if task.status is Status.FAILED else None) or end.reason,
                "until": None if task.not_before is None or task.status is not Status.PENDING else iso(task.not_before),
            }
        )
        del self._works[slot]
        self._free = sorted([*self._free, slot])
        self._changed.set()
        if self._queue is not None:
            self._queue.wake()
        self.when_over()

    def _count(self, task: Task, end: End) -> None:
        for kept in self.tally.values():
            kept.pop(task.id, None)
        entry: dict[str, Any] = {"task_id": task.id, "reason": end.reason}
        match task.status:
            case Status.DONE | Status.IN_REVIEW:
                kind, entry = "done", {"task_id": task.id}
            case Status.FAILED | Status.CANCELLED | Status.BLOCKED:
                why = task.blocked_reason if task.status is Status.BLOCKED else task.last_error
                kind, entry["reason"] = "failed", why or end.reason
                if task.status is Status.CANCELLED:
                    entry["cancelled"] = True
            case _:
                kind = "waiting"
                if task.not_before is not None:
                    entry["until"] = iso(task.not_before)
        self.tally[kind][task.id] = entry

    async def _ended(self, nothing: Nothing | None) -> str | None:
        """Why the run is over; None while it is not."""
        if self._works:
            return None
        why = self._draining or await self._over(nothing)
        if why is None or self._halted:
            return why
        waits = (self._queue is not None and await self._queue.waits()) or await self.reviews_wait()
        return None if waits else why

    async def _over(self, nothing: Nothing | None) -> str | None:
        """Nothing runs: is the run over? None while something may still come that is worth waiting for."""
        if nothing is None:
            return None
        said = nothing.explanation or _REASONS.get(nothing.reason, nothing.reason)
        if nothing.spent_out is not None:
            return nothing.spent_out
        if not self._waits:
            return said
        if nothing.reason == "paused" or nothing.again_at is not None:
            return None
        asked = await self._parts.store.read(self._parts.caller, lambda tx: tx.approvals.count_waiting())
        return None if asked else said

    async def _refused(self, error: WvoError) -> Nothing:
        """The named task cannot be claimed: for now, or in this run."""
        task_id, now = self._only, self._parts.now()
        if task_id is None:
            raise error
        task = await self._parts.store.read(self._parts.caller, lambda tx: tx.tasks.find(task_id))
        status = None if task is None else task.status
        times = [task.not_before, task.kept_until] if task is not None and status is Status.PENDING else []
        if isinstance(error, BudgetExhausted) and error.details.get("until"):
            times.append(instant(error.details["until"]))
        known = [at for at in times if at is not None and at > now]
        waits = known or isinstance(error, BudgetExhausted) or status is Status.AWAITING_APPROVAL
        return Nothing(error.code, error.message, min(known, default=None), None if waits else error.message)

    def _patience(self, nothing: Nothing | None) -> float:
        """Seconds until the next look."""
        if nothing is None or nothing.again_at is None:
            return _LOOK_SECONDS
        return min(_LOOK_SECONDS, max(_LEAST_WAIT, (nothing.again_at - self._parts.now()).total_seconds()))

    async def _look_for_logins(self) -> None:
        """What keeps providers from being launched, looked at once a minute."""
        now = self._parts.clock.steady()
        if self._missing_at is not None and (not self._missing or now - self._missing_at < _MISSING_SECONDS):
            return
        self._missing_at = now
        try:
            await self._parts.providers.refresh()
            enabled = [one for one in self._parts.providers.current().providers if one.enabled]
        except InvalidInput:
            return
        found = await self._parts.homes.missing(enabled)
        told = {
            name: f"{one.found}. {one.remedy or ''}".strip() for name, one in found.items() if one.outcome is Found.FAIL
        }
        for name in told.keys() - self._missing.keys():
            self._parts.news({"event": "unusable", "provider": name, "reason": told[name]})
        self._missing = told

    def _on_halt(self, halt: Halt) -> None:
        if self._halted:
            return  # more than this cannot be wanted
        for work in self._works.values():
            work.halted(halt)
        self._changed.set()

    async def _walk(self) -> None:
        """Look at the process trees of all workers, one walk for all."""
        trees, known = self._parts.trees, self._sink.roots
        while True:
            await anyio.sleep(_WALK_SECONDS)
            roots = known()
            if roots:
                for worker_id, use in (await anyio.to_thread.run_sync(trees.look, roots)).items():
                    self._sink.put(worker_id, {"memory_mb": use.memory_mb, "cpu_percent": round(use.cpu_percent, 1)})
