"""One JSON object a line: our own export, and the issues of Beads.

Our lines have the fields of create_tasks and `kind` (task, epic, milestone; task when it is left out), and of a task `status`
(pending or blocked with `reason` and `waiting_for`; done and cancelled are told and left out). Beads' lines are those of
`.beads/issues.jsonl`: a dependency of the type parent-child makes the issue a part of the other, blocks, conditional-blocks and
waits-for make it wait, every other type is only told.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from wvo_mcp.domain.imports.draft import Problems, Reading, State, checked, finished, item, lines_of, prose, short
from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.text import Id, Title, as_id, is_id, storable

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


class _Epic(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    id: Id
    title: Title
    wip_limit: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None


class _Milestone(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    id: Id
    title: Title
    epic_id: Id | None = None
    due_at: Annotated[Instant, BeforeValidator(_no_number)] | None = None


def objects(text: str, problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object) of every line that has one; what is none goes to `problems`."""
    for number, line in lines_of(text):
        if not line.strip():
            continue
        try:
            value: Any = json.loads(line)
        except RecursionError:
            problems.add(number, "is nested too deeply")
            continue
        except ValueError as error:
            problems.add(number, f"no JSON: {getattr(error, 'msg', error)} at character {getattr(error, 'colno', 1)}")
            continue
        if isinstance(value, dict):
            yield number, cast("dict[str, Any]", value)
        else:
            problems.add(number, f"expected a JSON object, found {type(value).__name__}")


def read(text: str) -> Reading:
    """Our own lines. Raises InvalidInput that names the line."""
    reading, problems = Reading("jsonl"), Problems()
    for number, given in objects(text, problems):
        kind = given.pop("kind", "task")
        if kind == "task":
            _task(reading, problems, number, given)
        elif kind in ("epic", "milestone"):
            _group(reading, problems, number, str(kind), given)
        else:
            problems.add(number, f"kind: expected task, epic or milestone, found {str(kind)[:40]!r}")
    return finished(reading, problems)


def _task(reading: Reading, problems: Problems, number: int, given: dict[str, Any]) -> None:
    status, reason, waiting_for = (given.pop(name, None) for name in ("status", "reason", "waiting_for"))
    state = State.OPEN if status is None else _STATES.get(status) if isinstance(status, str) else None
    if state is None:
        problems.add(number, f"status: expected one of {', '.join(_STATES)}, found {str(status)[:40]!r}")
        return
    given_list: Any = [] if waiting_for is None else waiting_for
    listed: list[Any] = cast("list[Any]", given_list) if isinstance(given_list, list) else [None]
    if not all(isinstance(name, str) and is_id(name) for name in listed):
        problems.add(number, "waiting_for: expected a list of ids")
        return
    try:
        why = storable(str(reason)[:2_000]) if reason else "blocked in the file" if state is State.BLOCKED else None
    except ValueError as error:
        problems.add(number, f"reason: {error}")
        return
    made = item(problems, number, given, state, why, tuple(listed))
    if made is not None:
        reading.items.append(made)


def _group(reading: Reading, problems: Problems, number: int, kind: str, given: dict[str, Any]) -> None:
    if kind == "epic":
        epic = checked(_Epic, problems, number, given)
        if epic is not None:
            reading.epics[epic.id] = {"title": epic.title, "wip_limit": epic.wip_limit}
        return
    milestone = checked(_Milestone, problems, number, given)
    if milestone is not None:
        reading.milestones[milestone.id] = {
            name: value for name in ("title", "epic_id", "due_at") if (value := getattr(milestone, name)) is not None
        }


def read_beads(text: str) -> Reading:
    """Issues of Beads. Raises InvalidInput that names the line."""
    reading, problems = Reading("beads"), Problems()
    others = 0
    for number, given in objects(text, problems):
        if given.get("_type", "issue") != "issue":
            continue
        status = given.get("status") or "open"
        state = _BEADS_STATES.get(status) if isinstance(status, str) else None
        if state is None:
            problems.add(number, f"status: expected one of {', '.join(_BEADS_STATES)}, found {str(status)[:40]!r}")
            continue
        priority = given.get("priority", 2)
        if isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= 4:
            problems.add(number, f"priority: expected 0 to 4, found {str(priority)[:40]!r}")
            continue
        if not isinstance(given.get("id"), str) or not isinstance(given.get("title"), str):
            problems.add(number, f"{'title' if isinstance(given.get('id'), str) else 'id'}: is required")
            continue
        parent, waits, ignored = _links(problems, number, given)
        others += ignored
        kind = given.get("issue_type") or "task"
        named: Any = given.get("labels") or []
        if not isinstance(named, list):
            problems.add(number, f"labels: expected a list, found {type(named).__name__}")
            continue
        labels = [str(label)[:100] for label in cast("list[Any]", named) if str(label).strip()]
        accepted = given.get("acceptance_criteria")
        fields = {
            "id": as_id(given["id"]),
            "title": short(given["title"]),
            "description": prose(given.get("description"), given.get("design"), given.get("notes")),
            "priority": _BEADS_PRIORITY[priority],
            "parent_id": parent,
            "depends_on": waits,
            "labels": list(dict.fromkeys(([str(kind)[:100]] if kind != "task" else []) + labels))[:50],
            "acceptance": [prose(accepted)] if isinstance(accepted, str) and accepted.strip() else None,
            "not_before": given.get("defer_until") or None,
        }
        reason = f"{status} in Beads" if state is State.BLOCKED else None
        made = item(problems, number, fields, state, reason)
        if made is not None:
            reading.items.append(made)
    if others:
        reading.warnings.append(f"{others} links that make nothing wait (related, discovered-from, ...) were left out.")
    return finished(reading, problems)


def _links(problems: Problems, number: int, given: dict[str, Any]) -> tuple[str | None, list[str], int]:
    """(parent, what it waits for, how many links of other types)."""
    parent: str | None = None
    waits: list[str] = []
    others = 0
    listed: Any = given.get("dependencies") or []
    if not isinstance(listed, list):
        problems.add(number, "dependencies: expected a list")
        return parent, waits, others
    for link in cast("list[Any]", listed):
        values = cast("dict[str, Any]", link) if isinstance(link, dict) else {}
        target, kind = values.get("depends_on_id"), values.get("type", "blocks")
        if not isinstance(target, str):
            problems.add(number, "dependencies: expected objects with depends_on_id and type")
        elif kind == "parent-child":
            parent = as_id(target)
        elif kind in _WAITS:
            waits.append(as_id(target))
        else:
            others += 1
    return parent, list(dict.fromkeys(waits)), others
