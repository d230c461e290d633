"""Plans in stores that simulations are tried on."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from tests.support.clock import START
from wvo_mcp.domain.task import Origin
from wvo_mcp.faces.cli.simulate import loaded
from wvo_mcp.orchestration.tasks.creation import Draft, create
from wvo_mcp.ports import Transaction
from wvo_mcp.store.sqlite.scratch import ScratchStore

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
