"""What Claude Code used, counted from its transcripts into the budgets."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.orchestration.routing.test_routed_claims import configured
from tests.support.bench import ANN, Bench, a_task
from tests.support.providers import limited
from wvo_mcp.domain.providers.catalogue import Limits
from wvo_mcp.domain.providers.signals.reading import Message, Part
from wvo_mcp.orchestration.routing.reporting import count_transcripts

pytestmark = pytest.mark.anyio

PATH = Path("transcript.jsonl")
ONCE = Message("m1", "claude-high", 1_000, 500, 10_000, 40)
AGAIN = Message("m2", "unheard-of", 7, 7, 0, 80)


async def count(bench: Bench, *messages: Message, path: Path = PATH, begun: list[int] | None = None) -> int:
    assert bench.services.providers is not None
    caller = replace(ANN, provider="claude")

    def read(_: Path, begin: int) -> Part:
        if begun is not None:
            begun.append(begin)
        found: Mapping[str, Message] = {one.id: one for one in messages if one.ends > begin}
        return Part(found, messages[-1].ends)

    return await count_transcripts(bench.services.store, caller, bench.services.providers, [path], read)


@pytest.mark.requirement("PROV-3")
async def test_a_session_counts_once_for_provider_tier_agent_and_task(bench: Bench) -> None:
    desk = configured(bench, limited("claude", Limits(hourly=100_000)))
    desk.workers = False
    await desk.create(a_task("T"))
    await desk.claim(replace(ANN, provider="claude"))

    assert await count(desk, ONCE) == 2_500  # what was read from the cache weighs a tenth
    assert await count(desk, ONCE) == 0
    assert await count(desk, ONCE, AGAIN) == 14
    begun: list[int] = []
    for _ in "12":
        assert await count(desk, ONCE, AGAIN, path=Path("a copy of it"), begun=begun) == 0
    assert begun == [0, AGAIN.ends]

    state = await desk.read(lambda tx: tx.routing.state("ann"))
    assert {key: use.day for key, use in state.uses.items() if use.day} == {
        ("claude", "high"): 2_500,
        ("claude", ""): 14,
    }
    assert (state.providers["claude"].attempts, state.agent.day) == (1, 2_514)
    assert (await desk.read(lambda tx: tx.routing.used_by_task("T"))).day == 2_514
    assert state.providers["claude"].cost > 0


@pytest.mark.requirement("PROV-3")
async def test_a_budget_that_a_session_used_up_stops_the_next_claim(bench: Bench) -> None:
    desk = configured(bench, limited("claude", Limits(hourly=2_000)))
    desk.workers = False
    await desk.create(a_task("T", type="generation"))
    await count(desk, ONCE)

    claim = await desk.claim(replace(ANN, provider="claude"))

    assert "the hour's budget of provider claude is used up" in claim["route"]["reason"]


@pytest.mark.requirement("PROV-5", "PROV-3")
async def test_nothing_reported_is_not_told_as_nothing_used(bench: Bench) -> None:
    desk = configured(bench, limited("claude", Limits(hourly=100_000)))

    async def reported() -> tuple[bool, bool]:
        line = next(one for one in (await desk.call("provider_status"))["providers"] if one["name"] == "claude")
        return line["reported"], line["windows"][0]["reported"]

    assert await reported() == (False, False)
    await count(desk, ONCE)
    assert await reported() == (True, True)
