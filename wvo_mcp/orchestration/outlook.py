"""What lies ahead: the open plan and how long tasks took, read in parts and analyzed outside the transaction; and when it will
be done, by many simulated courses of it, with what to leave out where a due date is in danger."""

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from wvo_mcp.domain.durations import Durations, busy_share, learned
from wvo_mcp.domain.forecast import CutAdvice, CutTask, GroupForecast
from wvo_mcp.domain.instant import instant, later
from wvo_mcp.domain.latencies import percentile
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.schedule import Crew, Draws, Plan, Runs, chance, simulated
from wvo_mcp.domain.task import Priority, Status
from wvo_mcp.domain.workload import OpenTask, Workload, workload
from wvo_mcp.domain.wsjf import PRIORITY_VALUE
from wvo_mcp.errors import NotFound
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.work import OpenRow

HISTORY = 20_000
"""Done tasks that are read, the newest first."""
PART = 10_000
"""Rows that are read in one transaction."""
RUNS = 1_000
FEWEST_RUNS = 20
TASK_RUNS = 1_500_000
"""Simulated tasks in all: a few seconds. A larger plan gets fewer runs."""
CUT_RUNS = 200
CUT_CANDIDATES = 300
CUT_MILESTONES = 5
CUT_KEPT = 10
"""Attempts to keep the most valuable of what would be cut."""
SHOWN = 50


@dataclass(frozen=True, slots=True)
class Readings:
    """The store as it was read: in parts, and what changes meanwhile may be in it or not, which a forecast can bear. An edge
    to a task that is not in it counts for nothing."""

    now: datetime
    rows: Sequence[OpenRow]
    edges: Sequence[tuple[str, str]]
    cancelled: frozenset[str]
    finished: Sequence[tuple[int, str, str]]
    epics: Sequence[Mapping[str, Any]]
    milestones: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Outlook:
    """The readings, analyzed."""

    now: datetime
    work: Workload
    durations: Durations
    busy_share: float | None
    epics: Sequence[Mapping[str, Any]]
    milestones: Sequence[Mapping[str, Any]]

    def scope(self, task_id: str | None, milestone_id: str | None, epic_id: str | None) -> list[int] | None:
        """The indexes of one task, or of a milestone's or epic's; None when none is named. Raises NotFound."""
        if task_id is not None:
            found = [index for index, task in enumerate(self.work.tasks) if task.id == task_id]
            if found:
                return found
            hint = "Name a task that is neither done nor cancelled."
            raise NotFound("open task", task_id, field="task_id", hint=hint)
        for kind, wanted, known in (("milestone", milestone_id, self.milestones), ("epic", epic_id, self.epics)):
            if wanted is None:
                continue
            if all(row["id"] != wanted for row in known):
                raise NotFound(kind, wanted, [str(row["id"]) for row in known[:5]], field=f"{kind}_id")
            return [p for p, task in enumerate(self.work.tasks) if getattr(task, f"{kind}_id") == wanted]
        return None

    def expected(self) -> list[float]:
        """The median of what each task will still take, in seconds."""
        fresh = {complexity: self.durations.expected(complexity) for complexity in range(1, 11)}
        running = self.durations.expected
        left = [running(t.complexity, t.spent) if t.running else fresh[t.complexity] for t in self.work.tasks]
        return [0.0 if task.finished else seconds for task, seconds in zip(self.work.tasks, left, strict=True)]


async def read(store: Store, caller: Caller) -> Readings:
    """The whole plan, in transactions of some ten milliseconds each; nothing is computed while one lasts."""

    async def first(tx: Transaction) -> Readings:
        return Readings(
            now=tx.now,
            rows=(),
            edges=await tx.outlook.waits(),
            cancelled=frozenset(await tx.outlook.cancelled()),
            finished=await tx.outlook.finished(HISTORY),
            epics=await tx.tasks.epics(),
            milestones=await tx.tasks.milestones(),
        )

    async def more(tx: Transaction) -> list[tuple[str, str]]:
        return await tx.outlook.edges(edges[-1] if edges else ("", ""), PART)

    seen = await store.read(caller, first)
    rows = await open_rows(store, caller)
    edges: list[tuple[str, str]] = []
    while len(part := await store.read(caller, more)) == PART:
        edges += part
    return replace(seen, rows=rows, edges=[*seen.edges, *edges, *part])


async def open_rows(store: Store, caller: Caller) -> list[OpenRow]:
    """What is neither done nor cancelled, by `seq`."""
    last = await store.read(caller, lambda tx: tx.outlook.last_seq())
    rows: list[OpenRow] = []
    for after in range(0, last, PART):
        rows += await store.read(caller, partial(_part, after))
    return rows


async def _part(after: int, tx: Transaction) -> list[OpenRow]:
    return await tx.outlook.open_tasks(after, after + PART)


def analyzed(seen: Readings) -> Outlook:
    """Takes O(tasks + edges)."""
    stranded = {task_id for task_id, other in seen.edges if other in seen.cancelled} if seen.cancelled else set[str]()
    # Best first, as the queue has them.
    rows = sorted(seen.rows, key=lambda row: (-row.score, row.seq))
    tasks = [_open_task(row, seen.now, row.id in stranded) for row in rows]
    parents = [(row.id, row.parent_id) for row in seen.rows if row.parent_id is not None]
    spans = [(complexity, instant(start), instant(end)) for complexity, start, end in seen.finished]
    return Outlook(
        now=seen.now,
        work=workload(tasks, seen.edges, parents),
        durations=learned((complexity, (end - start).total_seconds()) for complexity, start, end in spans),
        busy_share=busy_share(((start, end) for _, start, end in spans), seen.now),
        epics=seen.epics,
        milestones=seen.milestones,
    )


def _open_task(row: OpenRow, now: datetime, stranded: bool) -> OpenTask:
    value = PRIORITY_VALUE[Priority(row.priority)] if row.business_value is None else row.business_value
    running = row.status == Status.IN_PROGRESS
    return OpenTask(
        id=row.id,
        complexity=row.complexity,
        epic_id=row.epic_id,
        milestone_id=row.milestone_id,
        value=value,
        running=running,
        finished=row.status == Status.IN_REVIEW,
        stuck=stranded or row.status == Status.FAILED,
        spent=max(0.0, (now - instant(row.started_at)).total_seconds()) if running and row.started_at else 0.0,
        release=max(0.0, (instant(row.not_before) - now).total_seconds()) if row.not_before else 0.0,
    )


@dataclass(slots=True)
class Forecast:
    outlook: Outlook
    runs: int
    counted: int
    stuck: int
    stretch: float
    p50_at: datetime | None = None
    p90_at: datetime | None = None
    milestones: list[GroupForecast] = field(default_factory=list[GroupForecast])
    epics: list[GroupForecast] = field(default_factory=list[GroupForecast])
    cuts: list[CutAdvice] = field(default_factory=list[CutAdvice])


def forecast(
    seen: Readings, slots: int, *, seed: int, runs: int | None, observed_hours: bool, wanted: float
) -> Generator[tuple[float, str], None, Forecast]:
    """Yields (how far, doing what). `slots`: tasks in progress at once; `wanted`: the chance (0-1) that a due date should have.
    Raises DependencyCycle."""
    yield 0.0, "reading the plan"
    ahead = analyzed(seen)
    limits = {str(row["id"]): int(row["wip_limit"]) for row in ahead.epics if row["wip_limit"] is not None}
    crew = Crew(max(1, slots), limits)
    plan = Plan(ahead.work, crew)
    share = ahead.busy_share if observed_hours else None
    stretch = 1.0 if share is None else 1.0 / share
    runs = runs or max(FEWEST_RUNS, min(RUNS, TASK_RUNS // max(1, plan.counted)))
    draws = Draws(ahead.work, ahead.durations, seed, stretch)
    result = Forecast(ahead, runs, plan.counted, len(plan.excluded), stretch)
    if not plan.counted:
        return result
    steps = simulated(plan, draws, runs)
    while True:
        try:
            run = next(steps)
        except StopIteration as stop:
            came: Runs = stop.value
            break
        yield 0.8 * run / runs, f"run {run} of {runs}"
    result.p50_at, result.p90_at = _at(ahead, came.total, 0.5), _at(ahead, came.total, 0.9)
    result.milestones = _groups(ahead, plan, "milestone_id", ahead.milestones, came.milestones)
    result.epics = _groups(ahead, plan, "epic_id", ahead.epics, came.epics)
    result.milestones.sort(key=lambda group: (group.due_at is None, group.due_at or ahead.now, group.id))
    late = [group for group in result.milestones if group.chance is not None and group.chance < wanted]
    late = [group for group in late if not group.stuck][:CUT_MILESTONES]
    for number, group in enumerate(late):
        yield 0.8 + 0.2 * number / len(late), f"what to cut for {group.id}"
        result.cuts.append((yield from _cut(ahead, crew, draws, group, wanted, min(runs, CUT_RUNS))))
    return result


def _at(ahead: Outlook, values: Sequence[float], share: float) -> datetime:
    return later(ahead.now, percentile(values, share))


def _groups(
    ahead: Outlook, plan: Plan, kind: str, rows: Sequence[Any], came: dict[str, list[float]]
) -> list[GroupForecast]:
    members: dict[str, list[int]] = {}
    for index, task in enumerate(ahead.work.tasks):
        members.setdefault(getattr(task, kind) or "", []).append(index)
    out: list[GroupForecast] = []
    for row in rows:
        name = str(row["id"])
        if name not in members:
            continue
        stuck = sum(index in plan.excluded for index in members[name])
        due_at = None if row.get("due_at") is None else instant(row["due_at"])
        odds = None
        if due_at is not None:
            odds = 0.0 if stuck else round(chance(came[name], (due_at - ahead.now).total_seconds()), 3)
        out.append(
            GroupForecast(
                id=name,
                title=row["title"][:200],
                open=len(members[name]),
                stuck=stuck,
                p50_at=None if stuck else _at(ahead, came[name], 0.5),
                p90_at=None if stuck else _at(ahead, came[name], 0.9),
                due_at=due_at,
                chance=odds,
            )
        )
    return out


def _cut(
    ahead: Outlook, crew: Crew, draws: Draws, group: GroupForecast, wanted: float, runs: int
) -> Generator[tuple[float, str], None, CutAdvice]:
    """The cheapest by business value first, until the chance is reached; then the most valuable of them are kept
    where it holds without them. All are tried on the same draws."""
    note = f"what to cut for {group.id}"
    until = 0.0 if group.due_at is None else (group.due_at - ahead.now).total_seconds()
    offers = _offers(ahead.work, group.id)
    kept = [draws.of(run) for run in range(runs)]

    def tried(chosen: Collection[int]) -> Generator[tuple[float, str], None, float]:
        gone = {index for number in chosen for index in offers[number]}
        plan = Plan(ahead.work, crew, gone)
        met = 0
        for seconds in kept:
            ends = [end for (_, milestone), end in plan.ends(seconds).items() if milestone == group.id]
            met += max(ends, default=0.0) <= until
            yield 0.0, note
        return met / runs

    before = yield from tried(())
    after = (yield from tried(range(len(offers)))) if offers else before
    enough = after >= wanted
    chosen = list(range(len(offers))) if after > before else []
    if before >= wanted:
        after, chosen = before, []
    elif enough:
        low, high = 0, len(offers)
        while high - low > 1:
            middle = (low + high) // 2
            if (yield from tried(range(middle))) >= wanted:
                high = middle
            else:
                low = middle
        chosen = list(range(high))
        for number in reversed(chosen[-CUT_KEPT:]):
            fewer = [other for other in chosen if other != number]
            if (yield from tried(fewer)) >= wanted:
                chosen = fewer
        after = yield from tried(chosen)
    tasks = ahead.work.tasks
    indexes = sorted({index for number in chosen for index in offers[number]}, key=lambda p: (tasks[p].value, p))
    return CutAdvice(
        milestone_id=group.id,
        chance=round(before, 3),
        chance_after=round(after, 3),
        enough=enough,
        tasks=[CutTask(id=tasks[index].id, business_value=tasks[index].value) for index in indexes[:SHOWN]],
        count=len(indexes),
    )


def _offers(work: Workload, milestone_id: str) -> list[set[int]]:
    """What could be cut, each with what waits for it; the least business value first. Nothing that is in progress, and
    nothing that work outside the milestone waits for."""
    found: list[tuple[float, int, set[int]]] = []
    for index, task in enumerate(work.tasks):
        if task.milestone_id != milestone_id or task.running or task.finished:
            continue
        with_it = _cancelled_with(work, index)
        if with_it is not None and all(work.tasks[other].milestone_id == milestone_id for other in with_it):
            found.append((sum(work.tasks[other].value for other in with_it), -index, with_it))
    found.sort(key=lambda offer: offer[:2])
    return [with_it for _, _, with_it in found[:CUT_CANDIDATES]]


def _cancelled_with(work: Workload, start: int, limit: int = 200) -> set[int] | None:
    """The task and all that would be stranded without it; None when that is too much or has begun."""
    found, todo = {start}, [start]
    while todo:
        index = todo.pop()
        for other in work.below[index]:
            if other in found or work.parent[index] == other:
                continue
            if len(found) >= limit or work.tasks[other].running or work.tasks[other].finished:
                return None
            found.add(other)
            todo.append(other)
    return found
