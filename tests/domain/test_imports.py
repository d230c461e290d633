"""Files of other programs, of people, and of nobody's good will."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wvo_mcp.domain.imports.draft import MAX_DEPTH, MAX_TASKS, Reading
from wvo_mcp.domain.imports.reader import looks_like, read
from wvo_mcp.errors import InvalidInput

SAMPLES = Path(__file__).parents[1] / "samples" / "imports"
pytestmark = pytest.mark.requirement("TASK-6")


def shown(reading: Reading) -> dict[str, tuple[Any, ...]]:
    """Title -> (id, state, parent, waits), ids that were made left out."""
    titles = {each.fields.id: each.fields.title for each in reading.items}
    return {
        each.fields.title: (
            each.state.value,
            titles.get(each.fields.parent_id or ""),
            [titles.get(other, other) for other in each.fields.depends_on],
        )
        for each in reading.items
    }


def test_a_checklist_maps_boxes_to_tasks_indentation_to_parts_headings_to_epics() -> None:
    reading = read((SAMPLES / "checklist.md").read_bytes())

    assert reading.format == "markdown"
    assert shown(reading) == {
        "Price rules": ("done", None, []),
        "Basket totals": ("open", None, ["Price rules"]),
        "Taxes": ("open", "Basket totals", []),
        "Vouchers": ("open", "Basket totals", []),
        "One each basket": ("done", "Vouchers", []),
        "Checkout page": ("open", None, ["Basket totals", "Price rules"]),
        "Gift cards": ("blocked", None, []),
        "Fax orders": ("dropped", None, []),
        "Note: no id here": ("open", None, []),
        "with a tab": ("open", "Note: no id here", []),
    }
    by_id = {each.fields.id: each for each in reading.items}
    t2 = by_id["T2"].fields
    assert (t2.priority, t2.complexity, t2.acceptance, t2.epic_id) == ("critical", 8, ["unit tests pass"], "Checkout")
    assert (by_id["T1"].fields.labels, by_id["T1"].fields.description) == (
        ["money"],
        "Rules that give each line its price.",
    )
    assert by_id["PAGE"].line == 23
    assert next(e.fields.files for e in reading.items if e.fields.title == "Taxes") == ["src/tax/**", "docs/tax.md"]
    assert reading.epics == {"Checkout": {"title": "Checkout"}, "Later": {"title": "Later"}}


def test_names_in_any_script_and_of_any_length_are_told_apart() -> None:
    headings = ["日本", "中国", "Übung", "x" * 64 + "1", "x" * 64 + "2", "Plain"]
    reading = read("".join(f"# {name}\n- [ ] t\n" for name in headings), "markdown")
    tags = read(json.dumps({name: {"tasks": [{"id": 1, "title": "t"}]} for name in headings}), "taskmaster")

    for found in (reading, tags):
        assert [found.epics[each.fields.epic_id or ""]["title"] for each in found.items] == headings
    assert "Plain" in reading.epics


def test_task_masters_own_file_gives_tags_subtasks_and_its_statuses() -> None:
    reading = read((SAMPLES / "taskmaster-0.43.1.json").read_bytes())
    found = {
        each.fields.id: (each.state.value, each.fields.parent_id, each.fields.depends_on) for each in reading.items
    }

    assert reading.format == "taskmaster"
    assert found == {
        "tm-1": ("done", None, []),
        "tm-2": ("open", None, ["tm-1"]),
        "tm-2.1": ("open", "tm-2", []),
        "tm-2.2": ("open", "tm-2", ["tm-2.1"]),
        "tm-3": ("blocked", None, ["tm-1", "tm-2"]),
        "tm-later-1": ("open", None, []),
        "tm-later-2": ("open", None, ["tm-later-1"]),
    }
    assert "Keep money in cents." in (reading.items[0].fields.description or "")
    text = (SAMPLES / "taskmaster-0.43.1.json").read_text().splitlines()
    for each in reading.items:
        assert text[each.line - 1].strip() == "{"
        assert each.fields.title in text[each.line + 1]


def test_issues_of_beads_give_parts_waits_and_priorities() -> None:
    reading = read((SAMPLES / "beads-issues.jsonl").read_bytes())
    found = {each.fields.id: each for each in reading.items}

    assert reading.format == "beads"
    assert {name: each.state.value for name, each in found.items()} == {
        "shop-a1f": "open",
        "shop-a1f.1": "done",
        "shop-a1f.2": "open",
        "shop-9kq": "open",
        "shop-7x2": "blocked",
        "shop-old": "dropped",
    }
    totals = found["shop-a1f.2"].fields
    assert (totals.parent_id, totals.depends_on, totals.labels) == ("shop-a1f", ["shop-a1f.1"], ["feature", "money"])
    assert found["shop-9kq"].fields.depends_on == []
    assert found["shop-9kq"].fields.priority == "critical"
    assert found["shop-a1f.1"].fields.description == "Rules for each line\n\nKeep money in cents."
    assert reading.warnings == ["2 links that make nothing wait (related, discovered-from, ...) were left out."]


@pytest.mark.parametrize("title", ["**T1: Rules** for all", "`T3: run` it", "[v2: beta] things"])
def test_emphasis_around_more_than_an_id_names_nothing(title: str) -> None:
    (item,) = read(f"- [ ] {title}\n", "markdown").items
    assert item.fields.title == title
    assert item.fields.id not in ("T1", "T3", "v2")


def test_generated_ids_stay_the_same_when_items_are_ticked_moved_or_added() -> None:
    before = read("# Shop\n- [ ] One\n- [ ] Two\n  - [ ] Part\n- [ ] One\n")
    after = read("# Shop\n- [ ] New\n- [x] Two\n  - [ ] Part\n- [ ] One\n- [ ] One\n")

    ids = {each.fields.id for each in before.items}
    assert len(ids) == 4
    assert ids < {each.fields.id for each in after.items}


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("- [ ] a\n- [ ] \n", 2, "has a box, but no title"),
        ("- [ ] A1: a\n- [ ] b\n- [ ] A1: c\n", 3, "the id A1 is on line 1 already"),
        ("- [ ] a\n  - complexity: many\n", 2, "expected a number"),
        ("- [ ] a\n  - complexity: 11\n", 1, "complexity"),
        ("- [ ] a\r\n- [ ] b\r\nnul \x00\r\n", 3, "NUL"),
        (b"- [ ] a\n\n- [ ] \xff\xfe\n", 3, "not UTF-8: byte 0xff"),
        ("- [ ] a\n- [ ] " + "x" * 1_000_000, 2, "1,000,006 characters"),
        ("".join(f"{'  ' * depth}- [ ] t{depth}\n" for depth in range(MAX_DEPTH + 2)), MAX_DEPTH + 1, "deeper than 50"),
        ("- [ ] a\n- [ ] " + "depends on a " * 1_000, 2, "a title has at most 500 characters"),
        ('{"id": "a", "title": "t"}\n{"id": "b"}\n', 2, "title: Field required"),
        ('{"id": "a", "title": "t"}\n\n{"id": "b", "title": "t", "colour": 1}\n', 3, "colour: unknown field"),
        ('{"id": "a", "title": "t"}\n{"id": "b",\n', 2, "not JSON"),
        ('{"id": "a", "title": "t"}\n[1]\n', 2, "expected a JSON object, found list"),
        ('{"id": "a", "title": "t"}\n' + "[" * 100_000, 2, "nested too deeply"),
        ('{"id": "a b", "title": "t"}\n', 1, "id: an id has 1 to 64"),
        ('{"id": "a", "title": "t", "status": "odd"}\n', 1, "status: expected one of"),
        ('{"id": "a", "title": "t", "status": 5}\n', 1, "status: expected one of"),
        ('{"id": "a", "title": "t", "business_value": NaN}\n', 1, "business_value"),
        ('{"id": "a", "title": "t", "complexity": ' + "9" * 5_000 + "}\n", 1, "not JSON"),
        ('{"kind": "milestone", "id": "M"}\n', 1, "title: Field required"),
        ('{"kind": "milestone", "id": "M", "title": "m", "due_at": "soon"}\n', 1, "due_at"),
        ('{"kind": "milestone", "id": "M", "title": "m", "due_at": 12}\n', 1, "due_at: expected a time"),
        ('{"kind": "milestone", "id": "M", "title": "m", "due_at": "2027-01-15T09:00:00"}\n', 1, "give a time zone"),
        ('{"kind": "milestone", "id": "M", "title": "m", "epic_id": "no id!"}\n', 1, "epic_id"),
        ('{"kind": "epic", "id": "E", "title": "a\\u0000b"}\n', 1, "NUL"),
        ('{"kind": "epic", "id": "E", "title": "a\\ud800b"}\n', 1, "unable to parse raw data as a unicode"),
        ('{"kind": "epic", "id": "E", "title": "e", "wip_limit": 1' + "0" * 30 + "}\n", 1, "wip_limit"),
        ('{"kind": "epic", "id": "E", "title": "e", "wip_limit": true}\n', 1, "wip_limit"),
        ('{"kind": "epic", "id": "E", "title": "e", "due_at": 1}\n', 1, "unknown field; expected id, title, wip_limit"),
        ('{"id": "a", "title": "t", "status": "blocked", "reason": "\\ud800"}\n', 1, "reason: "),
        (
            '{"id": "a", "title": "t", "status": "blocked", "waiting_for": "b"}\n',
            1,
            "waiting_for: 'b' must be a valid",
        ),
        ('{"id":"a","title":"t","issue_type":"bug","labels":"urgent"}\n', 1, "labels: 'urgent' must be a valid list"),
        ('{"master": {"tasks": []},\n"a\\u0000": {"tasks": []}}', 2, "the name of the tag contains a NUL"),
        ('{"kind": "wish", "id": "M"}\n', 1, "kind: expected"),
        (
            '{"id":"a","title":"t","issue_type":"bug"}\n{"id":"b","title":"t","priority":9}\n',
            2,
            "must be less than or equal to 4",
        ),
        ('{"id":"a","title":"t","issue_type":"bug","status":"lost"}\n', 1, "status"),
        ('{"id":"a","title":"t","issue_type":"bug","dependencies":[3]}\n', 1, "dependencies"),
        (
            '{\n"tasks": [\n{"id": 1, "title": "a"},\n{"id": 1, "title": "b"}\n]}',
            4,
            "the id tm-1 is on line 3 already",
        ),
        ('{\n"tasks": [\n{"id": 1, "title": "a"},\n{"title": "b"}\n]}', 4, "id: Field required"),
        ('{\n"tasks": [\n{"id": 1, "title": "a", "status": "?"}\n]}', 3, "status"),
        ('{\n"tasks": [\n{"id": 1,\n "title": "a"\n "b"}]}', 5, "not JSON"),
        ('{\n"tasks": ' + '{"a":' * 20_000, 1, "nested too deeply"),
        ('{\n"tasks": 3}', 1, "no tasks.json"),
    ],
)
def test_a_mistake_names_its_line(text: str | bytes, line: int, problem: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(text)

    assert (caught.value.details["line"], problem in caught.value.details["problem"]) == (line, True), (
        caught.value.message
    )


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    "line",
    [
        "- [ ] a" + " " * 150_000 + "b",
        "# " + " #" * 75_000,
        "- [ ] a\n  - files: " + " ," * 75_000,
        "- [ ] a (" + "after x1," * 40,
        " " * 150_000 + "- [ ] a",
    ],
    ids=["blanks", "marks", "commas", "links", "indent"],
)
def test_a_line_that_is_made_to_be_read_again_and_again_is_read_once(line: str) -> None:
    assert len(read(line, "markdown").items) <= 1


def test_too_many_tasks_are_refused() -> None:
    with pytest.raises(InvalidInput, match="more than 20,000 tasks"):
        read("".join(f"- [ ] T{number}: t\n" for number in range(MAX_TASKS + 1)))


@settings(deadline=None)
@given(st.text(max_size=300) | st.binary(max_size=300))
def test_nothing_but_typed_errors_whatever_the_file(text: str | bytes) -> None:
    for name in ("auto", "markdown", "jsonl", "taskmaster", "beads"):
        try:
            read(text, name)
        except InvalidInput as error:
            assert error.details["line"] >= 1


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "title",
                    "tasks",
                    "subtasks",
                    "dependencies",
                    "status",
                    "priority",
                    "kind",
                    "labels",
                    "depends_on_id",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(_JSON, st.sampled_from(["jsonl", "taskmaster", "beads", "auto"]))
def test_nothing_but_typed_errors_whatever_the_json(value: Any, name: str) -> None:
    try:
        read(json.dumps(value), name)
    except InvalidInput as error:
        assert error.details["line"] == 1


@pytest.mark.parametrize(
    ("text", "format_"),
    [
        ("", "markdown"),
        ("\ufeff# a\n- [ ] b", "markdown"),
        ('{"id": "a", "title": "b"}\n', "jsonl"),
        ('{"master": {"tasks": []}}', "taskmaster"),
        ('{\n  "tasks": []\n}', "taskmaster"),
        ('{"id":"a","title":"b","issue_type":"task"}', "beads"),
    ],
)
def test_what_a_text_is_shows_at_its_beginning(text: str, format_: str) -> None:
    assert looks_like(text) == format_
