"""One JSON object a line: our own export, and the issues of Beads.

Our lines have the fields of create_tasks and `kind` (task, epic, milestone; task when it is left out), and of a task `status`
(pending or blocked with `reason` and `waiting_for`; done and cancelled are counted and left out). Beads' lines are those of
`.beads/issues.jsonl`: a dependency of the type parent-child makes the issue a part of the other, blocks, conditional-blocks and
waits-for make it wait, every other type is only counted.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, Field

from wvo_mcp.domain.imports.draft import Fields, Item, Problems, Reading, State, checked, lines_of, one_of, prose, short
from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.text import Id, Prose, Title, as_id

_STATES = {
    "pending": State.OPEN, "in_progress": State.OPEN, "in_review": State.OPEN, "awaiting_approval": State.OPEN,
    "failed": State.OPEN, "blocked": State.BLOCKED, "done": State.DONE, "cancelled": State.DROPPED,
}  # fmt: skip
_BEADS_STATES = {
    "open": State.OPEN, "in_progress": State.OPEN, "hooked": State.OPEN, "blocked": State.BLOCKED,
    "deferred": State.BLOCKED, "closed": State.DONE, "tombstone": State.DROPPED, "pinned": State.DROPPED,
}  # fmt: skip
_BEADS_PRIORITY = ("critical", "high", "medium", "low", "low")
_WAITS = frozenset({"blocks", "conditional-blocks", "waits-for"})


def _no_number(value: object) -> object:
    """A number would be read as seconds since 1970."""
    if not isinstance(value, (str, datetime)):
        raise ValueError("expected a time like 2027-01-15T23:59:59Z")
    return value


class _Task(Fields, frozen=True):
    status: Annotated[State, one_of(_STATES)] = State.OPEN
    reason: Prose | None = None
    waiting_for: Annotated[tuple[Id, ...], Field(max_length=500)] = ()


class _Epic(BaseModel, extra="forbid", frozen=True, defer_build=True):
    id: Id
    title: Title
    wip_limit: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None


class _Milestone(BaseModel, extra="forbid", frozen=True, defer_build=True):
    id: Id
    title: Title
    epic_id: Id | None = None
    due_at: Annotated[Instant, BeforeValidator(_no_number)] | None = None


_KINDS: dict[str, type[_Task | _Epic | _Milestone]] = {"task": _Task, "epic": _Epic, "milestone": _Milestone}


class _Link(BaseModel):
    depends_on_id: str
    type: str = "blocks"


class _Issue(BaseModel, frozen=True, defer_build=True):
    """Of Beads; fields that are not named here are left out."""

    id: str
    title: str
    status: Annotated[State, one_of(_BEADS_STATES)] = State.OPEN
    priority: Annotated[int, Field(ge=0, le=4, strict=True)] = 2
    issue_type: str = "task"
    labels: list[Any] = []
    dependencies: list[_Link] = []
    description: Any = None
    design: Any = None
    notes: Any = None
    acceptance_criteria: Any = None
    defer_until: Any = None


def objects(text: str, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of every line that has one; what is not an object goes to `problems`."""
    for number, line in lines_of(text):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except RecursionError:
            problems.add(number, "is nested too deeply")
            continue
        except ValueError as error:
            problems.add(number, f"not JSON: {getattr(error, 'msg', error)} at character {getattr(error, 'colno', 1)}")
            continue
        if isinstance(value, dict):
            yield number, cast("dict[str, Any]", value)
        else:
            problems.add(number, f"expected a JSON object, found {type(value).__name__}")


def read(text: str) -> Reading:
    """Our own lines. Raises InvalidInput that names the line."""
    reading = Reading("jsonl")
    for number, given in objects(text, reading.problems):
        kind = str(given.pop("kind", "task"))
        if kind not in _KINDS:
            reading.problems.add(number, f"kind: expected task, epic or milestone, found {kind[:40]!r}")
            continue
        found = checked(_KINDS[kind], reading.problems, number, given)
        if isinstance(found, _Task):
            reason = found.reason or ("blocked in the file" if found.status is State.BLOCKED else None)
            reading.items.append(Item(number, found, found.status, reason, found.waiting_for))
        elif found is not None:
            groups = reading.epics if kind == "epic" else reading.milestones
            groups[found.id] = {name: value for name, value in found if name != "id" and value is not None}
    return reading.finished()


def read_beads(text: str) -> Reading:
    """Issues of Beads. Raises InvalidInput that names the line."""
    reading = Reading("beads")
    others = 0
    for number, given in objects(text, reading.problems):
        issue = checked(_Issue, reading.problems, number, given) if given.get("_type", "issue") == "issue" else None
        if issue is None:
            continue
        others += sum(link.type not in {*_WAITS, "parent-child"} for link in issue.dependencies)
        parents = [as_id(link.depends_on_id) for link in issue.dependencies if link.type == "parent-child"]
        waits = [as_id(link.depends_on_id) for link in issue.dependencies if link.type in _WAITS]
        labels = [*([] if issue.issue_type == "task" else [issue.issue_type]), *map(str, issue.labels)]
        accepted = prose(issue.acceptance_criteria)
        fields = {
            "id": as_id(issue.id),
            "title": short(issue.title),
            "description": prose(issue.description, issue.design, issue.notes),
            "priority": _BEADS_PRIORITY[issue.priority],
            "parent_id": parents[-1] if parents else None,
            "depends_on": list(dict.fromkeys(waits)),
            "labels": list(dict.fromkeys(label[:100] for label in labels if label.strip()))[:50],
            "acceptance": [accepted] if accepted else None,
            "not_before": issue.defer_until,
        }
        reason = f"{given['status']} in Beads" if issue.status is State.BLOCKED else None
        reading.add(number, fields, issue.status, reason)
    if others:
        reading.warnings.append(f"{others} links that make nothing wait (related, discovered-from, ...) were left out.")
    return reading.finished()
