"""An agent that lost its context finds its work again."""

from typing import Any

import pytest

from tests.support.bench import ANN, Bench, a_task
from wvo_mcp.errors import StaleLease

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("CLAIM-3")
async def test_an_agent_at_its_limit_is_told_what_it_holds(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2"))
    claimed = await bench.claim(ANN)

    answer = await bench.claim(ANN)

    assert answer["task"] is None
    assert answer["reason"] == "agent_wip_limit"
    assert answer["holding"] == [{"id": "T1", "lease": claimed["lease"]}]


@pytest.mark.requirement("CORE-7")
@pytest.mark.parametrize(("tool", "fields"), [("checkpoint", {"summary": "half"}), ("heartbeat", {})])
async def test_a_note_on_a_task_that_nobody_claimed_says_to_claim_it(
    bench: Bench, tool: str, fields: dict[str, Any]
) -> None:
    await bench.create(a_task("T1"))

    with pytest.raises(StaleLease) as refused:
        await bench.call(tool, task_id="T1", **fields)

    assert str(refused.value) == "Task T1 is pending and not claimed by you; this write changed nothing."
    assert "claim_task" in refused.value.hint
