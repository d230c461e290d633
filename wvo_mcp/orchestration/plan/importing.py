"""What was read from a file becomes tasks: what is new is created, what exists stays as it is."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from wvo_mcp.domain.dependency import find_cycle, in_batches
from wvo_mcp.domain.event import canonical
from wvo_mcp.domain.imports.draft import Fields, Item, Problems, Reading, State
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import Origin, Status
from wvo_mcp.errors import DependencyCycle
from wvo_mcp.orchestration import outlook
from wvo_mcp.orchestration.jobs import Progress
from wvo_mcp.orchestration.plan.export import without_defaults
from wvo_mcp.orchestration.plan.roadmap import stored_entry
from wvo_mcp.orchestration.tasks import editing, lifecycle
from wvo_mcp.ports import Row, Store, Transaction

BATCH = 200
_PAGE = 500
_NOT_COLUMNS = {"id", "depends_on", "parent_id"}
_OF_GROUPS = ("id", "title", "epic_id", "wip_limit", "due_at")


@dataclass(slots=True)
class Intake:
    """What an import is to do. `batches` may be created one after the other: none waits for a later one."""

    reading: Reading
    batches: list[list[Item]] = field(default_factory=list[list[Item]])
    existing: list[str] = field(default_factory=list[str])
    done: int = 0
    dropped: int = 0

    @property
    def new(self) -> list[Item]:
        return [item for batch in self.batches for item in batch]


async def planned(tx: Transaction, reading: Reading, epic_id: str | None) -> Intake:
    """Compare the file with the store. What is done or cancelled there is left out, and nothing waits for it.

    Raises InvalidInput that names lines, DependencyCycle.
    """
    items = {item.fields.id: item for item in reading.items}
    known = await tx.tasks.known(items)
    left_out = {name for name, item in items.items() if item.state in (State.DONE, State.DROPPED)}
    done = sum(item.state is State.DONE for item in reading.items)
    new = [item for name, item in items.items() if name not in left_out and name not in known]
    await _check_references(tx, reading, new)
    for place, item in enumerate(new):  # as it is to be created: in this epic, and without what is not
        fields = item.fields
        changed = {
            "depends_on": [other for other in dict.fromkeys(fields.depends_on) if other not in left_out],
            "parent_id": None if fields.parent_id in left_out else fields.parent_id,
            "epic_id": epic_id or fields.epic_id,
        }
        waiting_for = tuple(other for other in item.waiting_for if other not in left_out)
        new[place] = replace(item, fields=fields.model_copy(update=changed), waiting_for=waiting_for)
    by_id = {item.fields.id: item for item in new}
    waits = {name: [*item.fields.depends_on, *item.waiting_for] for name, item in by_id.items()}
    for item in new:
        if item.fields.parent_id is not None:
            waits.setdefault(item.fields.parent_id, []).append(item.fields.id)
    cycle = find_cycle(waits)
    if cycle is not None:
        error = DependencyCycle(cycle)
        error.details["lines"] = [items[name].line for name in cycle if name in items]
        error.hint = f"Leave out one of the dependencies on the path; it begins on line {error.details['lines'][0]}."
        raise error
    # A task comes behind its parent, too, whose row it needs.
    needs = {name: [other for other in _named(item) if other in by_id] for name, item in by_id.items()}
    batches = [[by_id[name] for name in batch] for batch in in_batches(needs, BATCH)]
    existing = [name for name in items if name in known and name not in left_out]
    return Intake(reading, batches, existing, done, len(left_out) - done)


async def _check_references(tx: Transaction, reading: Reading, new: Sequence[Item]) -> None:
    outside = {name for item in new for name in _named(item)} - {item.fields.id for item in reading.items}
    lacking = outside - await tx.tasks.known(outside)
    milestones = {item.fields.milestone_id for item in new if item.fields.milestone_id} - reading.milestones.keys()
    no_milestones = {name for name in milestones if await tx.tasks.milestone(name) is None}
    problems = Problems()
    for item in new:
        for name in _named(item):
            if name in lacking:
                problems.add(item.line, f"there is no task {name}, neither in the file nor in the store")
        if item.fields.milestone_id in no_milestones:
            problems.add(item.line, f"milestone_id: there is no milestone {item.fields.milestone_id}")
    problems.check()


def _named(item: Item) -> list[str]:
    return [*item.fields.depends_on, *item.waiting_for, *([item.fields.parent_id] if item.fields.parent_id else [])]


async def take_in(store: Store, caller: Caller, intake: Intake, progress: Progress) -> list[str]:
    """Create what is new, batch by batch, each whole or not at all; an import that was cut off goes on when it is repeated.
    The ids that were created."""
    origin = editing.origin_of(caller)
    created: list[str] = []
    await store.write(caller, partial(_groups, intake=intake))
    for number, batch in enumerate(intake.batches):
        progress.report(number / len(intake.batches), f"{len(created)} of {len(intake.new)} tasks")
        created += await store.write(caller, partial(_create, intake=intake, batch=batch, origin=origin))
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
    created = await editing.create(tx, [_draft(item, intake.reading.format) for item in fresh], origin)
    for item in fresh:
        if item.state is State.BLOCKED:
            task = await tx.tasks.get(item.fields.id)
            why = item.reason or "blocked where it came from"
            await lifecycle.move(tx, task, Status.BLOCKED, "task.blocked", {"blocked_reason": why}, {"reason": why})
            there = await tx.tasks.known(item.waiting_for)
            await tx.tasks.set_waits(task.id, [name for name in item.waiting_for if name in there])
    return created


def _draft(item: Item, source: str) -> editing.Draft:
    # A reader's own kind of fields has more of them.
    given = {name: getattr(item.fields, name) for name in Fields.model_fields.keys() - _NOT_COLUMNS}
    fields = {name: value for name, value in given.items() if value is not None}
    fields["metadata"] = {"imported_from": source}
    return editing.Draft(item.fields.id, fields, item.fields.depends_on, item.fields.parent_id)


async def lines(store: Store, caller: Caller, counted: dict[str, int]) -> AsyncIterator[str]:
    """The open plan as `import_tasks` reads it: epics, milestones, then tasks in the order they were made; what is done or
    cancelled, and the waiting for it, is left out. Read in pages, so that no transaction lasts long."""

    async def groups(tx: Transaction) -> tuple[list[Row], list[Row]]:
        return await tx.tasks.epics(), await tx.tasks.milestones()

    epics, milestones = await store.read(caller, groups)
    counted |= {"epics": len(epics), "milestones": len(milestones), "tasks": 0}
    for kind, rows in (("epic", epics), ("milestone", milestones)):
        for row in rows:
            yield canonical({"kind": kind, **{name: row[name] for name in _OF_GROUPS if row.get(name)}})
    open_ids = {row.id for row in await outlook.open_rows(store, caller)}
    after: int | None = 0
    while after is not None:
        page, after = await store.read(caller, partial(_page, after=after, open_ids=open_ids))
        counted["tasks"] += len(page)
        for line in page:
            yield line


async def _page(tx: Transaction, after: int, open_ids: set[str]) -> tuple[list[str], int | None]:
    """The lines of some tasks, and behind which task to go on."""
    found = await tx.tasks.page({}, after, _PAGE)
    out: list[str] = []
    for task in found:
        if task.id not in open_ids:
            continue
        depends_on = [row["id"] for row in await tx.tasks.dependencies(task.id) if row["id"] in open_ids]
        entry = {"kind": "task", **without_defaults(task, stored_entry(task, depends_on))}
        if entry.get("parent_id") not in open_ids:
            entry.pop("parent_id", None)
        if task.status is Status.BLOCKED:
            waits = [name for name in await tx.tasks.waits(task.id) if name in open_ids]
            entry |= {"status": "blocked", "reason": task.blocked_reason or "blocked", "waiting_for": waits}
        out.append(canonical(entry))
    return out, found[-1].seq if len(found) == _PAGE else None
