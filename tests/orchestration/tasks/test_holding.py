"""An agent that lost its context finds its work again."""

import pytest

from tests.support.bench import ANN, Bench, a_task

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CLAIM-3")
async def test_an_agent_at_its_limit_is_told_what_it_holds(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    claimed = await bench.claim(ANN)

    answer = await bench.claim(ANN)

    assert answer["task"] is None
    assert answer["reason"] == "agent_wip_limit"
    assert answer["holding"] == [{"id": "T1", "lease": claimed["lease"]}]
