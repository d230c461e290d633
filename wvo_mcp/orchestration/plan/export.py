"""What the store knows that the roadmap file does not say yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wvo_mcp.domain.roadmap import Roadmap, RoadmapChanges, RoadmapTask
from wvo_mcp.domain.task import SETTLED, Status, Task
from wvo_mcp.errors import Conflict
from wvo_mcp.orchestration.plan import guard
from wvo_mcp.orchestration.plan.roadmap import COLUMNS, stored_entry
from wvo_mcp.ports import Transaction

_BLANK = RoadmapTask(id="", title="", epic_id="", given=frozenset({*COLUMNS, "depends_on"}))
_DEFAULTS: Mapping[str, Any] = {**_BLANK.entry(), "epic_id": None}


@dataclass(frozen=True, slots=True)
class Export:
    """Changes to write; `left_out` are open tasks without an epic, for which the file has no place."""

    changes: RoadmapChanges
    changed: list[str]
    added: list[str]
    left_out: list[str]

    @property
    def anything(self) -> bool:
        return bool(self.changed or self.added)


async def pending_changes(tx: Transaction, roadmap: Roadmap) -> Export:
    """Compare the file, just synced, with the store. Raises Conflict while cancellations wait: an export would put back
    what people took out, or write into the file of another branch."""
    held = await tx.state.get(guard.GUARD)
    if held is not None:
        raise Conflict(
            held["message"],
            hint="A person decides: the file is restored, or `wvo-mcp roadmap-sync --allow-cancel`; then export.",
            waiting=held["waiting"][:100],
        )
    edges: dict[str, list[str]] = {}
    for task_id, other in await tx.state.dependency_edges():
        edges.setdefault(task_id, []).append(other)
    in_file = {task.id: task for task in roadmap.tasks}
    milestones = {milestone.id for milestone in roadmap.milestones}
    changes: dict[str, dict[str, Any]] = {}
    added: list[Mapping[str, Any]] = []
    left_out: list[str] = []
    stored = await tx.state.roadmap_tasks()
    placed = {task.id for task in stored if task.id in in_file or (task.status not in SETTLED and task.epic_id)}
    for task in stored:
        entry = dict(stored_entry(task, edges.get(task.id, [])))
        if entry["milestone_id"] not in milestones:
            entry["milestone_id"] = None  # people took it out of the file
        # The file must be complete in another store: it refers to nothing that it does not define.
        entry["depends_on"] = [other for other in entry["depends_on"] if other in placed]
        entry["parent_id"] = entry["parent_id"] if entry["parent_id"] in placed else None
        written = in_file.get(task.id)
        if written is not None:
            fields = _differences(task, entry, written)
            if fields:
                changes[task.id] = fields
        elif task.status not in SETTLED and task.epic_id is None:
            left_out.append(task.id)
        elif task.status not in SETTLED:
            added.append(without_defaults(task, entry))
    titles = {epic["id"]: epic["title"] for epic in await tx.tasks.epics()}
    new_epics = {entry["epic_id"] for entry in added} - {epic.id for epic in roadmap.epics}
    return Export(
        RoadmapChanges(tasks=changes, epics={e: titles[e] for e in sorted(new_epics)}, added=tuple(added)),
        changed=list(changes),
        added=[entry["id"] for entry in added],
        left_out=left_out,
    )


def _differences(task: Task, entry: Mapping[str, Any], written: RoadmapTask) -> dict[str, Any]:
    stated = {**_DEFAULTS, **written.entry()}
    fields: dict[str, Any] = {}
    for name in (*COLUMNS, "depends_on"):
        if name == "not_before" and task.attempts:
            continue  # the delay of a retry, not a person's wish
        now, then = entry[name], stated.get(name)
        if name == "epic_id" and now is None:
            continue  # in the file every task is part of an epic
        if name == "depends_on":
            if set(now) == set(then or ()):
                continue
            before = list(then or ())
            now = [other for other in before if other in now] + [other for other in now if other not in before]
        if now != then:
            fields[name] = None if now == _DEFAULTS.get(name, ...) else now
    if (task.status is Status.CANCELLED) != (written.status is Status.CANCELLED):
        fields["status"] = Status.CANCELLED.value if task.status is Status.CANCELLED else None
    return fields


def without_defaults(task: Task, entry: Mapping[str, Any]) -> dict[str, Any]:
    """The entry as a person would write it; the delay of a retry is not a wish of people."""
    stated = {name: value for name, value in entry.items() if value != _DEFAULTS.get(name, ...)}
    if task.attempts:
        stated.pop("not_before", None)
    return stated


def message(found: Export) -> str:
    """What a history says of the export: a subject, and the tasks."""
    named = [(what, ids) for what, ids in (("changed", found.changed), ("added", found.added)) if ids]
    parts = [f"{len(ids)} task{'s' if len(ids) > 1 else ''} {what}" for what, ids in named]
    listed = [f"{what.capitalize()}: {', '.join(ids[:100])}" for what, ids in named]
    subject = f"Export the roadmap: {', '.join(parts)}"
    return "\n\n".join([subject, *listed, "Written by wvo-mcp roadmap-export."]) + "\n"
