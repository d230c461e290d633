"""A hundred thousand tasks and a thousand agents, with failures and agents that die. How long it takes is measured by
`scripts/bench`."""

import pytest

from tests.support.clock import START
from tests.support.dag import random_tasks
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.task import Origin
from wvo_mcp.orchestration.simulation.engine import Simulation
from wvo_mcp.orchestration.simulation.scenario import PoolAgent, Scenario, VirtualClock, VirtualServers
from wvo_mcp.orchestration.tasks.creation import Draft, create
from wvo_mcp.store.virtual.store import VirtualStore

pytestmark = pytest.mark.anyio


@pytest.mark.drill
@pytest.mark.requirement("SCHED-5")
async def test_a_hundred_thousand_tasks_are_worked_through_to_the_end() -> None:
    items = random_tasks(100_000, seed=1, epics=[f"E{number}" for number in range(50)], breadth=20_000)
    drafts = [Draft(item.pop("id"), item, item.pop("depends_on")) for item in items]
    clock, servers = VirtualClock(START), VirtualServers()
    store = VirtualStore(clock, servers, kept=True, agents=1_000)
    crew = tuple(PoolAgent(f"a{number}") for number in range(1_000))

    await store.write(Caller("loader", "loader/1", durable=True), lambda tx: create(tx, drafts, Origin.ROADMAP))
    outcome = await Simulation(store, clock, servers, Scenario(crew, Policy(wip_limit=1_000))).run()

    assert outcome.tasks == 100_000
    assert outcome.done + outcome.failed + outcome.left["dependencies"] == 100_000
    assert outcome.done > 95_000
    assert outcome.attempts_failed > 3_000 and outcome.agents_lost > 500 and outcome.leases_expired > 500
    assert outcome.utilisation > 0.8
