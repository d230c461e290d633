"""Edits in layouts that a random hand does not think of."""

import pytest

from wvo_mcp.domain.roadmap import RoadmapChanges
from wvo_mcp.errors import Conflict, InvalidInput, NotFound
from wvo_mcp.execution.roadmap.edit import edited

pytestmark = pytest.mark.requirement("TASK-5")

NAME = "state/roadmap.yaml"
TEXT = """\
# head
---
epics:   # the epics

  - id:   E1   # odd spacing
    title: "Check out"
    milestones: [ {id: M1, title: Beta, due: 2027-01-15}, { id: M2, title: 'GA' } ]
    tasks:
    # first things
    - id: T1
      title: A title that is folded by the person who wrote it over
        two lines
      labels: [ no, on, 010 ]  # labels
      description: >  # folded
        one
        two
      # behind it
    # end of T1

    # about T2
    - {id: T2, title: flow, depends_on: [
          T1,   # why
          ], labels: [x]}   # T2

    - id: T3
      title: |-
          deep
      depends_on:   # deps
          - T1  # one
          # between
          -   T2   # two
  -   id: E2
      title: x
      tasks: []   # none yet
# tail

...
"""

EPIC = "epics:\n- id: E\n  title: e\n  tasks:\n"


def change(text: str = TEXT, **changes: object) -> str:
    return edited(text, NAME, RoadmapChanges(**changes))  # pyright: ignore[reportArgumentType]


def replaced(*pairs: tuple[str, str]) -> str:
    text = TEXT
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_comments_and_odd_spacing_around_a_changed_value_stay() -> None:
    text = f"{EPIC}  -   id: T\n      title:   'x'   # odd\n      complexity: 3  # why\n"

    new = change(text, tasks={"T": {"title": "z", "complexity": 4}})

    assert new == text.replace("  'x'", "z").replace("3", "4")


def test_items_of_a_block_list_come_and_go_with_their_own_comments() -> None:
    new = change(tasks={"T3": {"depends_on": ["T2"]}})

    assert new == replaced(("          - T1  # one\n", ""))
    assert change(new, tasks={"T3": {"depends_on": ["T1", "T2"]}}) == replaced(
        ("          - T1  # one\n", ""), ("# two\n", "# two\n          -   T1\n")
    )


def test_a_dependency_list_keeps_its_order_whatever_the_order_of_the_change() -> None:
    assert change(tasks={"T3": {"depends_on": ["T2", "T1"]}}) == TEXT


def test_a_list_that_loses_all_items_becomes_an_empty_one() -> None:
    new = change(tasks={"T3": {"depends_on": []}})

    assert new == replaced(
        ("depends_on:   # deps", "depends_on: []   # deps"),
        ("          - T1  # one\n", ""),
        ("          -   T2   # two\n", ""),
    )


def test_a_text_of_several_lines_is_written_as_a_block() -> None:
    text = "epics:\n- id: E\n  title: e\n  tasks:\n  - id: T\n    title: t  # here"

    new = change(text, tasks={"T": {"title": "one\n  two\n", "description": "a\n\nb"}})

    assert new == text.replace(
        "title: t  # here", "title: |  # here\n      one\n        two\n    description: |-\n      a\n\n      b"
    )


def test_what_would_lose_a_comment_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"does not allow to change T2 in place: there are comments inside of"):
        change(tasks={"T2": {"priority": "low"}})


def test_a_folded_text_is_replaced_and_its_comment_stays() -> None:
    assert change(tasks={"T1": {"description": "short"}}).startswith(
        TEXT[: TEXT.index(">  # folded")] + "short  # folded\n      # behind it\n"
    )


def test_a_new_task_looks_like_its_neighbours() -> None:
    new = change(added=({"id": "T4", "title": "a: b", "epic_id": "E1", "depends_on": ["T3"], "complexity": 3},))

    block = '# two\n\n    - id: T4\n      title: "a: b"\n      complexity: 3\n      depends_on: [T3]\n'
    assert new == replaced(("# two\n", block))


def test_an_empty_list_of_tasks_is_opened_below_its_comment() -> None:
    new = change(added=({"id": "T4", "title": "t", "epic_id": "E2", "not_before": "2027-01-01T00:00:00.000Z"},))

    block = "tasks:   # none yet\n        - id: T4\n          title: t\n          not_before: 2027-01-01T00:00:00Z\n"
    assert new == replaced(("tasks: []   # none yet\n", block))


def test_an_epic_that_is_missing_is_made_before_the_tail() -> None:
    new = change(added=({"id": "T4", "title": "t", "epic_id": "E3"},), epics={"E3": "Third"})

    block = "# none yet\n  - id: E3\n    title: Third\n    tasks:\n      - id: T4\n        title: t\n"
    assert new == replaced(("# none yet\n", block))


def test_a_moved_task_takes_its_comments_with_it() -> None:
    new = change(tasks={"T2": {"epic_id": "E2"}})

    flow = TEXT[TEXT.index("    # about T2") : TEXT.index("\n    - id: T3")]
    moved = "".join(f"    {line}\n" for line in flow.splitlines())
    assert new == replaced((flow, ""), ("tasks: []   # none yet\n", "tasks:   # none yet\n" + moved))


def test_a_task_moves_into_an_epic_that_is_made_for_it() -> None:
    new = change(tasks={"T3": {"epic_id": "E9"}})

    assert new.index("id: E9") < new.index("id: T3") < new.index("# tail")


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks": {"T": {"title": "x"}}},
        {"tasks": {"T": {"epic_id": "F"}}},
        {"added": ({"id": "U", "title": "u", "epic_id": "E"},)},
        {"added": ({"id": "U", "title": "u", "epic_id": "F"},)},
    ],
)
def test_a_roadmap_in_the_style_of_json_is_read_and_not_changed(changes: dict[str, object]) -> None:
    text = '{"epics": [{"id": "E", "title": "e", "tasks": [{"id": "T", "title": "t", "labels": ["x", "y"]}]}]}\n'

    with pytest.raises(InvalidInput, match="flow style"):
        change(text, **changes)


@pytest.mark.parametrize("empty", ["", "# ours\n", "---\n", "epics:\n", "epics: []\n", "epics: ~ # none\n"])
def test_an_empty_roadmap_takes_its_first_epic(empty: str) -> None:
    new = change(empty, added=({"id": "T", "title": "t", "epic_id": "E"},))

    assert "title: t" in new
    assert new.count("#") == empty.count("#")


@pytest.mark.parametrize(
    ("before", "fields", "after"),
    [
        ("- {title: t, id: T}  # c", {"labels": ["x"]}, "- id: T  # c\n    title: t\n    labels: [x]"),
        ("- {priority: low, id: T, title: 't'}", {"priority": None}, "- id: T\n    title: t"),
        ("-   {id: T, title: t,\n  files: [a]}", {"title": "u\nv"}, "-   id: T\n      title: |-\n        u\n        v\n      files: [a]"),  # noqa: E501
        ("- id: T\n    title: t\n    labels: [a, b,\n  c] # l", {"labels": ["c", "d"]}, "- id: T\n    title: t\n    labels: [c, d] # l"),  # noqa: E501
        ("- priority: low\n    id: T\n    title: t", {"priority": None}, "- priority: null\n    id: T\n    title: t"),
        ("- id: T\n    title: t\n    labels: # a: b\n    - a", {"labels": []}, "- id: T\n    title: t\n    labels: [] # a: b"),
        ("- id: T\n    title: t\n    files: # f\n    - b", {"files": ["a", "b"]}, "- id: T\n    title: t\n    files: # f\n    - a\n    - b"),  # noqa: E501
        ("- id: T\n    title: !!str 5", {"title": "x"}, "- id: T\n    title: x"),
        ("- id: T\n    description: |+\n      a\n\n    title: t", {"description": "b"}, "- id: T\n    description: b\n    title: t"),  # noqa: E501
        ("- # why\n    id: T\n    title: t", {"complexity": 2}, "- # why\n    id: T\n    title: t\n    complexity: 2"),
    ],
)  # fmt: skip
def test_a_task_in_any_layout_takes_the_change(before: str, fields: dict[str, object], after: str) -> None:
    assert change(f"{EPIC}  {before}\n", tasks={"T": fields}) == f"{EPIC}  {after}\n"


def test_a_task_in_flow_style_moves_as_it_is_written() -> None:
    text = "epics:\n- id: E\n  title: e\n  tasks:\n  - {id: A, title: a}\n  - {id: B, title: b}\n- id: F\n  title: f\n"

    there = change(text, tasks={"B": {"epic_id": "F"}})

    assert there == text.replace("  - {id: B, title: b}\n", "") + "  tasks:\n  - {id: B, title: b}\n"
    assert change(there, tasks={"A": {"epic_id": "G"}}).endswith(
        "- id: G\n  title: G\n  tasks:\n  - {id: A, title: a}\n"
    )


def test_a_list_of_tasks_with_a_comment_before_its_first_dash_grows() -> None:
    text = "epics:\n- id: E\n  title: e\n  tasks: !!seq # - not this one\n      - id: T\n        title: t\n"

    new = change(text, added=({"id": "U", "title": "u", "epic_id": "E"},))

    assert new == text + "      - id: U\n        title: u\n"


def test_unknown_and_repeated_ids_are_refused() -> None:
    with pytest.raises(NotFound, match=r"No task 'T11'. Did you mean T1"):
        change(tasks={"T11": {"title": "x"}})
    with pytest.raises(Conflict, match=r"Task T1 is in the roadmap already"):
        change(added=({"id": "T1", "title": "x", "epic_id": "E1"},))


def test_an_id_a_title_and_an_epic_cannot_be_taken_out() -> None:
    for field in ("id", "title", "epic_id"):
        with pytest.raises(InvalidInput, match=rf"{field} of T1 cannot be taken out"):
            change(tasks={"T1": {field: None}})


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("--- ~\n", {"added": ({"id": "T", "title": "t", "epic_id": "E"},)}),
        (f"{EPIC}  - id: T\n    title: t\n    labels:\n    -\n      a\n    - b\n", {"tasks": {"T": {"labels": ["b"]}}}),
        (f"{EPIC}  -\n    id: T\n    title: t\n- {{id: F, title: f}}\n", {"tasks": {"T": {"epic_id": "F"}}}),
    ],
)
def test_a_layout_that_cannot_be_edited_in_place_is_refused_with_what_to_do(
    text: str, changes: dict[str, object]
) -> None:
    with pytest.raises(
        InvalidInput, match=r"the layout of state/roadmap.yaml does not allow .*; edit the file by hand"
    ):
        change(text, **changes)


def test_an_id_cannot_be_changed() -> None:
    with pytest.raises(InvalidInput):
        change(tasks={"T1": {"id": "U"}})
