"""A store on a virtual clock, for simulations through the scheduler's own code.

It decides as the databases do (a test drains the same plans through both and compares every decision), but keeps no audit
trail, no memory and no replays, cannot undo, and is forgotten at the end. Nothing here waits, so nothing ever suspends.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast

from wvo_mcp.domain.lease import WIP_LIMIT, Caller
from wvo_mcp.domain.task import Task
from wvo_mcp.ports import Clock, Transaction
from wvo_mcp.store.virtual.graph import VirtualGraph
from wvo_mcp.store.virtual.people import (
    VirtualAlerts,
    VirtualEvents,
    VirtualMemory,
    VirtualPrefetch,
    VirtualSessions,
    VirtualState,
)
from wvo_mcp.store.virtual.queue import VirtualQueue
from wvo_mcp.store.virtual.routing import VirtualRouting
from wvo_mcp.store.virtual.tasks import VirtualTasks
from wvo_mcp.store.virtual.world import Attendance, Order, World, by_score

T = TypeVar("T")


class VirtualTransaction:
    """`ports.Transaction` but for what a simulation has no use for; one for the life of the store."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.liveness = world.attendance
        self.tasks = VirtualTasks(world)
        self.queue = VirtualQueue(world)
        self.graph = VirtualGraph(world)
        self.events = VirtualEvents(world)
        self.alerts = VirtualAlerts(world)
        self.memory = VirtualMemory()
        self.sessions = VirtualSessions(world)
        self.state = VirtualState(world)
        self.prefetch = VirtualPrefetch()
        self.routing = VirtualRouting(world)

    @property
    def now(self) -> datetime:
        return self._world.now

    @property
    def caller(self) -> Caller:
        return self._world.caller


class VirtualStore:
    """`ports.Store`. What a work raises undoes nothing here; the scheduler judges before it changes anything."""

    def __init__(
        self,
        clock: Clock,
        attendance: Attendance,
        order: Order = by_score,
        *,
        kept: bool = False,
        agents: int = WIP_LIMIT,
    ) -> None:
        """`order` is that of the ready queue; with `kept`, leases of living sessions renew themselves; `agents` may work at
        once."""
        self._clock = clock
        self.world = World(attendance, order, kept=kept, agents=agents)
        # What is missing of the port (replays, the trail's texts, ...) is never reached by the scheduler.
        self._inside = VirtualTransaction(self.world)
        self._transaction = cast(Transaction, self._inside)

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self.write(caller, work)

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        if not keep:
            raise ValueError("the virtual store cannot undo")
        self.world.now = self._clock.now()
        self.world.caller = caller
        return await work(self._transaction)

    def load(
        self,
        tasks: Iterable[Task],
        edges: Iterable[tuple[str, str]],
        epics: Sequence[Mapping[str, Any]],
        milestones: Sequence[Mapping[str, Any]],
        waits: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """Take over the rows of another store: tasks in order of `seq`, edges (task, what it depends on), what blocked tasks
        wait for. Sessions and agents stay behind."""
        world = self.world
        world.epics.update({epic["id"]: {**epic, "in_progress": 0} for epic in epics})
        world.milestones.update({one["id"]: dict(one) for one in milestones})
        for task in tasks:
            world.put(task.model_copy(update={"open_children": 0}))
        for task_id, other in edges:
            world.needs.setdefault(task_id, []).append(other)
            world.needed_by.setdefault(other, []).append(task_id)
        for task_id, others in (waits or {}).items():
            world.waits[task_id] = list(others)
            for other in others:
                world.waited_for.setdefault(other, {})[task_id] = None
        for parent_id, parts in world.parts.items():
            world.parent(world.records[parent_id], sum(world.records[part].open for part in parts))
        self._inside.graph.loaded()
