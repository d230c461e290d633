"""What must hold between the parts of a roadmap: ids, references and the graph."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from wvo_mcp.domain.dependency import find_cycle
from wvo_mcp.domain.roadmap import RoadmapEpic, RoadmapMilestone, RoadmapTask

MAX_CYCLES = 20
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


def near(wanted: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Up to `limit` known ids that look like `wanted`, best first."""
    folded = {name.casefold(): name for name in known}
    return [folded[name] for name in difflib.get_close_matches(wanted.casefold(), folded, n=limit, cutoff=0.6)]


def did_you_mean(wanted: str, known: Iterable[str], limit: int = 3) -> str:
    """` Did you mean A or B?`, or nothing when nothing looks like `wanted`."""
    matches = near(wanted, known, limit)
    return f" Did you mean {' or '.join(matches)}?" if matches else ""


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
                yield _repeated(kind, index, thing.line, *owner[thing.id], thing.id)
            else:
                owner[thing.id] = (kind, thing.line)
    yield from _dangling(tasks, {name: kind for name, (kind, _) in owner.items()}, known_ids)
    yield from _cycles(tasks)


def _repeated(kind: Kind, index: int, line: int, first_kind: Kind, first_line: int, name: str) -> Finding:
    where = f"the {first_kind} on line {first_line}"
    return Finding(kind, index, "id", None, f"expected an id of its own; {name} already is the id of {where}")


def _dangling(tasks: Sequence[RoadmapTask], kinds: dict[str, Kind], known_ids: set[str]) -> Iterator[Finding]:
    task_ids = [name for name, kind in kinds.items() if kind == "task"]
    milestone_ids = [name for name, kind in kinds.items() if kind == "milestone"]
    searches = 0

    def missing(name: str, expected: Kind, among: list[str]) -> str:
        nonlocal searches
        searches += 1
        meant = did_you_mean(name, among) if searches <= NEAR_MATCHES_FOR else ""
        kind = kinds.get(name)
        is_other = f"{name} is the id of {'an' if kind == 'epic' else 'a'} {kind}" if kind else f"there is no {name}"
        return f"expected the id of a {expected}; {is_other}.{meant}"

    for index, task in enumerate(tasks):
        seen: set[str] = set()
        for item, other in enumerate(task.depends_on):
            if other == task.id:
                yield Finding("task", index, "depends_on", item, f"{task.id} cannot wait for itself; remove it")
            elif other in seen:
                yield Finding("task", index, "depends_on", item, f"{other} is listed twice; remove one")
            elif kinds.get(other) != "task" and other not in known_ids:
                yield Finding("task", index, "depends_on", item, missing(other, "task", task_ids))
            seen.add(other)
        parent = task.parent_id
        if parent == task.id:
            yield Finding("task", index, "parent_id", None, f"{task.id} cannot be its own parent; remove it")
        elif parent is not None and kinds.get(parent) != "task" and parent not in known_ids:
            yield Finding("task", index, "parent_id", None, missing(parent, "task", task_ids))
        milestone = task.milestone_id
        if milestone is not None and kinds.get(milestone) != "milestone":
            yield Finding("task", index, "milestone_id", None, missing(milestone, "milestone", milestone_ids))


def _cycles(tasks: Sequence[RoadmapTask]) -> Iterator[Finding]:
    place: dict[str, int] = {}
    for index, task in enumerate(tasks):
        place.setdefault(task.id, index)
    # A parent waits for its children, so those edges close circles as well.
    waits: dict[str, list[str]] = {name: [o for o in tasks[i].depends_on if o != name] for name, i in place.items()}
    for name, index in place.items():
        parent = tasks[index].parent_id
        if parent in waits and parent != name:
            waits[parent].append(name)
    for _ in range(MAX_CYCLES):
        path = find_cycle(waits)
        if path is None:
            return
        yield _circle(tasks, place, path[:-1])
        for name in path:
            waits.pop(name, None)
        waits = {name: [other for other in others if other in waits] for name, others in waits.items()}


def _circle(tasks: Sequence[RoadmapTask], place: dict[str, int], members: list[str]) -> Finding:
    first = min(range(len(members)), key=lambda i: place[members[i]])
    path = [*members[first:], *members[:first], members[first]]
    steps = [f"{path[0]} (line {tasks[place[path[0]]].line})"]
    for name, after in pairwise(path):
        child = "" if after in tasks[place[name]].depends_on else "its child "
        steps.append(f"{child}{after} (line {tasks[place[after]].line})")
    if len(steps) > CYCLE_SHOWN:
        half = CYCLE_SHOWN // 2
        steps = [*steps[:half], f"... {len(steps) - CYCLE_SHOWN} more ...", *steps[-half:]]
    start = tasks[place[path[0]]]
    item = start.depends_on.index(path[1]) if path[1] in start.depends_on else None
    message = f"expected no circle, but these tasks would wait for each other: {' -> '.join(steps)}"
    return Finding("task", place[start.id], "depends_on" if item is not None else "id", item, message)
