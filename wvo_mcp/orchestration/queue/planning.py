"""What could come next, explained (SCHED-1), and the prefetch queue of it that the leader keeps; the claim judges again."""

import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from wvo_mcp.domain.files import InUse
from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.task import GATE_BITS, Gate, Status, Task
from wvo_mcp.domain.wsjf import Why, explain
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Row, Transaction

NOT_READY = 5
_LOOK_AT = 400
"""How many of the best tasks are looked at; behind as many that are shut out, a plan is left incomplete."""
LOW, HIGH = 10, 20
"""Below the one the queue is filled up to the other."""

_POOL = 200
_BATCH = 50
"""For the prefetch: many that nobody of the pool can do may stand before the first that somebody can."""
_AGAIN = timedelta(seconds=30)
"""Time alone opens gates, and no event tells of it."""


_LOOKS = 4
"""So often reservations are looked up by the files of one task; then all are read once."""
_GLOBS = 8


@dataclass(frozen=True, slots=True)
class InTheWay:
    """A task in progress, or a reservation of another agent."""

    id: str
    files: list[str]
    """Of what is asked for, those that overlap."""
    reservation: Row | None = None


class Circumstances:
    """What shuts tasks out at this moment: the agent's capabilities, files in use, full epics."""

    def __init__(
        self, tx: Transaction, agent_id: str, policy: Policy, pool: Sequence[frozenset[str]] | None = None
    ) -> None:
        """`pool`: the capabilities of several agents, any one of which may have all that are wanted."""
        self._tx = tx
        self._policy = policy
        self._agent_id = agent_id
        self._pool = pool
        self._capabilities: tuple[str, ...] | None = None
        self._in_use: InUse | None = None
        self._looks = 0
        self._reserved: tuple[InUse, dict[str, Row]] | None = None
        self.full_epic = False
        """True once a lane was shut out by nothing but the limit of its epic."""

    async def admit(self, lane: Row) -> bool:
        """May tasks of this lane be claimed?"""
        if not self._policy.serves(lane["epic_id"] or None):
            return False
        scope = json.loads(lane["capabilities"]), json.loads(lane["files"])
        refusal = await self.refusal(*scope, lane["epic_id"] or None)
        self.full_epic |= refusal is not None and refusal[0] == "epic_wip_limit"
        return refusal is None

    async def refusal(
        self, capabilities: Sequence[str], files: Sequence[str], epic_id: str | None
    ) -> tuple[str, list[str]] | None:
        """(reason as in `not_ready`, what is waited for) of a task with these, or None."""
        if lacking := await self.lacking(capabilities):
            return "capabilities", lacking
        if (conflict := await self.conflict(files)) is not None:
            return "files", [conflict.id]
        if epic_id is not None and await self.epic_limit(epic_id) is not None:
            return "epic_wip_limit", [epic_id]
        return None

    def is_for(self, agent: str) -> bool:
        """Is what is kept for `agent` for this one?"""
        return self._agent_id == agent or self._agent_id.startswith(f"{agent}.")

    async def lacking(self, wanted: Sequence[str]) -> list[str]:
        """Capabilities that the agent does not have."""
        if not wanted:
            return []
        if self._pool is not None:
            return [] if any(able.issuperset(wanted) for able in self._pool) else list(wanted)
        if self._capabilities is None:
            self._capabilities = await self._tx.sessions.capabilities(self._agent_id)
        return [name for name in wanted if name not in self._capabilities]

    async def conflict(self, files: Sequence[str]) -> InTheWay | None:
        """What has files in use that overlap with these, if any."""
        if not files:
            return None
        few = self._looks < _LOOKS and len(files) <= _GLOBS
        if self._in_use is None:
            if few:
                await self._tx.reservations.prefetch_near(self._agent_id, files, exclusive=True)
            self._in_use = InUse([(row["id"], json.loads(row["files"])) for row in await self._tx.queue.scopes()])
        conflict = self._in_use.conflict(files)
        return InTheWay(*conflict) if conflict is not None else await self._reservation(files, few=few)

    async def _reservation(self, files: Sequence[str], *, few: bool) -> InTheWay | None:
        self._looks += 1
        if few:
            reserved, rows = _reserved(await self._tx.reservations.near(self._agent_id, files, exclusive=True))
        else:
            if self._reserved is None:
                self._reserved = _reserved(await self._tx.reservations.of_others(self._agent_id))
            reserved, rows = self._reserved
        conflict = reserved.conflict(files)
        return None if conflict is None else InTheWay(*conflict, rows[conflict[0]])

    async def epic_limit(self, epic_id: str | None) -> int | None:
        """The limit, when the epic has reached it."""
        epic = None if epic_id is None else await self._tx.tasks.epic(epic_id)
        if epic is None or epic["wip_limit"] is None or epic["in_progress"] < epic["wip_limit"]:
            return None
        return int(epic["wip_limit"])


def _reserved(rows: Sequence[Row]) -> tuple[InUse, dict[str, Row]]:
    by_id = {str(row["reservation_id"]): row for row in rows}
    return InUse([(known, [str(row["pattern"])]) for known, row in by_id.items()]), by_id


async def why_not_ready(tx: Transaction, task: Task, circumstances: Circumstances) -> tuple[str, list[str]] | None:
    """(reason as in `not_ready`, what is waited for), or None when the task may be claimed but for WIP limits of
    agent and store. For a task that is not pending the reason is its status."""
    if task.status is not Status.PENDING:
        return task.status.value, await tx.tasks.waits(task.id) if task.status is Status.BLOCKED else []
    if task.unmet_deps:
        return "dependencies", await tx.tasks.unmet(task.id)
    if task.not_before is not None and task.not_before > tx.now:
        return "not_before", [task.model_dump(mode="json")["not_before"]]
    if task.gates & GATE_BITS[Gate.APPROVAL]:
        return "approval", ["a person: wvo-mcp approve " + task.id]
    if task.gates & GATE_BITS[Gate.CHILDREN]:
        return "children", await tx.tasks.open_children(task.id)
    kept = task.kept_for is not None and task.kept_until is not None and task.kept_until > tx.now
    if kept and not circumstances.is_for(task.kept_for or ""):
        return "kept", [f"{task.kept_for} until {iso(task.kept_until or tx.now)}"]
    return await circumstances.refusal(task.capabilities, task.files, task.epic_id)


@dataclass(frozen=True, slots=True)
class Waiting:
    task: Task
    reason: str
    waiting_for: list[str]


@dataclass(frozen=True, slots=True)
class Plan:
    """Ranked tasks with the parts of their scores, and the best of those that are not ready."""

    tasks: list[tuple[Task, Why]]
    not_ready: list[Waiting]
    ready: int
    in_progress: int
    paused: bool


async def best_of_queue(
    tx: Transaction,
    epics: Collection[str] | None,
    many: int,
    admits: Callable[[Task], Awaitable[bool]],
    batch: int | None = None,
) -> list[Task]:
    """The best ready tasks that are admitted, at most so many, as far down the queue as is looked. With `batch`, that many
    are read at a time, and none is judged behind the last that is returned."""
    found: list[Task] = []
    step = batch or many + NOT_READY
    for skip in range(0, _LOOK_AT, step):
        tasks = await tx.queue.ready(epics, step, skip)
        for task in tasks:
            if await admits(task):
                found.append(task)
            if batch is not None and len(found) == many:
                return found
        if len(found) >= many or len(tasks) < step:
            break
    return found[:many]


async def plan_next(tx: Transaction, policy: Policy, agent_id: str, epic_id: str | None, limit: int) -> Plan:
    """The best `limit` tasks for this agent, WIP limits aside."""
    circumstances = Circumstances(tx, agent_id, policy)
    wanted = policy.epics if epic_id is None else {epic_id}
    epics = None if wanted is None else sorted(filter(policy.serves, wanted))
    shut_out: list[Waiting] = []

    async def admits(task: Task) -> bool:
        refusal = await why_not_ready(tx, task, circumstances)
        if refusal is not None and len(shut_out) < NOT_READY:
            shut_out.append(Waiting(task, *refusal))
        return refusal is None or refusal[0] == "epic_wip_limit"

    chosen = await best_of_queue(tx, epics, limit, admits)
    waiting = await tx.queue.waiting(epics, NOT_READY)
    shut_out += [Waiting(task, "dependencies", await tx.tasks.unmet(task.id)) for task in waiting]
    shut_out.sort(key=lambda waiting: (-waiting.task.score, waiting.task.seq))
    return Plan(
        tasks=[(task, await why(tx, task)) for task in chosen],
        not_ready=shut_out[:NOT_READY],
        ready=await tx.health.claimable(),
        in_progress=(await tx.tasks.counts())["in_progress"],
        paused=bool(await tx.state.get("paused")),
    )


async def best_ready(tx: Transaction, limit: int) -> list[Task]:
    """The best ready tasks, as the view `ready_tasks` has them."""
    epics = await tx.tasks.epics()
    full = {epic["id"] for epic in epics if epic["wip_limit"] is not None and epic["in_progress"] >= epic["wip_limit"]}

    async def admits(task: Task) -> bool:
        return task.epic_id not in full and lifecycle.ready(tx, task)

    return await best_of_queue(tx, None, limit, admits)


async def why(tx: Transaction, task: Task) -> Why:
    """The parts of the task's score at this moment."""
    milestone = None if task.milestone_id is None else await tx.tasks.milestone(task.milestone_id)
    due = None if milestone is None else milestone["due_at"]
    return explain(task, tx.graph.step, None if due is None else instant(due), tx.now).rounded()


class Prefetching:
    """The leader's job that keeps the prefetch queue (SCHED-4): ten to twenty ready tasks at hand for the pool, each of which
    some agent of it can do. It is advice: the claim judges again. Where nothing happened since the last look, a look is one
    small read."""

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
    anybody = Circumstances(tx, "", policy, await tx.prefetch.capabilities(_POOL))

    async def admits(task: Task) -> bool:
        return policy.serves(task.epic_id) and await why_not_ready(tx, task, anybody) is None

    epics = None if policy.epics is None else sorted(policy.epics)
    kept = [await tx.tasks.find(task_id) for task_id in await tx.prefetch.entries()]
    queue = [task for task in kept if task is not None and await admits(task)]
    ids = {task.id for task in queue}
    if len(queue) < LOW or not all(task.id in ids for task in await best_of_queue(tx, epics, 1, admits, _BATCH)):
        queue = await best_of_queue(tx, epics, HIGH, admits, _BATCH)
    return [task.id for task in sorted(queue, key=lambda task: (-task.score, task.seq))]
