"""The prefetch queue (SCHED-4): ten to twenty ready tasks at hand for the pool, each of which some agent of it can do.

It is advice: the leader keeps it, and the claim judges again.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.task import Task
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm
from wvo_mcp.orchestration.queue.planning import Circumstances, best_of_queue, why_not_ready
from wvo_mcp.ports import Transaction

LOW, HIGH = 10, 20
"""Below the one the queue is filled up to the other."""

_POOL = 200
_AGAIN = timedelta(seconds=30)
"""Time alone opens gates, and no event tells of it."""


class Prefetching:
    """The leader's job that keeps the queue. Where nothing happened since the last look, a look is one small read."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._seq = 0
        self._looked: datetime | None = None

    def job(self) -> LeaderJob:
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

    async def admits(task: Task) -> bool:
        return policy.serves(task.epic_id) and await why_not_ready(tx, task, anybody) is None

    epics = None if policy.epics is None else sorted(policy.epics)
    kept = [await tx.tasks.find(task_id) for task_id in await tx.prefetch.entries()]
    queue = [task for task in kept if task is not None and await admits(task)]
    ids = {task.id for task in queue}
    if len(queue) < LOW or not all(task.id in ids for task in await best_of_queue(tx, epics, 1, admits)):
        queue = await best_of_queue(tx, epics, HIGH, admits)
    return [task.id for task in sorted(queue, key=lambda task: (-task.score, task.seq))]


class _Anybody(Circumstances):
    """What shuts a task out for every agent."""

    def __init__(self, tx: Transaction, policy: Policy, pool: Sequence[frozenset[str]]) -> None:
        super().__init__(tx, "", policy)
        self._pool = pool

    async def lacking(self, wanted: list[str] | tuple[str, ...]) -> list[str]:
        """Empty when an agent of the pool has them all."""
        return [] if not wanted or any(able.issuperset(wanted) for able in self._pool) else list(wanted)
