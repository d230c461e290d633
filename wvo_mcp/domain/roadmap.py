"""The roadmap that people write (contract, section 9), as frozen data, and what must hold between its parts.

Dataclasses and not pydantic models: the reader has checked every value with its line, and checking 10,000
tasks a second time would only cost time and lose the lines.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from enum import Enum
from itertools import pairwise
from typing import Any, Literal, cast

from wvo_mcp.domain.dependency import find_cycle
from wvo_mcp.domain.event import canonical
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.rules import Stated, stated_by
from wvo_mcp.domain.task import Priority, Status, TaskType
from wvo_mcp.domain.text import did_you_mean

Entry = dict[str, Any]
"""What the file says of one thing, JSON-ready: field names of the contract's tools, times as `iso` writes them, only
the fields that the file states. Equal entries mean that the file says the same."""

TASK_KEYS = {
    key: {"milestone": "milestone_id", "parent": "parent_id"}.get(key, key)
    for key in (
        "id", "title", "description", "type", "priority", "complexity", "business_value", "depends_on", "milestone",
        "parent", "labels", "files", "capabilities", "acceptance", "requires_approval", "not_before", "max_attempts",
        "verify", "status",
    )
}  # fmt: skip
"""Key in the file -> field of the task, in the order in which a new task is written."""

ROADMAP_STATUSES = (Status.PENDING, Status.BLOCKED, Status.CANCELLED)
"""What people may ask for in the file: reopen, block, cancel. Progress belongs to the database."""


def end_of_day(day: date) -> datetime:
    """The last millisecond of the day, UTC: a due date means the end of its day (contract, section 4)."""
    return datetime.combine(day, time(23, 59, 59, 999_000), UTC)


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, tuple):
        return list(cast("tuple[str, ...]", value))
    return value.value if isinstance(value, Enum) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadmapTask:
    """One task of the file. `line` counts from 1; `given` names the fields that the file states, the others hold their
    defaults. Times are UTC."""

    id: str
    title: str
    epic_id: str
    description: str = ""
    milestone_id: str | None = None
    parent_id: str | None = None
    type: TaskType = TaskType.OTHER
    priority: Priority = Priority.MEDIUM
    complexity: int = 5
    business_value: float | None = None
    depends_on: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    acceptance: tuple[str, ...] = ()
    requires_approval: bool = False
    not_before: datetime | None = None
    max_attempts: int = 3
    verify: tuple[str, ...] = ()
    status: Status | None = None
    given: frozenset[str] = frozenset()
    line: int = field(default=0, compare=False)

    def entry(self) -> Entry:
        """{id, title, epic_id} and every field in `given`; without the line."""
        stated: Entry = {"id": self.id, "title": self.title, "epic_id": self.epic_id}
        for name in self.given:
            stated[name] = _json(getattr(self, name))
        return stated


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadmapMilestone:
    """`due_at` is the end of the day that the file names, UTC; None when it names none."""

    id: str
    title: str
    epic_id: str
    due_at: datetime | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadmapEpic:
    """`wip_limit`: tasks of the epic in progress at once, None without a limit. `verify`: what it adds to the project's."""

    id: str
    title: str
    wip_limit: int | None = None
    verify: tuple[str, ...] = ()
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Roadmap:
    """The whole file in its own order. `digest` is the SHA-256, in hex, of its bytes; `warnings` name what is valid and
    probably not meant, with its line."""

    epics: tuple[RoadmapEpic, ...]
    milestones: tuple[RoadmapMilestone, ...]
    tasks: tuple[RoadmapTask, ...]
    digest: str
    warnings: tuple[str, ...] = ()
    project: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The keys of `project:` that the file gives."""

    def stated(self) -> Stated:
        """The rules of the project, of its epics and tasks."""
        epics = {epic.id: epic.verify for epic in self.epics}
        return stated_by(self.project, epics, {task.id: task.verify for task in self.tasks})


@dataclass(frozen=True, slots=True)
class RoadmapChanges:
    """What an export writes into the file, in the vocabulary of `entry()`.

    tasks: id of something in the file -> the fields to set; None removes a field from the file. A task with `epic_id`
    moves to that epic. added: whole entries of new tasks (`id`, `title`, `epic_id` and any other field). An epic that the
    file lacks is made; epics: id -> its title, else the id.
    """

    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    epics: Mapping[str, str] = field(default_factory=dict[str, str])
    added: tuple[Mapping[str, Any], ...] = ()


def digest_of(entry: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of canonical JSON: sorted keys, no spaces, UTF-8."""
    return hashlib.sha256(canonical(entry).encode()).hexdigest()


NEAR_MATCHES_FOR = 5
"""Dangling ids for which look-alikes are searched; a file with more of them has another trouble."""
CYCLE_SHOWN = 12

Kind = Literal["epic", "milestone", "task"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with the thing number `index` of its kind; `item` counts within a list field."""

    kind: Kind
    index: int
    field: str
    item: int | None
    message: str


def references(tasks: Iterable[RoadmapTask]) -> set[str]:
    """Ids of tasks that are referred to (as dependency or parent) and not among `tasks`."""
    listed = list(tasks)
    wanted = {other for task in listed for other in task.depends_on}
    wanted.update(task.parent_id for task in listed if task.parent_id is not None)
    return wanted - {task.id for task in listed}


def check(
    epics: Sequence[RoadmapEpic],
    milestones: Sequence[RoadmapMilestone],
    tasks: Sequence[RoadmapTask],
    known_ids: set[str],
) -> Iterator[Finding]:
    """Every broken rule between parts, kind by kind in the order of the file.

    `known_ids` are those of `references` that exist elsewhere: such tasks may be waited for though the file lacks them.
    """
    owner: dict[str, tuple[Kind, int]] = {}
    parts: tuple[tuple[Kind, Sequence[RoadmapEpic | RoadmapMilestone | RoadmapTask]], ...] = (
        ("epic", epics),
        ("milestone", milestones),
        ("task", tasks),
    )
    for kind, things in parts:
        for index, thing in enumerate(things):
            if thing.id in owner:
                message = f"expected an id of its own; {thing.id} already is the id of the "
                yield Finding(kind, index, "id", None, message + "{} on line {}".format(*owner[thing.id]))
            else:
                owner[thing.id] = (kind, thing.line)
    searches = 0
    for index, task in enumerate(tasks):
        wanted = [("depends_on", item, other, "task") for item, other in enumerate(task.depends_on)]
        wanted += [("parent_id", None, task.parent_id, "task")] if task.parent_id is not None else []
        wanted += [("milestone_id", None, task.milestone_id, "milestone")] if task.milestone_id is not None else []
        for name, item, other, expected in wanted:
            kind = owner[other][0] if other in owner else None
            if expected == "task" and other == task.id:
                message = f"{other} cannot {'be its own parent' if item is None else 'wait for itself'}; remove it"
            elif item is not None and other in task.depends_on[:item]:
                message = f"{other} is listed twice; remove one"
            elif kind != expected and (expected == "milestone" or other not in known_ids):
                searches += 1
                meant = ""
                if searches <= NEAR_MATCHES_FOR:
                    meant = did_you_mean(other, [each for each, (what, _) in owner.items() if what == expected])
                found = (
                    f"{other} is the id of {'an' if kind == 'epic' else 'a'} {kind}" if kind else f"there is no {other}"
                )
                message = f"expected the id of a {expected}; {found}.{meant}"
            else:
                continue
            yield Finding("task", index, name, item, message)
    yield from _circle(tasks)


def _circle(tasks: Sequence[RoadmapTask]) -> Iterator[Finding]:
    """One of the circles, if there is any."""
    place: dict[str, int] = {}
    for index, task in enumerate(tasks):
        place.setdefault(task.id, index)
    # A parent waits for its children, so those edges close circles as well.
    waits: dict[str, list[str]] = {name: [o for o in tasks[i].depends_on if o != name] for name, i in place.items()}
    for name, index in place.items():
        parent = tasks[index].parent_id
        if parent in waits and parent != name:
            waits[parent].append(name)
    circle = find_cycle(waits) or []
    if not circle:
        return
    first = min(range(len(circle) - 1), key=lambda i: place[circle[i]])
    path = [*circle[first:], *circle[1 : first + 1]]
    start = tasks[place[path[0]]]
    steps = [f"{start.id} (line {start.line})"]
    for name, after in pairwise(path):
        child = "" if after in tasks[place[name]].depends_on else "its child "
        steps.append(f"{child}{after} (line {tasks[place[after]].line})")
    if len(steps) > CYCLE_SHOWN:
        half = CYCLE_SHOWN // 2
        steps = [*steps[:half], f"... {len(steps) - CYCLE_SHOWN} more ...", *steps[-half:]]
    item = start.depends_on.index(path[1]) if path[1] in start.depends_on else None
    message = f"expected no circle, but these tasks would wait for each other: {' -> '.join(steps)}"
    yield Finding("task", place[start.id], "depends_on" if item is not None else "id", item, message)
