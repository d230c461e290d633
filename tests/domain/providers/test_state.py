"""Windows: when there is room again is what minute-by-minute counting finds."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import START
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.providers.catalogue import Limits
from wvo_mcp.domain.providers.state import RoutingState, Use, Window, free_at, tightest, windows_of

pytestmark = pytest.mark.requirement("PROV-3")

USES = st.lists(st.tuples(st.integers(0, 61 * 60), st.integers(0, 50)), max_size=12)


def hour(used: int, limit: int, reserved: int) -> Window:
    return Window("provider", "p", "hour", limit, 0, used, reserved)


@given(USES, st.integers(1, 150), st.integers(0, 60), st.integers(0, 40), st.integers(0, 59))
def test_there_is_room_at_the_time_that_is_told_and_not_a_minute_before(
    uses: list[tuple[int, int]], limit: int, estimate: int, reserved: int, second: int
) -> None:
    now = START.replace(second=second)
    spent = [(iso(now - timedelta(seconds=ago))[:16], tokens) for ago, tokens in uses]

    def used(at_minutes: int) -> int:
        """As the store sums it up so many minutes after the beginning of this one."""
        at = START + timedelta(minutes=at_minutes) if at_minutes else now
        return sum(tokens for minute, tokens in spent if minute >= iso(at - timedelta(hours=1))[:16])

    counted = [one for one in spent if one[0] >= iso(now - timedelta(hours=1))[:16]]
    minutes: dict[str, int] = {}
    for minute, tokens in sorted(counted):
        minutes[minute] = minutes.get(minute, 0) + tokens
    by_counting = next((n for n in range(63) if hour(used(n), limit, reserved).has_room(estimate)), None)

    told = free_at(hour(used(0), limit, reserved), list(minutes.items()), estimate, now)

    if by_counting is None:
        assert told is None
    else:
        assert told == (START + timedelta(minutes=by_counting) if by_counting else now)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100), st.integers(1, 100), st.integers(0, 50))
def test_an_attempt_begins_while_its_estimate_fits_or_nothing_is_taken(
    used: int, reserved: int, estimate: int, limit: int, more: int
) -> None:
    limits, use = Limits(hourly=limit, daily=limit + 7), Use(used, used, reserved=reserved)
    state = RoutingState(START, raises={("provider", "p", "hour"): more})

    hourly, daily = windows_of("provider", "p", limits, use, state)

    for window, most in ((hourly, limit + more), (daily, limit + 7)):
        taken = used + reserved
        assert window.has_room(estimate) == (taken == 0 or (taken < most and taken + estimate <= most))
        assert window.left == max(0, most - taken)


def test_the_day_is_free_at_midnight_unless_running_work_holds_it() -> None:
    day = Window("agent", "ann", "day", 100, 0, 100, 0)
    held = Window("agent", "ann", "day", 100, 0, 10, 100)

    assert free_at(day, [], 50, START) == START.replace(hour=0) + timedelta(days=1)
    assert free_at(held, [], 50, START) is None
    assert tightest([day, held]) is held
    assert tightest([]) is None
