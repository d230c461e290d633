"""A plan as a person edits it: in the form of a roadmap."""

from collections.abc import Mapping
from typing import Any, cast

import yaml

from wvo_mcp.domain.providers.crew import MARK
from wvo_mcp.errors import InvalidInput

_HEAD = """\
# The plan of {id}: {goal}
# Change what you like and save it; nothing is begun by that. Each task has one label: part:design, part:implementation or
# part:review.
"""
_FIELDS = ("id", "title", "description", "complexity", "depends_on", "files", "acceptance", "verify")


def written(shown: Mapping[str, Any]) -> str:
    tasks = [
        {**{name: one[name] for name in _FIELDS if one.get(name)}, "labels": [f"{MARK}{one['part']}"]}
        for one in shown["plan"]
    ]
    epic = {"id": shown["id"], "title": shown["goal"], "description": shown["summary"], "tasks": tasks}
    said = yaml.safe_dump({"epics": [epic]}, sort_keys=False, allow_unicode=True, width=120)
    return _HEAD.format(id=shown["id"], goal=" ".join(shown["goal"].split())[:100]) + said


def read(text: str) -> dict[str, Any]:
    """The plan that it states. Raises InvalidInput, with the line."""
    try:
        found: Any = yaml.safe_load(text)
        (epic,) = found["epics"]
        return {"summary": epic["description"], "tasks": [_task(one) for one in epic["tasks"]]}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = "" if mark is None else f" in line {mark.line + 1}"
        raise InvalidInput("plan", f"it is not YAML{where}") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InvalidInput("plan", "it needs `epics` with one epic, which has `description` and `tasks`") from None


def _task(one: Any) -> dict[str, Any]:
    entry = cast("dict[str, Any]", dict(one))
    labels = cast("list[Any]", entry.pop("labels", None) or [])
    parts = [str(label).removeprefix(MARK) for label in labels]
    return {**entry, "part": parts[0] if len(parts) == 1 else ""}


def details(one: Mapping[str, Any]) -> str:
    """A task with all that it has, for a terminal."""
    from wvo_mcp.faces.cli.views.cells import clean  # brings rich, which serves terminals only

    lines = ["", f"{one['id']}: {one['title']}", *filter(None, [one.get("description")])]
    for name in ("files", "depends_on", "acceptance", "verify"):
        lines += [f"  {name}: {value}" for value in one.get(name, ())]
    return "\n".join(clean(line) for line in lines)
