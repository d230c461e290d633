"""Task Master's tasks.json: {"tasks": [...]}, or a list of tasks for each tag.

Task 2 is `tm-2`, its subtask 1 `tm-2.1`; with a tag other than `master` they are `tm-TAG-2`, in an epic of the tag's name.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, StrictInt, StrictStr

from wvo_mcp.domain.imports.draft import Reading, State, checked, lines_of, one_of, prose, refuse, short, slug
from wvo_mcp.domain.text import storable

_STATES = {
    "pending": State.OPEN, "in-progress": State.OPEN, "review": State.OPEN, "blocked": State.BLOCKED,
    "deferred": State.BLOCKED, "done": State.DONE, "completed": State.DONE, "cancelled": State.DROPPED,
}  # fmt: skip
_AT = "\x00line"
"""Key of the line on which an object begins; it replaces what a file may have there."""
_SIGN = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}]', re.DOTALL)


class _Task(BaseModel, frozen=True, defer_build=True):
    """Fields that are not named here are left out."""

    id: StrictInt | StrictStr
    title: StrictStr
    status: Annotated[State, one_of(_STATES)] = State.OPEN
    priority: Literal["critical", "high", "medium", "low"] | None = None
    dependencies: Any = None
    complexity: Any = None
    description: Any = None
    details: Any = None
    testStrategy: Any = None


def read(text: str) -> Reading:
    """Raises InvalidInput that names the line."""
    for _ in lines_of(text):
        pass
    whole = _parsed(text)
    tags = {"master": whole} if isinstance(whole.get("tasks"), list) else whole
    lists = {tag: cast("dict[str, Any]", content) for tag, content in tags.items() if isinstance(content, dict)}
    lists = {tag: content for tag, content in lists.items() if "tasks" in content}
    if not lists:
        refuse(1, "expected the key tasks, or tags that have it: no tasks.json of Task Master")
    reading = Reading("taskmaster")
    for tag, content in lists.items():
        prefix, place = "tm-", {}
        if tag != "master":
            epic_id = slug(tag)
            prefix, place = f"tm-{epic_id}-", {"epic_id": epic_id}
            try:
                reading.epics[epic_id] = {"title": short(storable(tag))}
            except ValueError as error:
                refuse(content[_AT], f"the name of the tag {error}")
        for task in _objects(content["tasks"], content[_AT]):
            number = f"{prefix}{_number(task)}"
            _add(reading, task, {**place, "id": number}, prefix, {})
            parts = _objects(task.get("subtasks") or [], task[_AT])
            # A bare number names a sibling where there is one.
            siblings = {_number(part): f"{number}.{_number(part)}" for part in parts}
            for part in parts:
                _add(reading, part, {**place, "id": siblings[_number(part)], "parent_id": number}, prefix, siblings)
    return reading.finished()


def _parsed(text: str) -> dict[str, Any]:
    """The JSON, in which each object has its line."""
    lines = _lines_of_objects(text)
    try:
        value = json.loads(text, object_hook=lambda found: {**found, _AT: next(lines)})
    except RecursionError:
        refuse(1, "is nested too deeply")
    except ValueError as error:
        refuse(getattr(error, "lineno", 1), f"not JSON: {getattr(error, 'msg', error)}")
    if not isinstance(value, dict):
        refuse(1, "expected an object with the key tasks, or one for each tag")
    return cast("dict[str, Any]", value)


def _lines_of_objects(text: str) -> Iterator[int]:
    """The line on which each object begins, in the order in which they end: that of the hook."""
    begun: list[int] = []
    line, counted = 1, 0
    for sign in _SIGN.finditer(text):
        line += text.count("\n", counted, sign.start())
        counted = sign.start()
        if sign[0] == "{":
            begun.append(line)
        elif sign[0] == "}":
            yield begun.pop()


def _objects(values: object, line: int) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in cast("list[Any]", values)):
        refuse(line, "expected a list of objects in tasks and subtasks")
    return cast("list[dict[str, Any]]", values)


def _number(given: Mapping[str, Any]) -> str:
    number = str(given.get("id")).strip()
    return number.rpartition(".")[2] if "parentTaskId" in given else number


def _add(
    reading: Reading, given: dict[str, Any], place: Mapping[str, str], prefix: str, siblings: Mapping[str, str]
) -> None:
    """`place`: id, epic and parent."""
    task = checked(_Task, reading.problems, given[_AT], given)
    if task is None:
        return
    waits: Any = task.dependencies
    listed = cast("list[Any]", waits if isinstance(waits, list) else [waits])
    numbers = dict.fromkeys(str(value).strip() for value in listed if value)
    proof = prose(task.testStrategy)
    fields = {
        **place,
        "title": short(task.title),
        "description": prose(task.description, task.details),
        "priority": task.priority,
        "complexity": task.complexity if isinstance(task.complexity, int) and 1 <= task.complexity <= 10 else None,
        "depends_on": [siblings.get(other, f"{prefix}{other}") for other in numbers],
        "acceptance": [proof] if proof else None,
    }
    reason = f"{given['status']} in Task Master" if task.status is State.BLOCKED else None
    reading.add(given[_AT], fields, task.status, reason)
