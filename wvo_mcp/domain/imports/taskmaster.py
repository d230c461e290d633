"""Task Master's tasks.json: {"tasks": [...]}, or a list of tasks for each tag.

Task 2 is `tm-2`, its subtask 1 `tm-2.1`; with a tag other than `master` they are `tm-TAG-2`, in an epic of the tag's name.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, StrictInt, StrictStr

from wvo_mcp.domain.imports.draft import Reading, State, checked, lines_of, one_of, prose, refuse, short, slug
from wvo_mcp.domain.text import storable

_STATES = {
    "pending": State.OPEN, "in-progress": State.OPEN, "review": State.OPEN, "blocked": State.BLOCKED,
    "deferred": State.BLOCKED, "done": State.DONE, "completed": State.DONE, "cancelled": State.DROPPED,
}  # fmt: skip
_AT = "\x00line"
"""Key of the line on which an object begins; it replaces what a file may have there."""
_SIGN = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}]', re.DOTALL)


class _Task(BaseModel):
    """Fields that are not named here are left out."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    id: StrictInt | StrictStr
    title: StrictStr
    status: Annotated[State, one_of(_STATES)] = State.OPEN
    priority: Literal["critical", "high", "medium", "low"] | None = None
    dependencies: Any = None
    complexity: Any = None
    description: Any = None
    details: Any = None
    testStrategy: Any = None

    @property
    def waits(self) -> list[str]:
        given = self.dependencies
        listed = cast("list[Any]", given if isinstance(given, list) else [given])
        return list(dict.fromkeys(str(value).strip() for value in listed if value))


def read(text: str) -> Reading:
    """Raises InvalidInput that names the line."""
    for _ in lines_of(text):
        pass
    whole = _parsed(text)
    reading = Reading("taskmaster")
    for tag, tasks in _lists(whole):
        prefix = "tm-" if tag == "master" else f"tm-{slug(tag)}-"
        epic_id = None if tag == "master" else slug(tag)
        if epic_id is not None:
            try:
                reading.epics[epic_id] = {"title": short(storable(tag))}
            except ValueError as error:
                refuse(int(whole[tag][_AT]), f"the name of the tag {error}")
        for task in tasks:
            _add(reading, task, prefix, epic_id)
    return reading.finished()


def _parsed(text: str) -> dict[str, Any]:
    """The JSON, in which each object has its line."""
    lines = _lines_of_objects(text)

    def with_line(found: dict[str, Any]) -> dict[str, Any]:
        return {**found, _AT: next(lines)}

    try:
        value = json.loads(text, object_hook=with_line)
    except RecursionError:
        refuse(1, "is nested too deeply")
    except json.JSONDecodeError as error:
        refuse(error.lineno, f"not JSON: {error.msg} at character {error.colno}")
    except ValueError as error:
        refuse(1, f"not JSON: {error}")
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


def _lists(whole: dict[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    if isinstance(whole.get("tasks"), list):
        yield "master", _objects(whole["tasks"], 1)
        return
    found = False
    for tag, content in whole.items():
        if isinstance(content, dict) and isinstance(content.get("tasks"), list):  # pyright: ignore[reportUnknownMemberType]
            found = True
            yield tag, _objects(content["tasks"], int(content[_AT]))  # pyright: ignore
    if not found:
        refuse(1, "expected the key tasks, or tags that have it: no tasks.json of Task Master")


def _objects(values: Any, line: int) -> list[dict[str, Any]]:
    listed = cast("list[Any]", values)
    for value in listed:
        if not isinstance(value, dict):
            refuse(line, f"tasks: expected objects, found {type(value).__name__}")
    return cast("list[dict[str, Any]]", listed)


def _add(reading: Reading, given: dict[str, Any], prefix: str, epic_id: str | None) -> None:
    number = f"{prefix}{_number(given)}"
    parts = _objects(given.get("subtasks") or [], given[_AT])
    inner = {_number(part) for part in parts}
    _one(reading, given, {"id": number, "epic_id": epic_id}, lambda other: f"{prefix}{other}")
    for part in parts:
        place = {"id": f"{number}.{_number(part)}", "epic_id": epic_id, "parent_id": number}
        # A bare number names a sibling where there is one.
        _one(reading, part, place, lambda other: f"{number}.{other}" if other in inner else f"{prefix}{other}")


def _number(given: Mapping[str, Any]) -> str:
    number = str(given.get("id")).strip()
    return number.rpartition(".")[2] if "parentTaskId" in given else number


def _one(reading: Reading, given: dict[str, Any], place: Mapping[str, str | None], named: Callable[[str], str]) -> None:
    """`place`: id, epic and parent; `named` gives the id of what it waits for."""
    line = int(given[_AT])
    task = checked(_Task, reading.problems, line, given)
    if task is None:
        return
    proof = prose(task.testStrategy)
    fields = {
        **place,
        "title": short(task.title),
        "description": prose(task.description, task.details),
        "priority": task.priority,
        "complexity": task.complexity if isinstance(task.complexity, int) and 1 <= task.complexity <= 10 else None,
        "depends_on": [named(other) for other in task.waits],
        "acceptance": [proof] if proof else None,
    }
    reason = f"{given['status']} in Task Master" if task.status is State.BLOCKED else None
    reading.add(line, fields, task.status, reason)
