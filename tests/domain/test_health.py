"""What is usual, what grows, and which tasks wait for each other."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvo_mcp.domain.dependency import find_cycle, knotted
from wvo_mcp.domain.health import Held, Hour, Thresholds, baseline, rising

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
THIS_HOUR = NOW.replace(minute=0)


def hours(*completed: int, apart: timedelta = timedelta(hours=1), working: int = 60) -> list[Hour]:
    """Past ones, the latest first."""
    return [Hour(THIS_HOUR - apart * (n + 1), found, 60, working) for n, found in enumerate(completed)]


@pytest.mark.requirement("HEALTH-1")
def test_the_baseline_is_the_same_hour_of_past_weeks_else_recent_hours_else_none() -> None:
    weeks = hours(40, 44, 42, apart=timedelta(weeks=1))
    recent = hours(10, 10, 12, 9, 11, 10)

    usual = baseline([*weeks, *recent], NOW)
    assert usual is not None
    assert (usual.usual, usual.hours, usual.of) == (42, 3, "this hour of the week")
    usual = baseline([*weeks[:2], *recent], NOW)
    assert usual is not None
    assert usual.of == "recent hours"
    assert baseline([*weeks[:2], *recent[:3]], NOW) is None
    assert baseline(hours(9, 9, 9, 9, 9, 9, working=0), NOW) is None, "hours without work say nothing"
    assert baseline([*hours(9, 9, 9, 9, 9), Hour(THIS_HOUR, 9, 30, 30)], NOW) is None, "this hour is not over"


@pytest.mark.requirement("HEALTH-1")
def test_one_outlier_changes_nothing_and_scattered_hours_leave_more_room() -> None:
    usual = baseline(hours(10, 11, 9, 10, 500, 10, 0, 10, 10), NOW)
    assert usual is not None
    assert (usual.usual, usual.deviation) == (10, 0)
    scattered = baseline(hours(2, 0, 1, 3, 2, 4, 0), NOW)
    assert scattered is not None
    assert scattered.lowest < 0, "a quiet team is not woken by an hour with nothing"


@pytest.mark.requirement("HEALTH-1")
@pytest.mark.parametrize(
    ("depths", "cycles"),
    [
        ([], 0),
        ([3], 0),
        ([0, 1, 2, 3, 4, 5], 5),
        ([5, 5, 5, 5, 6, 7, 8, 9, 10], 5),
        ([0, 1, 2, 3, 2, 3], 1),
        ([*range(100)], 99),
        ([10, 4, 15, 3, 12, 5, 14, 6, 7, 8, 9, 10, 11], 0),  # within what it does anyway
        ([10, 4, 15, 3, 12, 5, 14, 6, 40, 80, 120, 160, 200], 5),
    ],
)
def test_growth_must_exceed_the_ordinary_scatter_of_the_queue(depths: list[int], cycles: int) -> None:
    assert rising(depths) == cycles


@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), max_size=40))
def test_what_is_left_of_a_graph_is_what_waits_for_a_cycle(edges: list[tuple[int, int]]) -> None:
    left = knotted([a for a, _ in edges], [b for _, b in edges])

    waits: dict[int, list[int]] = {}
    for a, b in edges:
        waits.setdefault(a, []).append(b)
    reach = {node: _reached(waits, node) for node in waits}
    on_cycles = {node for node, there in reach.items() if node in there}
    assert set(left) == {node for node, there in reach.items() if there & on_cycles}
    assert (find_cycle(left) is None) == (not on_cycles)


def _reached(waits: dict[int, list[int]], start: int) -> set[int]:
    found: set[int] = set()
    todo = list(waits.get(start, ()))
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo += waits.get(node, ())
    return found


def test_what_others_write_after_a_session_has_ended_is_no_sign_of_its_life() -> None:
    held = Held(
        "T", "ann", "s", 1, NOW, 600, last_sign=NOW, ended_at=NOW - timedelta(minutes=11), durable=False, alive=False
    )

    assert held.stale_seconds(NOW, Thresholds()) == 660
