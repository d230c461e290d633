"""What lies ahead, read at once and understood outside the transaction: the open plan, and how long tasks took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wvo_mcp.domain.durations import Durations, busy_share, learned
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.task import Priority, Status
from wvo_mcp.domain.workload import OpenTask, Workload, workload
from wvo_mcp.domain.wsjf import PRIORITY_VALUE
from wvo_mcp.errors import NotFound
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.outlook import OpenRow

HISTORY = 20_000
"""So many done tasks are looked at, the newest first."""


@dataclass(frozen=True, slots=True)
class Readings:
    """One consistent view of the store, as it was read."""

    now: datetime
    rows: Sequence[OpenRow]
    edges: Sequence[tuple[str, str]]
    cancelled: frozenset[str]
    finished: Sequence[tuple[int, str, str]]
    epics: Sequence[Mapping[str, Any]]
    milestones: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Outlook:
    """The readings, understood."""

    now: datetime
    work: Workload
    durations: Durations
    busy_share: float | None
    epics: Sequence[Mapping[str, Any]]
    milestones: Sequence[Mapping[str, Any]]

    def scope(self, task_id: str | None, milestone_id: str | None, epic_id: str | None) -> list[int] | None:
        """The places of one task, or of a milestone's or epic's; None when none is named. Raises NotFound."""
        if task_id is not None:
            for place, task in enumerate(self.work.tasks):
                if task.id == task_id:
                    return [place]
            raise NotFound(
                "open task", task_id, field="task_id", hint="Name a task that is neither done nor cancelled."
            )
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
        return [
            0.0
            if task.finished
            else self.durations.expected(task.complexity, task.spent)
            if task.running
            else fresh[task.complexity]
            for task in self.work.tasks
        ]


async def read(tx: Transaction) -> Readings:
    """A few passes over the store; nothing is computed while the transaction lasts."""
    return Readings(
        now=tx.now,
        rows=await tx.outlook.open_tasks(),
        edges=await tx.outlook.edges(),
        cancelled=frozenset(await tx.outlook.cancelled()),
        finished=await tx.outlook.finished(HISTORY),
        epics=await tx.tasks.epics(),
        milestones=await tx.tasks.milestones(),
    )


def understood(seen: Readings) -> Outlook:
    """Takes O(tasks + edges)."""
    stranded = {task_id for task_id, other in seen.edges if other in seen.cancelled} if seen.cancelled else set[str]()
    tasks = [_open_task(row, seen.now, row.id in stranded) for row in seen.rows]
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
