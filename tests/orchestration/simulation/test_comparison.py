"""Orders of work over many seeds: means, intervals, and who was better how often."""

from dataclasses import replace

import pytest

from wvo_mcp.orchestration.simulation.tally import Estimate, Outcome, compared, estimate

EMPTY = Outcome("", 1, 1, 0, 0, 0, 0, {}, 0.0, 0.0, 0.0, 0.0, 0.0, {}, 0.0, 0.0, [], 0, 0, 0, 0, [])


def outcomes(order: str, *costs: float) -> list[Outcome]:
    return [replace(EMPTY, order=order, seed=seed, cost_of_delay=cost) for seed, cost in enumerate(costs, 1)]


def test_an_interval_is_that_of_students_t() -> None:
    assert estimate([1.0, 2.0, 3.0, 4.0, 5.0]) == Estimate(3.0, 1.963)
    assert estimate([7.0, 7.0]) == Estimate(7.0, 0.0)
    assert estimate([0.0, 1.0] * 50).margin == pytest.approx(0.0997, abs=0.0005)


def test_differences_are_taken_seed_by_seed_against_the_first_order() -> None:
    """Seeds differ by far more than orders do, and that widens no difference."""
    found = compared(
        {
            "fifo": outcomes("fifo", 100, 1_000, 10_000),
            "wsjf": outcomes("wsjf", 90, 900, 9_000),
            "other": outcomes("other", 90, 1_100, 10_000),
        }
    )

    assert list(found) == ["fifo", "wsjf", "other"]
    first, second, third = (found[order]["cost_of_delay"] for order in found)
    assert second.value.mean == 3_330
    assert second.difference_percent == Estimate(-10.0, 0.0)
    assert first.difference_percent is None
    assert [(one.better, one.best) for one in (first, second, third)] == [(0, 0), (3, 3), (1, 1)]


def test_a_plan_without_tasks_is_compared_as_well() -> None:
    found = compared({"fifo": outcomes("fifo", 0, 0), "wsjf": outcomes("wsjf", 0, 0)})

    assert found["wsjf"]["cost_of_delay"].difference_percent == Estimate(0.0, 0.0)
