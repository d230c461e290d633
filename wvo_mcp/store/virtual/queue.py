"""The ready queue and the leases of the virtual store."""

import heapq
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.task import Status, Task
from wvo_mcp.ports.work import Outline, Standing
from wvo_mcp.store.virtual.world import TIMED, Key, World


class VirtualQueue:
    """`ports.QueueRepository`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def ready(self, epics: Collection[str] | None, limit: int, skip: int = 0) -> list[Task]:
        return self._listed(epics, limit, skip, waiting=False)

    async def outlines(
        self, epics: Collection[str] | None, limit: int, behind: Sequence[Any] | None = None
    ) -> list[Outline]:
        world = self._world
        places = (
            (world.order(one.task, one.score), one)
            for one in world.records.values()
            if one.task.status is Status.PENDING and not one.unmet and (epics is None or one.task.epic_id in epics)
        )
        found = heapq.nsmallest(
            limit, (pair for pair in places if behind is None or pair[0] > tuple(behind)), key=lambda pair: pair[0]
        )
        return [
            Outline(
                one.task.id, place, one.task.complexity, one.task.labels, one.task.capabilities, one.gates, one.lane.row
            )
            for place, one in found
        ]

    async def waiting(self, epics: Collection[str] | None, limit: int) -> list[Task]:
        return self._listed(epics, limit, 0, waiting=True)

    def _listed(self, epics: Collection[str] | None, limit: int, skip: int, *, waiting: bool) -> list[Task]:
        world = self._world
        found = [
            one
            for one in world.records.values()
            if one.task.status is Status.PENDING
            and bool(one.unmet) is waiting
            and (epics is None or one.task.epic_id in epics)
        ]
        best = heapq.nsmallest(skip + limit, found, key=lambda one: world.order(one.task, one.score))
        return [one.present() for one in best[skip:]]

    async def pick(
        self, fits: Callable[[dict[str, Any]], Awaitable[bool]], epics: Collection[str] | None = None
    ) -> Task | None:
        world = self._world
        heads = world.heads
        passed: list[tuple[Key, int]] = []
        chosen: Task | None = None
        while heads:
            key, number = heads[0]
            lane = world.by_number[number]
            if lane.shown != key:
                heapq.heappop(heads)
                continue
            best = world.head(lane)
            lane.shown = None if best is None else best[0]
            if best is None:
                heapq.heappop(heads)
            elif best[0] != key:
                heapq.heapreplace(heads, (best[0], number))
            elif (epics is None or lane.row["epic_id"] in epics) and await fits(lane.row):
                chosen = world.records[best[1]].present()
                break
            else:
                passed.append(heapq.heappop(heads))
        for entry in passed:
            heapq.heappush(heads, entry)
        return chosen

    async def foresee(self, agent_id: str) -> None:
        """There is no way to save here."""

    async def standing(self, agent_id: str) -> Standing:
        world = self._world
        lease, time = world.next_lease(), world.next_time()
        return Standing(
            holding=len(world.by_agent.get(agent_id, ())),
            in_progress=world.counts["in_progress"],
            paused=bool(world.facts.get("paused")),
            overdue=(lease is not None and lease <= world.now) or (time is not None and time <= world.now),
        )

    async def open_gates(self) -> None:
        world = self._world
        while (at := world.next_time()) is not None and at <= world.now:
            record = world.records[heapq.heappop(world.timed)[1]]
            world.gated(record, record.gates & ~TIMED)

    async def expired(self, *, take: bool = False) -> list[Task]:
        return [self._world.records[task_id].present() for task_id in self._world.expired()]

    async def held_sessions(self) -> list[str]:
        """Only those whose server is gone: of a thousand living ones nobody learns anything."""
        return list(self._world.lost())

    async def held_by_agent(self, agent_id: str) -> list[Task]:
        return self._in_order(self._world.by_agent.get(agent_id, ()))

    async def held_by_session(self, session_id: str) -> list[Task]:
        return self._in_order(self._world.by_session.get(session_id, ()))

    def _in_order(self, task_ids: Collection[str]) -> list[Task]:
        found = [self._world.records[task_id].present() for task_id in task_ids]
        return sorted(found, key=lambda task: (task.started_at or task.created_at, task.id))

    async def holding(self, agent_id: str) -> int:
        return len(self._world.by_agent.get(agent_id, ()))

    async def scopes(self) -> list[dict[str, Any]]:
        return [{"id": task_id, "files": files} for task_id, files in sorted(self._world.scopes.items())]

    async def orphan_of(self, agent_id: str) -> Task | None:
        for task in await self.held_by_agent(agent_id):
            session = self._world.sessions.get(task.session_id or "")
            if session is not None and session["ended_at"] is not None:
                return task
        return None

    async def renew(self, session_id: str) -> int:
        renewed = 0
        for task in await self.held_by_session(session_id):
            until = self._world.now + timedelta(seconds=task.lease_seconds or 0)
            if task.lease_expires_at is not None and task.lease_expires_at < until:
                self._world.lease(self._world.records[task.id], until)
                renewed += 1
        return renewed

    async def cut(self, session_id: str, grace_seconds: int) -> int:
        until = self._world.now + timedelta(seconds=grace_seconds)
        cut = 0
        for task in await self.held_by_session(session_id):
            if task.lease_expires_at is not None and task.lease_expires_at > until:
                self._world.lease(self._world.records[task.id], until)
                cut += 1
        return cut

    async def next_change(self) -> datetime | None:
        times = [at for at in (self._world.next_lease(), self._world.next_time()) if at is not None]
        return min(times) if times else None
