"""The score against the formula of the contract, written out by hand."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from wvo_mcp.domain.task import Priority
from wvo_mcp.domain.wsjf import UNLOCK_CAP, explain, time_criticality, unlock_value

NOW = datetime(2027, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.requirement("SCHED-1")


@pytest.mark.parametrize(
    ("priority", "value"),
    [(Priority.CRITICAL, 15), (Priority.HIGH, 10), (Priority.MEDIUM, 5), (Priority.LOW, 1)],
)
def test_priority_gives_the_business_value_that_a_task_does_not_state(priority: Priority, value: float) -> None:
    why = explain(priority=priority, business_value=None, complexity=1, unlock_count=0, due_at=None, now=NOW)

    assert (why.business_value, why.score) == (value, value)


def test_a_stated_business_value_counts_even_when_it_is_zero() -> None:
    why = explain(priority=Priority.CRITICAL, business_value=0, complexity=2, unlock_count=0, due_at=None, now=NOW)

    assert why.score == 0


@pytest.mark.parametrize(("days", "value"), [(0, 10.0), (7, 5.0), (3.5, 10 / 1.5), (63, 1.0), (-30, 10.0)])
def test_time_criticality_halves_in_a_week_and_never_exceeds_ten(days: float, value: float) -> None:
    assert time_criticality(NOW + timedelta(days=days), NOW) == pytest.approx(value)


def test_without_a_due_date_nothing_is_urgent() -> None:
    assert time_criticality(None, NOW) == 0


@pytest.mark.parametrize(("waiting", "value"), [(0, 0.0), (1, 1.0), (3, 2.0), (1023, 10.0), (5000, 10.0)])
def test_unlock_value_is_the_logarithm_of_what_waits_up_to_ten(waiting: int, value: float) -> None:
    assert unlock_value(waiting) == value
    assert unlock_value(UNLOCK_CAP) == 10.0


def test_the_score_is_the_sum_over_the_complexity_at_four_places() -> None:
    due = NOW + timedelta(days=10)

    why = explain(priority=Priority.HIGH, business_value=None, complexity=3, unlock_count=6, due_at=due, now=NOW)

    assert why.score == round((10 + 10 / (1 + 10 / 7) + math.log2(7)) / 3, 4)
    assert why.rounded().unlock_value == round(math.log2(7), 4)
