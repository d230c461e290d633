"""What was read from a file becomes tasks: what is new is created, what exists stays as it is."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from wvo_mcp.domain.dependency import find_cycle, in_batches
from wvo_mcp.domain.event import canonical
from wvo_mcp.domain.imports.draft import Fields, Item, Problems, Reading, State
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import Origin, Status, Task
from wvo_mcp.errors import DependencyCycle
from wvo_mcp.orchestration.ahead import outlook
from wvo_mcp.orchestration.jobs import Progress
from wvo_mcp.orchestration.plan.export import without_defaults
from wvo_mcp.orchestration.plan.roadmap import stored_entry
from wvo_mcp.orchestration.tasks import creation, lifecycle
from wvo_mcp.ports import Store, Transaction

BATCH = 200
_PAGE = 500
_NOT_COLUMNS = {"id", "depends_on", "parent_id"}


@dataclass(slots=True)
class Intake:
    """What an import is to do. `batches` may be created one after the other: none waits for a later one."""

    reading: Reading
    batches: list[list[Item]] = field(default_factory=list[list[Item]])
    existing: list[str] = field(default_factory=list[str])
    done: int = 0
    dropped: int = 0
    waits: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """What each new task will wait for."""
    parents: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def new(self) -> list[Item]:
        return [item for batch in self.batches for item in batch]


async def planned(tx: Transaction, reading: Reading, epic_id: str | None) -> Intake:
    """Compare the file with the store. What is done or cancelled there is left out, and nothing waits for it.

    Raises InvalidInput that names lines, DependencyCycle.
    """
    intake = Intake(reading)
    items = {item.fields.id: item for item in reading.items}
    known = await tx.tasks.known(items)
    left_out = {name for name, item in items.items() if item.state in (State.DONE, State.DROPPED)}
    intake.done = sum(item.state is State.DONE for item in reading.items)
    intake.dropped = len(left_out) - intake.done
    intake.existing = [name for name in items if name in known and name not in left_out]
    new = [item for name, item in items.items() if name not in left_out and name not in known]
    outside = {name for item in new for name in _named(item)} - items.keys()
    there = await tx.tasks.known(outside)
    milestones = {item.fields.milestone_id for item in new if item.fields.milestone_id} - reading.milestones.keys()
    lacking = {name for name in milestones if await tx.tasks.milestone(name) is None}
    problems = Problems()
    for item in new:
        for name in _named(item):
            if name in outside and name not in there:
                problems.add(item.line, f"{name} is the id of no task, neither in the file nor in the store")
        if item.fields.milestone_id in lacking:
            problems.add(item.line, f"milestone_id: there is no milestone {item.fields.milestone_id}")
    problems.check()
    for item in new:
        name, parent = item.fields.id, item.fields.parent_id
        intake.waits[name] = [other for other in dict.fromkeys(item.fields.depends_on) if other not in left_out]
        if parent is not None and parent not in left_out:
            intake.parents[name] = parent
    _check_cycles(intake, items)
    intake.batches = _batches(new, intake)
    if epic_id is not None:
        intake.batches = [[_in_epic(item, epic_id) for item in batch] for batch in intake.batches]
    return intake


def _named(item: Item) -> list[str]:
    return [*item.fields.depends_on, *item.waiting_for, *([item.fields.parent_id] if item.fields.parent_id else [])]


def _in_epic(item: Item, epic_id: str) -> Item:
    return Item(
        item.line,
        item.fields.model_copy(update={"epic_id": epic_id}),
        item.state,
        item.reason,
        item.waiting_for,
    )


def _check_cycles(intake: Intake, items: Mapping[str, Item]) -> None:
    waits = {name: list(others) for name, others in intake.waits.items()}
    for child, parent in intake.parents.items():
        waits.setdefault(parent, []).append(child)
    for name in intake.waits:
        waits[name] += items[name].waiting_for
    cycle = find_cycle(waits)
    if cycle is not None:
        error = DependencyCycle(cycle)
        error.details["lines"] = [items[name].line for name in cycle if name in items]
        error.hint = f"Leave out one of the dependencies on the path; it begins on line {error.details['lines'][0]}."
        raise error


def _batches(new: Sequence[Item], intake: Intake) -> list[list[Item]]:
    """A task comes behind what it waits for, and behind its parent, whose row it needs."""
    by_id = {item.fields.id: item for item in new}
    needs = {
        name: [other for other in (*intake.waits[name], intake.parents.get(name)) if other in by_id] for name in by_id
    }
    return [[by_id[name] for name in batch] for batch in in_batches(needs, BATCH)]


async def taken_in(store: Store, caller: Caller, intake: Intake, progress: Progress) -> list[str]:
    """Create what is new, batch by batch, each whole or not at all; an import that was cut off goes on when it is repeated.
    The ids that were created."""
    origin = creation.origin_of(caller)
    created: list[str] = []
    await store.write(caller, partial(_groups, intake=intake))
    for number, batch in enumerate(intake.batches):
        progress.tell(number / len(intake.batches), f"{len(created)} of {len(intake.new)} tasks")
        created += await store.write(caller, partial(_create, intake=intake, batch=batch, origin=origin))
    for batch in intake.batches:
        waiting = [item for item in batch if item.waiting_for]
        if waiting:
            await store.write(caller, partial(_wait, items=waiting))
    return created


async def _groups(tx: Transaction, intake: Intake) -> None:
    await tx.sessions.ensure()
    used = {item.fields.epic_id for item in intake.new}
    for name, epic in intake.reading.epics.items():
        if name in used or intake.reading.format == "jsonl":
            await tx.tasks.ensure_epic(name, epic["title"], epic.get("wip_limit"))
    for name, milestone in intake.reading.milestones.items():
        if await tx.tasks.milestone(name) is None:
            if milestone.get("epic_id") is not None:
                await tx.tasks.ensure_epic(milestone["epic_id"])
            await tx.tasks.put_milestone(name, milestone)


async def _create(tx: Transaction, intake: Intake, batch: Sequence[Item], origin: Origin) -> list[str]:
    # Somebody may have made one of them since the file was compared with the store.
    known = await tx.tasks.known([item.fields.id for item in batch])
    fresh = [item for item in batch if item.fields.id not in known]
    created = await creation.create(tx, [_draft(item, intake) for item in fresh], origin)
    for item in fresh:
        if item.state is State.BLOCKED:
            task = await tx.tasks.get(item.fields.id)
            why = item.reason or "blocked where it came from"
            await lifecycle.move(tx, task, Status.BLOCKED, "task.blocked", {"blocked_reason": why}, {"reason": why})
    return created


async def _wait(tx: Transaction, items: Sequence[Item]) -> None:
    for item in items:
        known = await tx.tasks.known(item.waiting_for)
        if await _is_blocked(tx, item.fields.id):
            await tx.tasks.set_waits(item.fields.id, [name for name in item.waiting_for if name in known])


async def _is_blocked(tx: Transaction, task_id: str) -> bool:
    task = await tx.tasks.find(task_id)
    return task is not None and task.status is Status.BLOCKED


def _draft(item: Item, intake: Intake) -> creation.Draft:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value  # pyright: ignore[reportUnknownArgumentType]
        for name in Fields.model_fields
        if name not in _NOT_COLUMNS and (value := getattr(item.fields, name)) is not None
    }
    fields["metadata"] = {"imported_from": intake.reading.format}
    name = item.fields.id
    return creation.Draft(name, fields, intake.waits[name], intake.parents.get(name))


async def lines(store: Store, caller: Caller, counted: dict[str, int]) -> AsyncIterator[str]:
    """The open plan as `import_tasks` reads it: epics, milestones, then tasks in the order they were made; what is done or
    cancelled, and the waiting for it, is left out. Read in pages, so that no transaction lasts long."""
    counted |= {"epics": 0, "milestones": 0, "tasks": 0}
    for row in await store.read(caller, lambda tx: tx.tasks.epics()):
        counted["epics"] += 1
        yield canonical({"kind": "epic", **{name: row[name] for name in ("id", "title", "wip_limit") if row[name]}})
    for row in await store.read(caller, lambda tx: tx.tasks.milestones()):
        given = {name: row[name] for name in ("id", "title", "epic_id", "due_at") if row[name] is not None}
        counted["milestones"] += 1
        yield canonical({"kind": "milestone", **given})
    open_ids = {row.id for row in await outlook.open_rows(store, caller)}
    after = 0
    while True:
        page = await store.read(caller, partial(_page, after=after, open_ids=open_ids))
        counted["tasks"] += len(page[0])
        for line in page[0]:
            yield line
        if page[1] is None:
            return
        after = page[1]


async def _page(tx: Transaction, after: int, open_ids: set[str]) -> tuple[list[str], int | None]:
    found = await tx.tasks.page({}, after, _PAGE)
    out: list[str] = []
    for task in found:
        if task.id not in open_ids:
            continue
        depends_on = [row["id"] for row in await tx.tasks.dependencies(task.id) if row["id"] in open_ids]
        waits = await tx.tasks.waits(task.id) if task.status is Status.BLOCKED else []
        out.append(canonical(_line(task, depends_on, [name for name in waits if name in open_ids], open_ids)))
    return out, found[-1].seq if len(found) == _PAGE else None


def _line(task: Task, depends_on: list[str], waiting_for: Sequence[str], open_ids: set[str]) -> dict[str, Any]:
    out = {"kind": "task", **without_defaults(task, stored_entry(task, depends_on))}
    if out.get("parent_id") not in open_ids:
        out.pop("parent_id", None)
    if task.status is Status.BLOCKED:
        out |= {"status": "blocked", "reason": task.blocked_reason or "blocked", "waiting_for": list(waiting_for)}
    return out
