"""The order of work deserves its name: on no shape of plan does the ranking cost more delay than first come, first served.

What is promised is the mean: single plans can come out the other way, and where all must be done before anything is worth
something the two are equal.
"""

from statistics import fmean

import pytest

from tests.orchestration.simulation.conftest import Plans
from tests.support.clock import START
from tests.support.list_scheduling import cost_of_delay
from tests.support.scale import sized
from tests.support.shapes import SHAPES, Drawn, drawn
from wvo_mcp.domain.lease import Policy
from wvo_mcp.faces.cli.simulate import simulated
from wvo_mcp.orchestration.simulation.scenario import PoolAgent, Scenario
from wvo_mcp.orchestration.simulation.tally import Order
from wvo_mcp.orchestration.tasks.editing import Draft

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCHED-1")]

AT_MOST = 1.01


@pytest.mark.parametrize("agents", [2, 4])
@pytest.mark.parametrize("dated", [False, True], ids=["undated", "dated"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_ranking_costs_no_more_delay_than_first_come_first_served(shape: str, dated: bool, agents: int) -> None:
    plans = [(seed, drawn(shape, seed, dated=dated)) for seed in range(sized(200, 8))]

    ratios = [
        cost_of_delay(plan, agents, seed, ranked=True) / cost_of_delay(plan, agents, seed, ranked=False)
        for seed, plan in plans
    ]

    assert fmean(ratios) <= AT_MOST


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_products_own_simulation_gives_out_the_same_tasks_in_the_same_order(shape: str, plans: Plans) -> None:
    """One agent, who never waits; due dates are left out, for the two look at the clock at different times."""
    plan = drawn(shape, 1, dated=False)
    alone = Scenario((PoolAgent("a"),), Policy(wip_limit=4), seed=1, failure=0.0, death=0.0)

    store = await plans.of(*(a_draft(plan, place) for place in range(len(plan.waits))), agents=4)
    outcome = await simulated(store, alone, Order.WSJF, START)

    assert outcome.done == len(plan.waits)
    expected = cost_of_delay(plan, 1, 1, ranked=True, wip_limit=4)
    assert outcome.cost_of_delay == pytest.approx(expected, rel=1e-4)


def a_draft(plan: Drawn, place: int) -> Draft:
    parent = plan.parents.get(place)
    on = [f"T{other}" for other in plan.waits[place] if plan.parents.get(other) != place]
    fields = {"title": f"Step {place}", "priority": plan.priorities[place], "complexity": plan.sizes[place]}
    return Draft(f"T{place}", fields, on, None if parent is None else f"T{parent}")
