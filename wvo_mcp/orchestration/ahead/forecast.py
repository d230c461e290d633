"""When will it be done? Many simulated courses of the open plan, and what to leave out where a due date is in danger."""

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from wvo_mcp.domain.forecast import CutAdvice, CutTask, GroupForecast
from wvo_mcp.domain.instant import instant, later
from wvo_mcp.domain.schedule import Crew, Draws, Plan, Runs, chance, percentile, simulated
from wvo_mcp.domain.workload import Workload
from wvo_mcp.orchestration.ahead.outlook import Outlook, Readings, analyzed

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

Steps = Generator[tuple[float, str], None, "Forecast"]


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be forecast; `wanted` is the chance (0-1) that a due date should have."""

    agents: int
    wip_limit: int
    agent_wip_limit: int = 1
    """Tasks that one agent may have in progress at once."""
    seed: int = 1
    runs: int | None = None
    observed_hours: bool = False
    wanted: float = 0.8


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


def forecast(seen: Readings, question: Question) -> Steps:
    """Yields (how far, doing what). Raises DependencyCycle."""
    yield 0.0, "reading the plan"
    ahead = analyzed(seen)
    limits = {str(row["id"]): int(row["wip_limit"]) for row in ahead.epics if row["wip_limit"] is not None}
    crew = Crew(max(1, min(question.agents * question.agent_wip_limit, question.wip_limit)), limits)
    plan = Plan(ahead.work, crew)
    share = ahead.busy_share if question.observed_hours else None
    stretch = 1.0 if share is None else 1.0 / share
    runs = question.runs or max(FEWEST_RUNS, min(RUNS, TASK_RUNS // max(1, plan.counted)))
    draws = Draws(ahead.work, ahead.durations, question.seed, stretch)
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
    late = [group for group in result.milestones if group.chance is not None and group.chance < question.wanted]
    late = [group for group in late if not group.stuck][:CUT_MILESTONES]
    for number, group in enumerate(late):
        yield 0.8 + 0.2 * number / len(late), f"what to cut for {group.id}"
        result.cuts.append((yield from _cut(ahead, crew, draws, group, question.wanted, min(runs, CUT_RUNS))))
    return result


def _at(ahead: Outlook, values: Sequence[float], share: float) -> datetime:
    return later(ahead.now, percentile(values, share))


def _groups(
    ahead: Outlook, plan: Plan, kind: str, rows: Sequence[Any], came: dict[str, list[float]]
) -> list[GroupForecast]:
    open_tasks: dict[str, int] = {}
    stuck: dict[str, int] = {}
    left_out = plan.excluded
    for index, task in enumerate(ahead.work.tasks):
        name: str | None = getattr(task, kind)
        if name is not None:
            open_tasks[name] = open_tasks.get(name, 0) + 1
            stuck[name] = stuck.get(name, 0) + (index in left_out)
    out: list[GroupForecast] = []
    for row in rows:
        name = str(row["id"])
        if name not in open_tasks:
            continue
        due_at = None if row.get("due_at") is None else instant(row["due_at"])
        ends = stuck[name] == 0
        odds = None
        if due_at is not None:
            odds = round(chance(came[name], (due_at - ahead.now).total_seconds()), 3) if ends else 0.0
        out.append(
            GroupForecast(
                id=name,
                title=row["title"][:200],
                open=open_tasks[name],
                stuck=stuck[name],
                p50_at=_at(ahead, came[name], 0.5) if ends else None,
                p90_at=_at(ahead, came[name], 0.9) if ends else None,
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
    best = (yield from tried(range(len(offers)))) if offers else before
    if best < wanted:
        return _advice(ahead, group, before, best, False, offers if best > before else [])
    low, high = 0, len(offers)
    while high - low > 1:
        middle = (low + high) // 2
        if (yield from tried(range(middle))) >= wanted:
            high = middle
        else:
            low = middle
    chosen = list(range(high)) if before < wanted else []
    for number in reversed(chosen[-CUT_KEPT:]):
        fewer = [other for other in chosen if other != number]
        if (yield from tried(fewer)) >= wanted:
            chosen = fewer
    after = yield from tried(chosen)
    return _advice(ahead, group, before, after, True, [offers[number] for number in chosen])


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


def _advice(
    ahead: Outlook, group: GroupForecast, before: float, after: float, enough: bool, chosen: list[set[int]]
) -> CutAdvice:
    indexes = sorted({index for each in chosen for index in each}, key=lambda p: (ahead.work.tasks[p].value, p))
    tasks = [ahead.work.tasks[index] for index in indexes]
    return CutAdvice(
        milestone_id=group.id,
        chance=round(before, 3),
        chance_after=round(after, 3),
        enough=enough,
        tasks=[CutTask(id=task.id, business_value=task.value) for task in tasks[:SHOWN]],
        count=len(tasks),
    )
