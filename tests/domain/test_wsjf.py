"""The score against the formula of the contract, written out by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wvo_mcp.domain.task import Priority, Task
from wvo_mcp.domain.wsjf import (
    NO_PATH,
    Dependent,
    Why,
    bundle,
    explain,
    path_step,
    path_value,
    score,
    share,
    time_criticality,
    weight,
)

NOW = datetime(2027, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.requirement("SCHED-1")


def alone(**given: Any) -> Why:
    """Of a task for which nobody waits, with one agent."""
    plain: dict[str, Any] = {"priority": Priority.MEDIUM, "business_value": None, "complexity": 1, "tail": 5}
    plain |= {"bundle_value": 0, "bundle_size": given.get("complexity", 1)}
    due_at, step = given.pop("due_at", None), given.pop("step", NO_PATH)
    return explain(Task.model_construct(**plain | given), step, due_at, NOW)


@pytest.mark.parametrize(
    ("priority", "value"),
    [(Priority.CRITICAL, 15), (Priority.HIGH, 10), (Priority.MEDIUM, 5), (Priority.LOW, 1)],
)
def test_priority_gives_the_business_value_that_a_task_does_not_state(priority: Priority, value: float) -> None:
    why = alone(priority=priority)

    assert (why.business_value, why.score, weight(priority, None, None, NOW)) == (value, value, value)


def test_a_stated_business_value_counts_even_when_it_is_zero() -> None:
    assert alone(priority=Priority.CRITICAL, business_value=0, complexity=2).score == 0


@pytest.mark.parametrize(("days", "value"), [(0, 10.0), (7, 5.0), (3.5, 10 / 1.5), (63, 1.0), (-30, 10.0)])
def test_time_criticality_halves_in_a_week_and_never_exceeds_ten(days: float, value: float) -> None:
    assert time_criticality(NOW + timedelta(days=days), NOW) == pytest.approx(value)


def test_without_a_due_date_nothing_is_urgent() -> None:
    assert time_criticality(None, NOW) == 0


@pytest.mark.parametrize(
    ("awaits", "part"),
    [(1, 1), (2, 1 / 2), (3, 1 / 4), (4, 1 / 4), (5, 1 / 8), (33, 1 / 64), (64, 1 / 64), (65, 0), (5_000, 0)],
)
def test_a_dependent_is_divided_by_the_power_of_two_above_what_it_waits_for(awaits: int, part: float) -> None:
    assert share(awaits) == part


def test_the_worked_example_of_two_agents_comes_out_to_the_digit() -> None:
    step = path_step(agents=2, open_size=15)
    b, c = Dependent(15, 3, awaits=1, seq=2), Dependent(10, 2, awaits=2, seq=3)
    bundles = {
        "A": bundle(1, 2, [b, c]), "B": bundle(15, 3, []), "C": bundle(10, 2, []), "D": bundle(5, 4, [c]),
        "E": bundle(10, 4, []),
    }  # fmt: skip

    assert 2 ** (step / 2) == 0.0625
    assert bundles == {"A": (21, 6), "B": (15, 3), "C": (10, 2), "D": (10, 5), "E": (10, 4)}
    tails = {"A": 5, "B": 3, "C": 2, "D": 6, "E": 4}
    assert {name: score(*bundles[name], tails[name], step) for name in tails} == {
        "A": 3.8906, "B": 5.1406, "C": 5.0625, "D": 2.5625, "E": 2.75
    }  # fmt: skip
    assert bundle(5, 4, [c._replace(awaits=1)]) == (15, 6)


def test_what_would_water_a_bundle_down_stays_out_of_it() -> None:
    equal, worse = Dependent(5, 1, awaits=1, seq=1), Dependent(4, 1, awaits=1, seq=2)

    assert bundle(10, 2, [worse, equal]) == (10, 2)


def test_a_bundle_ends_at_sixty_points_and_skips_tasks_with_many_dependencies() -> None:
    many = [Dependent(100, 10, awaits=1, seq=n) for n in range(10)]

    assert bundle(1, 5, many) == (501, 55)
    assert bundle(1, 5, [Dependent(100, 1, awaits=65, seq=1), Dependent(9, 1, awaits=1, seq=2)]) == (10, 6)


def test_of_equal_dependents_the_older_goes_into_the_bundle() -> None:
    older, younger = Dependent(40, 40, awaits=1, seq=1), Dependent(20, 20, awaits=1, seq=2)

    assert bundle(1, 5, [younger, older]) == (41, 45)


@pytest.mark.parametrize(
    ("agents", "open_size", "step"), [(1, 100, NO_PATH), (3, 0, NO_PATH), (2, 15, -8), (3, 15, -6), (9, 8, 0)]
)
def test_the_step_of_the_path_follows_hands_for_the_work_left(agents: int, open_size: int, step: int) -> None:
    assert path_step(agents, open_size) == step


def test_the_longest_path_adds_ten_at_most_and_nothing_for_one_agent() -> None:
    assert [path_value(tail, -8) for tail in (0, 5, 6)] == [0, 0.390625, 0.5625]
    assert path_value(1000, -2) == 10
    assert round(path_value(1000, NO_PATH), 9) == 0


def test_the_parts_add_up_to_the_score_at_four_places() -> None:
    due = NOW + timedelta(days=10)
    own = weight(Priority.HIGH, None, due, NOW)
    value, size = bundle(own, 3, [Dependent(30, 3, awaits=2, seq=1)])

    why = alone(
        priority=Priority.HIGH, complexity=3, bundle_value=value, bundle_size=size, tail=6, step=-8, due_at=due
    ).rounded()

    assert why.model_dump() == {
        "business_value": 10,
        "time_criticality": round(10 / (1 + 10 / 7), 4),
        "unlock_value": 15,
        "complexity": 3,
        "unlock_size": 1.5,
        "path_value": 0.5625,
    }
    assert why.score == score(value, size, 6, -8)
