"""Task Master's tasks.json: {"tasks": [...]}, or a list of tasks for each tag.

Task 2 is `tm-2`, its subtask 1 `tm-2.1`; with a tag other than `master` they are `tm-TAG-2`, in an epic of the tag's name.
"""

import json
import json.scanner
from collections.abc import Iterator
from typing import Any, cast

from wvo_mcp.domain.imports.draft import Problems, Reading, State, finished, item, lines_of, prose, refuse, short, slug
from wvo_mcp.domain.text import storable

_STATES = {
    "pending": State.OPEN, "in-progress": State.OPEN, "review": State.OPEN, "blocked": State.BLOCKED,
    "deferred": State.BLOCKED, "done": State.DONE, "completed": State.DONE, "cancelled": State.DROPPED,
}  # fmt: skip
_PRIORITIES = ("critical", "high", "medium", "low")
_AT = "\x00line"
"""Where an object of the file begins; no key of a file can be it."""


def read(text: str) -> Reading:
    """Raises InvalidInput that names the line."""
    for _ in lines_of(text):
        pass
    whole = _parsed(text)
    reading, problems = Reading("taskmaster"), Problems()
    for tag, tasks in _lists(whole):
        prefix = "tm-" if tag == "master" else f"tm-{slug(tag)}-"
        epic_id = None if tag == "master" else slug(tag)
        if epic_id is not None:
            try:
                reading.epics[epic_id] = {"title": short(storable(tag))}
            except ValueError as error:
                refuse(int(whole[tag][_AT]), f"the name of the tag {error}")
        for task in tasks:
            _add(reading, problems, task, prefix, epic_id)
    return finished(reading, problems)


def _parsed(text: str) -> dict[str, Any]:
    """The JSON, in which each object knows its line."""
    decoder: Any = json.JSONDecoder()
    plain = decoder.parse_object
    line, passed = 1, 0

    def with_line(s_and_end: tuple[str, int], *rest: Any) -> Any:
        nonlocal line, passed
        start = s_and_end[1] - 1
        # Objects begin in the order of the text, so that each stretch is looked at once.
        line += text.count("\n", passed, start)
        passed = start
        here = line
        value, end = plain(s_and_end, *rest)
        value[_AT] = here
        return value, end

    decoder.parse_object = with_line
    decoder.scan_once = json.scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]
    try:
        value = decoder.decode(text)
    except RecursionError:
        refuse(1, "is nested too deeply")
    except json.JSONDecodeError as error:
        refuse(error.lineno, f"no JSON: {error.msg} at character {error.colno}")
    except ValueError as error:
        refuse(line, f"no JSON: {error}")
    if not isinstance(value, dict):
        refuse(1, "expected an object with the key tasks, or one for each tag")
    return cast("dict[str, Any]", value)


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


def _add(reading: Reading, problems: Problems, task: dict[str, Any], prefix: str, epic_id: str | None) -> None:
    number = _number(task, problems)
    if number is None:
        return
    subtasks = _objects(task.get("subtasks") or [], task[_AT])
    inner = {_number(each, None) for each in subtasks}
    _one(reading, problems, task, f"{prefix}{number}", epic_id, None, [f"{prefix}{d}" for d in _waits(task)])
    for each in subtasks:
        sub = _number(each, problems)
        if sub is None:
            continue
        # A bare number names a sibling where there is one.
        waits = [f"{prefix}{number}.{d}" if d in inner else f"{prefix}{d}" for d in _waits(each)]
        _one(reading, problems, each, f"{prefix}{number}.{sub}", epic_id, f"{prefix}{number}", waits)


def _number(task: dict[str, Any], problems: Problems | None) -> str | None:
    value = task.get("id")
    if isinstance(value, (int, str)) and not isinstance(value, bool) and str(value).strip():
        return str(value).strip().rpartition(".")[2] if "parentTaskId" in task else str(value).strip()
    if problems is not None:
        problems.add(task[_AT], "id: expected a number")
    return None


def _waits(task: dict[str, Any]) -> list[str]:
    listed: Any = task.get("dependencies") or []
    values = cast("list[Any]", listed) if isinstance(listed, list) else [listed]
    return list(dict.fromkeys(str(value).strip() for value in values))


def _one(
    reading: Reading,
    problems: Problems,
    task: dict[str, Any],
    task_id: str,
    epic_id: str | None,
    parent_id: str | None,
    waits: list[str],
) -> None:
    line = int(task[_AT])
    status = task.get("status") or "pending"
    state = _STATES.get(status) if isinstance(status, str) else None
    if state is None:
        problems.add(line, f"status: expected one of {', '.join(_STATES)}, found {str(status)[:40]!r}")
        return
    priority = task.get("priority")
    if priority is not None and priority not in _PRIORITIES:
        problems.add(line, f"priority: expected one of {', '.join(_PRIORITIES)}, found {str(priority)[:40]!r}")
        return
    title, complexity = task.get("title"), task.get("complexity")
    proof = prose(task.get("testStrategy"))
    fields = {
        "id": task_id,
        "title": short(title) if isinstance(title, str) else title,
        "description": prose(task.get("description"), task.get("details")),
        "epic_id": epic_id,
        "parent_id": parent_id,
        "priority": priority,
        "complexity": complexity if isinstance(complexity, int) and 1 <= complexity <= 10 else None,
        "depends_on": waits,
        "acceptance": [proof] if proof else None,
    }
    made = item(problems, line, fields, state, f"{status} in Task Master" if state is State.BLOCKED else None)
    if made is not None:
        reading.items.append(made)
