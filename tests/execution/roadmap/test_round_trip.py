"""Properties of reading and writing, over random roadmaps in many hands."""

import re
from collections import Counter
from dataclasses import asdict
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.execution.roadmap.texts import VALUES, Model, entries, roadmaps, texts, written
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.roadmap import Roadmap, RoadmapChanges, RoadmapEpic, RoadmapMilestone
from wvo_mcp.execution.roadmap.edit import edited
from wvo_mcp.execution.roadmap.parse import parse

NAME = "state/roadmap.yaml"
thorough = settings(max_examples=50)


def read(text: str, loader: Any = None) -> Roadmap:
    draft = parse(text.encode(), NAME, loader)
    return draft.checked(draft.references())


def stated(part: RoadmapEpic | RoadmapMilestone) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(part).items() if name != "line" and value not in (None, ())}
    return {name: iso(value) if isinstance(value, datetime) else value for name, value in fields.items()}


def said(roadmap: Roadmap) -> dict[str, list[dict[str, Any]]]:
    return {
        "epics": [stated(each) for each in roadmap.epics],
        "milestones": [stated(each) for each in roadmap.milestones],
        "tasks": [each.entry() for each in roadmap.tasks],
    }


def remarks(text: str) -> Counter[str]:
    """Tags of the comments; a `#` in a value has no such tag behind it."""
    return Counter(re.findall(r"(?m)(?<= )# ([A-Za-z0-9_.-]*[0-9][A-Za-z0-9_.\[\]-]*|\.epics)(?=\r?$)", text))


def lines_lost(old: str, new: str) -> list[str]:
    before, after = old.splitlines(), new.splitlines()
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    return [line for kind, i, i_end, _, _ in matcher.get_opcodes() if kind != "equal" for line in before[i:i_end]]


@pytest.mark.requirement("TASK-4", "TASK-5")
@thorough
@given(st.data())
@pytest.mark.parametrize("loader", [None, yaml.SafeLoader], ids=["libyaml", "python"])
def test_a_roadmap_reads_as_what_was_written_in_any_hand(loader: Any, data: st.DataObject) -> None:
    model = data.draw(roadmaps())
    text = data.draw(written(model))

    roadmap = read(text, loader)

    assert said(roadmap) == entries(model)


@pytest.mark.requirement("TASK-5")
@thorough
@given(st.data())
def test_every_part_knows_its_line(data: st.DataObject) -> None:
    model = data.draw(roadmaps())
    text = data.draw(written(model))
    lines = re.split(r"\r?\n", text)

    roadmap = read(text)

    for part in (*roadmap.epics, *roadmap.milestones, *roadmap.tasks):
        assert re.match(r" *- ", lines[part.line - 1])
        following = "\n".join(lines[part.line - 1 :])
        assert re.search(r"\bid: *['\"]?([\w.-]+)", following)[1] == part.id  # pyright: ignore[reportOptionalSubscript]


@pytest.mark.requirement("TASK-5")
@thorough
@given(st.data())
def test_an_export_without_changes_leaves_every_byte(data: st.DataObject) -> None:
    text = data.draw(written(data.draw(roadmaps())))
    entered = {task.id: task.entry() for task in read(text).tasks}

    assert edited(text, NAME, RoadmapChanges()) == text
    assert edited(text, NAME, RoadmapChanges(tasks=entered)) == text


def changed_fields(data: st.DataObject, present: dict[str, Any], *, removing: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key in data.draw(st.lists(st.sampled_from(["title", *sorted(VALUES)]), unique=True, min_size=1, max_size=3)):
        if removing and key != "title" and data.draw(st.booleans()):
            fields[key] = None
        elif not isinstance(present.get(key), list):
            fields[key] = data.draw(texts if key == "title" else VALUES[key])
        else:  # a list grows, at any place
            grown = list(present[key])
            for item in data.draw(st.lists(texts, min_size=1, max_size=2)):
                grown.insert(data.draw(st.integers(0, len(grown))), item)
            fields[key] = grown
    return fields


def drawn_changes(data: st.DataObject, model: Model, *, removing: bool) -> RoadmapChanges:
    tasks = [task for epic in model for task in epic["tasks"]]
    chosen = data.draw(st.lists(st.sampled_from(tasks), unique_by=lambda task: task["id"], max_size=3)) if tasks else []
    changes = {task["id"]: changed_fields(data, task, removing=removing) for task in chosen}
    added: list[dict[str, Any]] = []
    for number in range(data.draw(st.integers(0, 3))):
        fields = changed_fields(data, {}, removing=False)
        epic = data.draw(st.sampled_from([epic["id"] for epic in model] + ["New.1", "New.2"]))
        on = data.draw(st.lists(st.sampled_from([task["id"] for task in tasks]), unique=True)) if tasks else []
        added.append({"title": "added", **fields, "id": f"new{number}", "epic_id": epic, "depends_on": on})
    return RoadmapChanges(tasks=changes, epics={"New.1": data.draw(texts)}, added=tuple(added))


def expected(model: Model, changes: RoadmapChanges) -> dict[str, dict[str, Any]]:
    """Id -> entry of everything that the file shall hold."""
    out = {each["id"]: dict(each) for parts in entries(model).values() for each in parts}
    for name, fields in changes.tasks.items():
        out[name] |= fields
        out[name] = {key: value for key, value in out[name].items() if value is not None}
    for each in changes.added:
        name = each["epic_id"]
        out.setdefault(name, {"id": name, "title": changes.epics.get(name, name)})
        out[each["id"]] = dict(each)
    return out


@pytest.mark.requirement("TASK-5")
@thorough
@given(st.data())
def test_an_export_says_the_changes_and_keeps_every_comment(data: st.DataObject) -> None:
    model = data.draw(roadmaps())
    text = data.draw(written(model))
    changes = drawn_changes(data, model, removing=False)

    new = edited(text, NAME, changes)

    after = said(read(new))
    assert {each["id"]: each for parts in after.values() for each in parts} == expected(model, changes)
    assert remarks(new) == remarks(text)
    order = [task["id"] for task in entries(model)["tasks"]]
    assert [task["id"] for task in after["tasks"] if not task["id"].startswith("new")] == order


@pytest.mark.requirement("TASK-5")
@thorough
@given(st.data())
def test_what_an_export_takes_out_takes_only_its_own_comments(data: st.DataObject) -> None:
    model = data.draw(roadmaps())
    text = data.draw(written(model))
    changes = drawn_changes(data, model, removing=True)

    new = edited(text, NAME, changes)

    after = said(read(new))
    assert {each["id"]: each for parts in after.values() for each in parts} == expected(model, changes)
    gone = {f"{name}.{key}" for name, fields in changes.tasks.items() for key, value in fields.items() if value is None}
    lost = remarks(text) - remarks(new)
    assert {tag.removesuffix("[]") for tag in lost} <= gone


@pytest.mark.requirement("TASK-5")
@thorough
@given(st.data())
def test_only_the_line_of_a_changed_value_changes(data: st.DataObject) -> None:
    model = data.draw(roadmaps().filter(lambda model: any(epic["tasks"] for epic in model)))
    text = data.draw(written(model))
    task = data.draw(st.sampled_from([task for epic in model for task in epic["tasks"]]))

    new = edited(text, NAME, RoadmapChanges(tasks={task["id"]: {"title": "fresh", "max_attempts": 77}}))

    lost = lines_lost(text, new)
    block = re.search(r"title: \|.*\n(.*)", "\n".join(lost))  # a title of one line, written as a block
    rest = [line for line in lost if block is None or line != block[1]]
    assert len(rest) <= 2  # the title, and the attempts where they stood on a line of their own
    assert all(re.search(r"title: |max_attempts: ", line) for line in rest)
