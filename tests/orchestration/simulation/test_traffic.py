"""A day of traffic: what must hold at every moment of it, and what routing is worth."""

import pytest

from scripts.benchmarks.traffic import STEERINGS, live
from wvo_mcp.orchestration.simulation.traffic_figures import Figures


@pytest.fixture(scope="module")
def day() -> dict[str, Figures]:
    """The published one."""
    figures = [live(1, steering) for steering in STEERINGS]
    return {one.name: one for one in figures}


@pytest.mark.requirement("PROV-3")
@pytest.mark.requirement("PROV-4")
@pytest.mark.parametrize("seed", [2, 3])
def test_nothing_begins_on_a_used_up_limit_nor_at_an_open_breaker(seed: int) -> None:
    routed = live(seed, STEERINGS[0])

    assert (routed.unpaid_claims, routed.misrouted, routed.abroad) == (0, 0, 0)
    assert routed.unpaid < 15  # whose provider failed goes on elsewhere, whatever is left there
    assert routed.done == routed.tasks == 700
    assert routed.beyond < 0.05 * routed.tokens  # what ran when the limit of the day was reached went on
    assert routed.in_vain < 50 and routed.failovers > 20 and routed.withheld > 100


@pytest.mark.requirement("PROV-2")
@pytest.mark.requirement("PROV-4")
def test_routing_beats_what_is_done_without_it(day: dict[str, Figures]) -> None:
    routed, boundless = day["routed"], day["routed, no limits of the day"]
    turns, one = day["round-robin"], day["one provider, retry every minute"]

    assert (routed.unpaid_claims, routed.misrouted, routed.abroad, boundless.misrouted) == (0, 0, 0, 0)
    assert 5 * routed.in_vain < turns.in_vain and 50 * routed.in_vain < one.in_vain
    assert 2 * routed.lost < turns.lost and 10 * routed.lost < one.lost
    assert 4 * routed.beyond < turns.beyond < one.beyond
    assert routed.cost < 0.7 * one.cost and 4 * routed.wait_95 < one.wait_95
    assert boundless.cost < turns.cost  # it chooses the cheapest that is enough, where it may
    assert abs(routed.share_cloud - 70) < 5 < abs(turns.share_cloud - 70)
    assert turns.abroad and one.abroad and turns.unpaid and one.unpaid


@pytest.mark.requirement("PROV-2")
def test_the_same_day_goes_the_same_way(day: dict[str, Figures]) -> None:
    assert live(1, STEERINGS[0]) == day["routed"]
