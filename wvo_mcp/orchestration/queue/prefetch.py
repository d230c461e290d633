"""The prefetch queue (SCHED-4): ten to twenty ready tasks at hand for the pool, each of which some agent of it can do.

It is advice: the leader keeps it, and the claim judges again.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.task import Task
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm
from wvo_mcp.orchestration.queue.planning import Circumstances, why_not_ready
from wvo_mcp.ports import Transaction

LOW, HIGH = 10, 20
"""Below the one the queue is filled up to the other."""

_BATCH = 50
_LOOK_AT = 400
"""So many of the best tasks are looked at; behind as many that no agent can do, the queue stays short."""
_POOL = 200
_AGAIN = timedelta(seconds=30)
"""Time alone opens gates, and no event tells of it."""


class Prefetching:
    """The leader's chore that keeps the queue. Where nothing happened since the last look, a look is one small read."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._seq = 0
        self._looked: datetime | None = None

    def chore(self) -> LeaderJob:
        return LeaderJob("prefetch", 0, self.run)

    async def run(self, term: LeaderTerm) -> None:
        """Write only what is other than before."""
        seq, now, differs = await term.read(term.caller, self._look)
        if differs:
            await term.write(term.caller, lambda tx: refill(tx, self._policy))
        self._seq, self._looked = seq, now

    async def _look(self, tx: Transaction) -> tuple[int, datetime | None, bool]:
        """Up to which event, when, and whether the queue should be another one."""
        seq = await tx.events.last_seq()
        if seq == self._seq and self._looked is not None and tx.now - self._looked < _AGAIN:
            return seq, self._looked, False
        return seq, tx.now, await planned(tx, self._policy) != await tx.prefetch.entries()


async def refill(tx: Transaction, policy: Policy) -> None:
    """Take out what can no longer be claimed, fill up when it is low."""
    await tx.prefetch.replace(await planned(tx, policy))


async def planned(tx: Transaction, policy: Policy) -> list[str]:
    """The queue as it should be now, best first. Reads only."""
    anybody = _Anybody(tx, policy, await tx.prefetch.capabilities(_POOL))
    queue = [task for task_id in await tx.prefetch.entries() if (task := await anybody.claimable(task_id))]
    if len(queue) >= LOW and {task.id for task in queue}.issuperset(await _best(tx, policy, anybody, 1)):
        queue.sort(key=lambda task: (-task.score, task.seq))
        return [task.id for task in queue]
    return await _best(tx, policy, anybody, HIGH)


class _Anybody(Circumstances):
    """What shuts a task out for every agent."""

    def __init__(self, tx: Transaction, policy: Policy, pool: Sequence[frozenset[str]]) -> None:
        super().__init__(tx, "", policy)
        self._pool = pool

    async def lacking(self, wanted: list[str] | tuple[str, ...]) -> list[str]:
        """Empty when an agent of the pool has them all."""
        if not wanted or any(able.issuperset(wanted) for able in self._pool):
            return []
        return list(wanted)

    async def claimable(self, task_id: str) -> Task | None:
        task = await self._tx.tasks.find(task_id)
        return task if task is not None and await self.admits(task) else None

    async def admits(self, task: Task) -> bool:
        return self._policy.serves(task.epic_id) and await why_not_ready(self._tx, task, self) is None


async def _best(tx: Transaction, policy: Policy, anybody: _Anybody, many: int) -> list[str]:
    """The best tasks that can be claimed, at most so many."""
    epics = None if policy.epics is None else sorted(policy.epics)
    found: list[str] = []
    for skip in range(0, _LOOK_AT, _BATCH):
        batch = await tx.queue.ready(epics, _BATCH, skip)
        for task in batch:
            if await anybody.admits(task):
                found.append(task.id)
                if len(found) == many:
                    return found
        if len(batch) < _BATCH:
            break
    return found
