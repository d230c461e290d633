"""Random roadmaps, and the many ways in which people lay one out in YAML."""

import re
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import strategies as st

from wvo_mcp.domain.roadmap import TASK_KEYS

TRICKY = [
    "no",
    "on",
    "010",
    "1e3",
    "2027-01-01",
    "null",
    "~",
    "a: b",
    "a #b",
    "- x",
    "'",
    '"',
    "[x]",
    "{y}",
    "*a",
    "&a",
    "%",
]
texts = st.one_of(
    st.sampled_from(TRICKY),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=20),
    st.from_regex(r"[A-Za-z][a-z ,.:#-]{0,30}[a-z]", fullmatch=True),
).filter(lambda text: text.strip() != "")
long_texts = st.one_of(texts, st.lists(texts, min_size=2, max_size=4).map("\n".join))
words = st.lists(texts, max_size=4)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "description": long_texts,
    "type": st.sampled_from(["generation", "parsing", "validation", "review", "other"]),
    "priority": st.sampled_from(["critical", "high", "medium", "low"]),
    "complexity": st.integers(1, 10),
    "business_value": st.one_of(st.integers(0, 20).map(float), st.sampled_from([0.5, 12.25])),
    "labels": words,
    "files": words,
    "capabilities": words,
    "acceptance": words,
    "requires_approval": st.booleans(),
    "not_before": st.sampled_from(["2027-01-15T09:00:00.000Z", "2027-03-01T23:30:00.250Z"]),
    "max_attempts": st.integers(1, 100),
    "verify": words,
    "status": st.sampled_from(["pending", "blocked", "cancelled"]),
}
"""Key -> values as `entry()` has them; references between tasks are drawn by `roadmaps`."""

Model = list[dict[str, Any]]
"""Epics as entries, each with `milestones` and `tasks`, lists of entries; entries without `epic_id`."""


@st.composite
def roadmaps(draw: st.DrawFn) -> Model:
    model: Model = []
    tasks: list[str] = []
    milestones: list[str] = []
    for number in range(draw(st.integers(0, 3))):
        epic: dict[str, Any] = {"id": f"E{number}", "title": draw(texts), "milestones": [], "tasks": []}
        if draw(st.booleans()):
            epic["wip_limit"] = draw(st.integers(1, 1_000))
        for _ in range(draw(st.integers(0, 2))):
            milestone = {"id": f"M.{len(milestones)}", "title": draw(texts)}
            if draw(st.booleans()):
                milestone["due_at"] = f"2027-0{draw(st.integers(1, 9))}-28T23:59:59.999Z"
            epic["milestones"].append(milestone)
            milestones.append(milestone["id"])
        for _ in range(draw(st.integers(0, 4))):
            name = draw(st.sampled_from(["T", "0", "on-", "x_"])) + str(len(tasks))
            task: dict[str, Any] = {"id": name, "title": draw(texts)}
            for key in draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=5)):
                task[key] = draw(VALUES[key])
            if tasks and draw(st.booleans()):
                task["depends_on"] = draw(st.lists(st.sampled_from(tasks), unique=True, max_size=4))
            if milestones and draw(st.booleans()):
                task["milestone_id"] = draw(st.sampled_from(milestones))
            epic["tasks"].append(task)
            tasks.append(name)
        model.append(epic)
    return model


def entries(model: Model) -> dict[str, list[dict[str, Any]]]:
    """The model as a parsed roadmap gives it: {epics, milestones, tasks}."""
    return {
        "epics": [{key: value for key, value in epic.items() if key not in ("milestones", "tasks")} for epic in model],
        "milestones": [{**each, "epic_id": epic["id"]} for epic in model for each in epic["milestones"]],
        "tasks": [{**each, "epic_id": epic["id"]} for epic in model for each in epic["tasks"]],
    }


_FILE_KEYS = {field: key for key, field in TASK_KEYS.items()} | {"due_at": "due"}


class Hand:
    """Writes a model as one person would: `draw` decides style by style. Comments read `# ID.key` or `# ID`, so that
    a test knows what each belongs to."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw
        self._offset = " " * draw(st.sampled_from([0, 2, 3]))
        self._lines: list[str] = []

    def write(self, model: Model) -> str:
        if self._maybe():
            self._lines += ["# head", "---"]
        self._parts("", "epics", model, "")
        text = self._draw(st.sampled_from(["\n", "\n", "\r\n"])).join(self._lines)
        return text + ("" if self._maybe() else "\r\n" if "\r\n" in text else "\n")

    def _maybe(self) -> bool:
        return self._draw(st.integers(0, 3)) == 0

    def _remark(self, tag: str) -> str:
        return f"  # {tag}" if self._maybe() else ""

    def _parts(self, indent: str, key: str, parts: list[dict[str, Any]], owner: str) -> None:
        if not parts:
            if self._maybe():
                self._lines.append(f"{indent}{key}: []{self._remark(f'{owner}.{key}')}")
            return
        self._lines.append(f"{indent}{key}:{self._remark(f'{owner}.{key}')}")
        apart = self._maybe()
        dash = indent + self._offset
        for part in parts:
            if apart:
                self._lines.append("")
            if self._maybe():
                self._lines.append(f"{dash}# {part['id']}")
            self._part(dash, part)

    def _part(self, dash: str, part: dict[str, Any]) -> None:
        nested = [key for key in ("milestones", "tasks") if key in part]
        fields = [key for key in part if key not in nested]
        fields = self._draw(st.permutations(fields))
        if not nested and self._maybe():
            pairs = [f"{_FILE_KEYS.get(key, key)}: {self._inline(key, part[key], flow=True)}" for key in fields]
            self._lines.append(f"{dash}- {{{', '.join(pairs)}}}{self._remark(part['id'])}")
            return
        before = len(self._lines)
        indent = dash + " " * (1 + self._draw(st.sampled_from([1, 1, 3])))
        for key in fields:
            self._field(indent, key, part[key], part["id"])
        for key in nested:
            self._parts(indent, key, part[key], part["id"])
        first = self._lines[before]
        self._lines[before] = dash + "-" + first[len(dash) + 1 :]

    def _field(self, indent: str, key: str, value: Any, owner: str) -> None:
        name = _FILE_KEYS.get(key, key)
        tag = f"{owner}.{key}"
        if isinstance(value, list) and value and self._maybe():
            self._lines.append(f"{indent}{name}:{self._remark(tag)}")
            for item in value:
                if self._maybe():
                    self._lines.append(f"{indent}{self._offset}# {tag}[]")
                self._lines.append(f"{indent}{self._offset}- {self._text(item)}{self._remark(tag + '[]')}")
        elif isinstance(value, str) and re.fullmatch(r"([a-zA-Z][a-z ]*[a-z]\n?)+", value) and self._maybe():
            chomp = "" if value.endswith("\n") else "-"
            self._lines.append(f"{indent}{name}: |{chomp}{self._remark(tag)}")
            self._lines += [f"{indent}  {line}" for line in value.removesuffix("\n").split("\n")]
        else:
            self._lines.append(f"{indent}{name}: {self._inline(key, value)}{self._remark(tag)}")

    def _inline(self, key: str, value: Any, *, flow: bool = False) -> str:
        if key == "due_at":
            return value[:10]
        if isinstance(value, bool):
            return self._draw(st.sampled_from(["true", "yes", "on"] if value else ["false", "No", "OFF"]))
        if isinstance(value, list):
            space = self._draw(st.sampled_from(["", " "]))
            return f"[{space}" + f",{space or ' '}".join(self._text(item, flow=True) for item in value) + f"{space}]"
        if isinstance(value, int | float):
            return repr(value)
        return value if key == "not_before" else self._text(value, flow=flow)

    def _text(self, text: str, *, flow: bool = False) -> str:
        if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]*", text) and text == text.strip() and text.casefold() != "null":
            return text
        if "'" not in text and re.fullmatch(r"[ -~]+", text) and self._maybe():
            return f"'{text}'"
        return yaml.safe_dump(text, default_style='"', width=10**9, allow_unicode=self._maybe()).rstrip("\n")


@st.composite
def written(draw: st.DrawFn, model: Model) -> str:
    """The model in somebody's hand."""
    return Hand(draw).write(model)
