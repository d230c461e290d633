"""The prefetch queue (SCHED-4): ten to twenty ready tasks at hand, each for an agent of the pool that suits it.

The match is advice. Who claims without naming a task gets the best score, as the contract says; a pool that hands out work
(`next_for`) asks for the matched one by name, and claims as before when somebody was quicker.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.orchestration.queue.claims import Circumstances, why_not_ready
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.prefetch import Member, Prefetched

LOW, HIGH = 10, 20
"""Below the one the queue is filled up to the other."""

_BATCH = 50
_LOOK_AT = 400
"""So many of the best tasks are looked at; behind as many that nobody can take, the queue stays short."""
_POOL = 200
_JUDGED = 3
"""So many attempts of about one size say whether an agent can do that."""

ONLY = "nobody else can do it"
PROVEN = "has done such work"
CAPABLE = "can do it"
NOBODY = "nobody is there for it"


@dataclass(slots=True)
class _Shown:
    done: int = 0
    tried: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Records:
    """What each agent has shown to finish, by size of task: small (1-3), middle (4-6), large."""

    _shown: dict[tuple[str, int], _Shown] = field(default_factory=dict[tuple[str, int], _Shown])

    def note(self, agent_id: str | None, complexity: int, *, done: bool, seconds: float) -> None:
        """An attempt is over."""
        if agent_id is None:
            return
        shown = self._shown.setdefault((agent_id, _size(complexity)), _Shown())
        shown.tried += 1
        shown.done += done
        shown.seconds += seconds if done else 0.0

    def suits(self, agent_id: str, complexity: int) -> bool:
        """Everybody does, until more attempts of that size failed than succeeded."""
        shown = self._shown.get((agent_id, _size(complexity)))
        return shown is None or shown.tried < _JUDGED or shown.done * 2 >= shown.tried

    def pace(self, agent_id: str, complexity: int) -> float | None:
        """Mean seconds of what was finished of that size."""
        shown = self._shown.get((agent_id, _size(complexity)))
        return None if shown is None or not shown.done else shown.seconds / shown.done


def _size(complexity: int) -> int:
    return min(2, (complexity - 1) // 3)


async def next_for(tx: Transaction, agent_id: str) -> str | None:
    """The best task that is kept for the agent or for one with the same capabilities: whoever of them is free first takes the
    better one, so that among equals the order of the queue stays. None where all can do the same: then the score alone
    decides. It may be gone by the time it is claimed."""
    entries = [entry for entry in await tx.prefetch.entries() if entry.agent_id is not None]
    if not entries:
        return None
    kinds = {member.id: member.capabilities for member in await tx.prefetch.pool(_POOL)}
    own = kinds.get(agent_id)
    if len(set(kinds.values())) < 2:
        return None
    for entry in entries:
        if entry.agent_id == agent_id or (own is not None and kinds.get(entry.agent_id or "") == own):
            task = await tx.tasks.find(entry.task_id)
            if task is not None and task.status is Status.PENDING:
                return task.id
    return None


async def look(tx: Transaction, policy: Policy, records: Records) -> bool:
    """Take out what can no longer be claimed, fill up when it is low, match anew. Did anything change?"""
    wanted = await planned(tx, policy, records)
    if wanted == await tx.prefetch.entries():
        return False
    await tx.prefetch.replace(wanted)
    return True


async def planned(tx: Transaction, policy: Policy, records: Records) -> list[Prefetched]:
    """The queue as it should be now. Reads only."""
    pool = sorted(await tx.prefetch.pool(_POOL), key=lambda member: member.id)
    anybody = _Anybody(tx, policy, pool)
    queue = [task for entry in await tx.prefetch.entries() if (task := await anybody.claimable(entry.task_id))]
    best = await _best(tx, policy, anybody, len(queue) < LOW)
    if len(queue) < LOW or (best and best[0].id not in {task.id for task in queue}):
        queue = (await _best(tx, policy, anybody, True))[:HIGH] if best else []
    queue.sort(key=lambda task: (-task.score, task.seq))
    options = [_options(task, pool, records) for task in queue]
    scarce_first = sorted(range(len(queue)), key=lambda place: len(options[place]))
    found = match([options[place] for place in scarce_first], [member.idle for member in pool])
    chosen = dict(zip(scarce_first, found, strict=True))
    return [
        _entry(task, None if (at := chosen[place]) is None else pool[at], pool, records)
        for place, task in enumerate(queue)
    ]


class _Anybody(Circumstances):
    """What shuts a task out whoever asks."""

    def __init__(self, tx: Transaction, policy: Policy, pool: Sequence[Member]) -> None:
        super().__init__(tx, "", policy)
        self._pool = pool

    async def lacking(self, wanted: list[str] | tuple[str, ...]) -> list[str]:
        """Empty when somebody in the pool has them all."""
        if not wanted or any(member.capabilities.issuperset(wanted) for member in self._pool):
            return []
        return list(wanted)

    async def claimable(self, task_id: str) -> Task | None:
        task = await self._tx.tasks.find(task_id)
        return task if task is not None and await self.admits(task) else None

    async def admits(self, task: Task) -> bool:
        return self._policy.serves(task.epic_id) and await why_not_ready(self._tx, task, self) is None

    def able(self, task: Task) -> int:
        return sum(member.capabilities.issuperset(task.capabilities) for member in self._pool)


async def _best(tx: Transaction, policy: Policy, anybody: _Anybody, many: bool) -> list[Task]:
    """The best task that can be claimed; with `many`, up to HIGH of them, where those that few can do leave room for others."""
    epics = None if policy.epics is None else sorted(policy.epics)
    found: list[Task] = []
    spare: list[Task] = []
    taken: dict[tuple[str, ...], int] = {}
    for skip in range(0, _LOOK_AT, _BATCH):
        batch = await tx.queue.ready(epics, _BATCH if many else HIGH, skip)
        for task in batch:
            if not await anybody.admits(task):
                continue
            if not many:
                return [task]
            kind = task.capabilities
            if kind and taken.get(kind, 0) >= 2 * anybody.able(task):
                spare.append(task)
                continue
            taken[kind] = taken.get(kind, 0) + 1
            found.append(task)
            if len(found) == HIGH:
                return found
        if len(batch) < _BATCH:
            break
    return [*found, *spare[: HIGH - len(found)]]


def _options(task: Task, pool: Sequence[Member], records: Records) -> list[int]:
    """Who may take it: those of few capabilities first, so that the others stay free for what only they can do; then the
    quickest."""
    able = [
        (len(member.capabilities), records.pace(member.id, task.complexity) or 0.0, place)
        for place, member in enumerate(pool)
        if member.capabilities.issuperset(task.capabilities) and records.suits(member.id, task.complexity)
    ]
    return [place for _, _, place in sorted(able)]


def match(options: Sequence[Sequence[int]], idle: Sequence[bool]) -> list[int | None]:
    """A largest possible set of pairs: for each task one of its options, nobody twice. Idle agents come first, and among tasks
    the earlier ones (Kuhn's augmenting paths: a task that finds everybody taken asks whether one of them can change over)."""
    holder: dict[int, int] = {}

    def place(task: int, seen: set[int], *, busy_too: bool) -> bool:
        free = [agent for agent in options[task] if (busy_too or idle[agent]) and agent not in seen]
        for agent in free:
            if agent not in holder:
                holder[agent] = task
                return True
        for agent in free:
            if agent not in seen:
                seen.add(agent)
                if place(holder[agent], seen, busy_too=busy_too):
                    holder[agent] = task
                    return True
        return False

    for busy_too in (False, True):
        for task in range(len(options)):
            if task not in holder.values():
                place(task, set(), busy_too=busy_too)
    chosen: dict[int, int] = {task: agent for agent, task in holder.items()}
    return [chosen.get(task) for task in range(len(options))]


def _entry(task: Task, member: Member | None, pool: Sequence[Member], records: Records) -> Prefetched:
    if member is None:
        return Prefetched(task.id, None, NOBODY)
    if task.capabilities and sum(one.capabilities.issuperset(task.capabilities) for one in pool) == 1:
        return Prefetched(task.id, member.id, ONLY)
    proven = records.pace(member.id, task.complexity) is not None
    return Prefetched(task.id, member.id, PROVEN if proven else CAPABLE)
