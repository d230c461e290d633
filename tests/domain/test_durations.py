import random
from datetime import UTC, datetime, timedelta
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvo_mcp.domain.durations import ENOUGH, PRIOR_SECONDS_PER_POINT, busy_share, learned

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.requirement("SCHED-5")
def test_what_was_seen_often_enough_speaks_for_itself() -> None:
    model = learned([(3, 100.0)] * ENOUGH + [(8, 5_000.0)] * (ENOUGH - 1))

    assert set(model.left(3)) == {100.0}
    assert model.expected(8) == 5_000.0
    assert len(set(model.left(8))) == 2  # one is filled up from what all show


@pytest.mark.requirement("SCHED-5")
def test_before_anything_was_seen_an_hour_is_assumed_for_the_default() -> None:
    model = learned([])

    assert model.seen == {}
    assert model.expected(5) == pytest.approx(5 * PRIOR_SECONDS_PER_POINT, rel=0.1)
    assert model.expected(10) == pytest.approx(2 * model.expected(5))


@pytest.mark.requirement("SCHED-5")
def test_few_tasks_move_the_expectation_toward_them_and_many_reach_it() -> None:
    before = learned([]).expected(5)
    few, many = (learned([(5, 60.0)] * count).expected(5) for count in (5, 15))

    assert before > few >= many == 60.0


@given(st.lists(st.tuples(st.integers(1, 10), st.floats(0, 1e6)), max_size=60), st.integers(1, 10), st.floats(0, 2e6))
def test_what_is_left_is_never_negative_and_never_nothing(
    finished: list[tuple[int, float]], complexity: int, spent: float
) -> None:
    left = learned(finished).left(complexity, spent)

    assert left == sorted(left)
    assert left[0] >= 0


def test_a_task_that_has_lasted_long_is_expected_to_last_on() -> None:
    chance = random.Random(1)
    model = learned([(5, chance.lognormvariate(8, 1)) for _ in range(300)])

    assert model.expected(5, spent=2 * median(model.left(5))) > 0
    assert model.left(5, spent=1e12) == model.left(5)


def test_the_busy_share_is_that_of_the_clock_in_which_something_ran() -> None:
    def hours(start: float, end: float) -> tuple[datetime, datetime]:
        return NOW - timedelta(hours=start), NOW - timedelta(hours=end)

    assert busy_share([], NOW) is None
    assert busy_share([hours(5, 0)], NOW) is None
    assert busy_share([hours(48, 36), hours(40, 36), hours(12, 0)], NOW) == pytest.approx(0.5)
