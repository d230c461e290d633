"""The open plan and how long tasks took, read in parts and analyzed outside the transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from wvo_mcp.domain.durations import Durations, busy_share, learned
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
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
            for index, task in enumerate(self.work.tasks):
                if task.id == task_id:
                    return [index]
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

    seen = await store.read(caller, first)
    rows = await open_rows(store, caller)
    edges = list(seen.edges)
    after = ("", "")
    while True:
        part = await store.read(caller, partial(_edges, after=after))
        edges += part
        if len(part) < PART:
            return replace(seen, rows=rows, edges=edges)
        after = part[-1]


async def open_rows(store: Store, caller: Caller) -> list[OpenRow]:
    """What is neither done nor cancelled, by `seq`."""
    last = await store.read(caller, lambda tx: tx.outlook.last_seq())
    rows: list[OpenRow] = []
    for after in range(0, last, PART):
        rows += await store.read(caller, partial(_open, after=after))
    return rows


async def _open(tx: Transaction, after: int) -> list[OpenRow]:
    return await tx.outlook.open_tasks(after, after + PART)


async def _edges(tx: Transaction, after: tuple[str, str]) -> list[tuple[str, str]]:
    return await tx.outlook.edges(after, PART)


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
