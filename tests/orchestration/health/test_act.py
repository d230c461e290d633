"""Remedies when their turn comes: judged anew, and not too many at once."""

from dataclasses import replace

import pytest

from tests.support.bench import ANN, Bench, a_task
from tests.support.sessions import an_agent
from tests.support.watching import loop_of, seated
from wvo_mcp.domain.health import Thresholds
from wvo_mcp.orchestration.health.act import act
from wvo_mcp.orchestration.health.decide import decide
from wvo_mcp.orchestration.health.observe import observe
from wvo_mcp.orchestration.health.orient import orient
from wvo_mcp.ports import Transaction

pytestmark = pytest.mark.anyio

WATCH = an_agent("watch")


@pytest.mark.requirement("HEALTH-2")
async def test_a_remedy_checks_the_age_again_when_its_turn_comes(bench: Bench) -> None:
    await bench.create(a_task("T1"))
    await bench.claim(ANN, lease_seconds=60)
    bench.servers.kill(ANN.session_id)
    bench.clock.advance(minutes=20)
    post = await seated(bench, WATCH)
    limits = Thresholds()
    meant = orient(await observe(post, WATCH, limits, None, count=True), limits)
    decision = decide(meant, limits)
    assert [remedy.subject for remedy in decision.remedies] == ["T1", "ann"]

    patient = replace(limits, stale_seconds=3_600)
    deeds = await act(post, meant, decision, patient, bench.policy)

    assert deeds[0].result == "skipped"
    assert await bench.status("T1") == ["in_progress"]


@pytest.mark.requirement("HEALTH-2")
async def test_more_than_a_hundred_remedies_are_spread_over_cycles(bench: Bench) -> None:
    async def gone(tx: Transaction) -> None:
        for number in range(130):
            await tx.sessions.touch_agent(f"gone-{number}")

    await bench.write(gone)
    bench.clock.advance(minutes=20)
    loop = loop_of(bench)

    cycles = [await loop.cycle(await seated(bench, WATCH)) for _ in range(3)]

    assert [len(cycle.done) for cycle in cycles] == [100, 30, 0]
