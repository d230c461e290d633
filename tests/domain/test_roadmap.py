from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvo_mcp.domain.roadmap import (
    CYCLE_SHOWN,
    Finding,
    RoadmapEpic,
    RoadmapMilestone,
    RoadmapTask,
    check,
    digest_of,
    end_of_day,
    references,
)
from wvo_mcp.domain.task import Priority, Status, TaskType
from wvo_mcp.domain.text import did_you_mean, near

pytestmark = pytest.mark.requirement("TASK-4")

EPIC = RoadmapEpic(id="E", title="epic", line=2)


def a_task(name: str, *depends_on: str, **fields: Any) -> RoadmapTask:
    return RoadmapTask(id=name, title=name, epic_id="E", depends_on=depends_on, **fields)


def findings(
    *tasks: RoadmapTask, known: set[str] | None = None, milestones: tuple[RoadmapMilestone, ...] = ()
) -> list[Finding]:
    return list(check((EPIC,), milestones, tasks, known or set()))


def test_an_entry_states_what_the_file_states_and_nothing_else() -> None:
    task = a_task(
        "T1",
        "T0",
        priority=Priority.HIGH,
        not_before=datetime(2027, 1, 15, 9, tzinfo=UTC),
        status=Status.BLOCKED,
        given=frozenset({"depends_on", "priority", "not_before", "status"}),
        line=7,
    )

    assert task.entry() == {
        "id": "T1",
        "title": "T1",
        "epic_id": "E",
        "depends_on": ["T0"],
        "priority": "high",
        "not_before": "2027-01-15T09:00:00.000Z",
        "status": "blocked",
    }


def test_what_the_file_leaves_out_has_the_defaults_of_the_contract() -> None:
    task = a_task("T1")

    assert (task.priority, task.complexity, task.type, task.max_attempts) == ("medium", 5, TaskType.OTHER, 3)
    assert (task.business_value, task.requires_approval, task.status) == (None, False, None)


def test_an_entry_and_its_digest_ignore_the_line_and_the_order_of_the_fields() -> None:
    moved = a_task("T1", "T0", given=frozenset({"depends_on"}), line=90)

    assert a_task("T1", "T0", given=frozenset({"depends_on"}), line=7) == moved
    stated = {"title": "T1", "depends_on": ["T0"], "epic_id": "E", "id": "T1"}
    assert digest_of(moved.entry()) == digest_of(stated)
    assert digest_of(moved.entry()) != digest_of(a_task("T1").entry())


def test_a_default_that_is_written_out_is_another_entry_than_one_left_out() -> None:
    assert a_task("T1", given=frozenset({"complexity"})).entry()["complexity"] == 5
    assert "complexity" not in a_task("T1").entry()


def test_a_due_date_means_the_last_millisecond_of_its_day() -> None:
    assert end_of_day(date(2027, 1, 15)) == datetime(2027, 1, 15, 23, 59, 59, 999_000, UTC)


def test_a_sound_roadmap_has_no_findings() -> None:
    milestone = RoadmapMilestone(id="M", title="m", epic_id="another epic")

    assert not findings(
        a_task("A"), a_task("B", "A", milestone_id="M"), a_task("C", parent_id="B"), milestones=(milestone,)
    )


def test_an_id_is_unique_among_epics_milestones_and_tasks() -> None:
    milestone = RoadmapMilestone(id="E", title="m", epic_id="E", line=3)

    found = findings(a_task("T", line=4), a_task("T", line=5), milestones=(milestone,))

    assert found == [
        Finding("milestone", 0, "id", None, "expected an id of its own; E already is the id of the epic on line 2"),
        Finding("task", 1, "id", None, "expected an id of its own; T already is the id of the task on line 4"),
    ]


@pytest.mark.requirement("TASK-3")
def test_a_task_that_waits_for_itself_is_refused() -> None:
    (found,) = findings(a_task("T", "T"))

    assert (found.field, found.item, found.message) == ("depends_on", 0, "T cannot wait for itself; remove it")


@pytest.mark.requirement("TASK-3")
def test_a_dangling_dependency_names_ids_that_look_like_it() -> None:
    (found,) = findings(a_task("cart-api"), a_task("T", "cart-spi"))

    assert (found.index, found.item) == (1, 0)
    assert found.message == "expected the id of a task; there is no cart-spi. Did you mean cart-api?"


def test_a_dependency_on_a_task_that_only_the_store_knows_is_fine() -> None:
    tasks = (a_task("A", "elsewhere", parent_id="above"),)

    assert references(tasks) == {"elsewhere", "above"}
    assert not findings(*tasks, known={"elsewhere", "above"})
    assert [found.field for found in findings(*tasks)] == ["depends_on", "parent_id"]


def test_a_dependency_listed_twice_is_refused() -> None:
    (found,) = findings(a_task("A"), a_task("B", "A", "A"))

    assert (found.item, found.message) == (1, "A is listed twice; remove one")


def test_an_epic_is_no_task_to_wait_for() -> None:
    (found,) = findings(a_task("T", "E"))

    assert found.message.startswith("expected the id of a task; E is the id of an epic.")


def test_a_missing_milestone_or_parent_is_refused() -> None:
    milestone = RoadmapMilestone(id="beta", title="m", epic_id="E")

    found = findings(
        a_task("T", parent_id="T"), a_task("U", parent_id="V", milestone_id="Beta"), milestones=(milestone,)
    )

    assert [(each.index, each.field) for each in found] == [(0, "parent_id"), (1, "parent_id"), (1, "milestone_id")]
    assert found[0].message == "T cannot be its own parent; remove it"
    assert found[2].message == "expected the id of a milestone; there is no Beta. Did you mean beta?"


@pytest.mark.requirement("TASK-3")
def test_a_cycle_names_its_path_with_the_line_of_each_member() -> None:
    (found,) = findings(
        a_task("C", "B", line=9), a_task("B", "free", "A", line=12), a_task("A", "C", line=15), a_task("free")
    )

    assert (found.index, found.field, found.item) == (0, "depends_on", 0)
    assert found.message.endswith(": C (line 9) -> B (line 12) -> A (line 15) -> C (line 9)")


@pytest.mark.requirement("TASK-3")
def test_a_parent_waits_for_its_children_so_a_child_cannot_wait_for_it() -> None:
    (found,) = findings(a_task("P", line=1), a_task("C", "P", parent_id="P", line=2))

    assert found.message.endswith(": P (line 1) -> its child C (line 2) -> P (line 1)")


def test_a_long_cycle_is_shown_shortened() -> None:
    tasks = [a_task(f"T{i}", f"T{(i + 1) % 1_000}", line=i) for i in range(1_000)]

    (found,) = findings(*tasks)

    assert found.message.count("->") == CYCLE_SHOWN
    assert f"... {1_001 - CYCLE_SHOWN} more ..." in found.message
    assert found.message.endswith("T0 (line 0)")


def test_a_chain_of_any_length_is_followed() -> None:
    tasks = [a_task("T0"), *(a_task(f"T{i}", f"T{i - 1}") for i in range(1, 20_000))]

    assert not findings(*tasks)


@given(st.data())
def test_only_an_edge_that_closes_a_circle_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 12))
    edges = {i: data.draw(st.lists(st.integers(0, i - 1), unique=True)) if i else [] for i in range(size)}
    tasks = [a_task(f"T{i}", *(f"T{j}" for j in on)) for i, on in edges.items()]
    assert not findings(*tasks)

    later = data.draw(st.integers(1, size - 1))
    chain = {0}
    for i in range(1, later + 1):
        chain |= {i} if chain.intersection(edges[i]) else set[int]()
    tasks[0] = a_task("T0", f"T{later}")

    assert bool(findings(*tasks)) == (later in chain)


def test_near_matches_see_through_case_and_typing_errors() -> None:
    known = ["checkout-12", "checkout-13", "CART", "refund"]

    assert near("Cart", known) == ["CART"]
    assert near("chekout-13", known)[0] == "checkout-13"
    assert near("payments", known) == []
    assert did_you_mean("refnd", known) == " Did you mean refund?"
    assert did_you_mean("zzz", known) == ""


def test_near_matches_are_found_among_very_many_ids() -> None:
    known = [f"T{i}" for i in range(100_000)]

    assert "T77777" in near("T77777x", known)
