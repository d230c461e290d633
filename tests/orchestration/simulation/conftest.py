"""Plans in stores that simulations are tried on."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from tests.support.clock import START
from wvo_mcp.domain.durations import Durations
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.task import Origin
from wvo_mcp.faces.cli.simulate import loaded
from wvo_mcp.orchestration.outlook import analyzed, read
from wvo_mcp.orchestration.simulation.engine import Simulation
from wvo_mcp.orchestration.simulation.scenario import PoolAgent, Scenario, VirtualClock, VirtualServers
from wvo_mcp.orchestration.simulation.tally import Order, Outcome, scores_of
from wvo_mcp.orchestration.tasks.editing import Draft, create
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.store.sqlite.scratch import ScratchStore

READER = Caller("reader", "reader/1", durable=True)
AN_HOUR_A_POINT = Durations(values={points: [points * 3_600.0] for points in range(1, 11)})
Put = Callable[[Transaction], Awaitable[object]]


class Plans:
    """Makes stores, and closes them at the end of the test."""

    def __init__(self) -> None:
        self.stores: list[ScratchStore] = []

    async def of(self, *drafts: Draft, agents: int) -> ScratchStore:
        return await self.made(lambda tx: create(tx, drafts, Origin.ROADMAP), agents=agents)

    async def made(self, put: Put, *, agents: int) -> ScratchStore:
        self.stores.append(await loaded(put, START, agents))
        return self.stores[-1]


@pytest.fixture
async def plans() -> AsyncGenerator[Plans]:
    made = Plans()
    yield made
    for store in made.stores:
        await store.close()


def crew(count: int) -> tuple[PoolAgent, ...]:
    return tuple(PoolAgent(f"a{number}") for number in range(count))


def exact(agents: int, **fields: Any) -> Scenario:
    """Everything takes as long as it says, and nothing goes wrong."""
    sure: dict[str, Any] = {"durations": AN_HOUR_A_POINT, "failure": 0.0, "death": 0.0}
    return Scenario(crew(agents), Policy(wip_limit=agents), **{**sure, **fields})


async def played(store: ScratchStore, scenario: Scenario, order: Order = Order.WSJF) -> tuple[list[str], Outcome]:
    """The tasks in the order of their claims, and the outcome."""
    clock, servers = VirtualClock(START), VirtualServers()
    medians = {points: scenario.durations.expected(points) for points in range(1, 11)}
    scores = scores_of(order, analyzed(await read(store, READER)).work, medians)
    claimed: list[str] = []

    async def run(inside: Store) -> Outcome:
        simulation = Simulation(inside, clock, servers, scenario, order=order.value)
        outcome = await simulation.run()
        claimed.extend(task_id for _, _, task_id in simulation.claimed)
        return outcome

    return claimed, await store.trial(run, clock, servers, scores)
