"""One cycle by hand: who may act."""

import pytest

from tests.support.bench import ANN, BOB, Bench
from tests.support.sessions import an_agent
from tests.support.watching import abandoned, loop_of, seated
from wvo_mcp.orchestration.leader import LEASE_SECONDS, Candidate

pytestmark = pytest.mark.anyio

WATCH = an_agent("watch")


@pytest.mark.requirement("HEALTH-1")
async def test_health_run_on_the_leader_acts_until_another_server_leads(bench: Bench) -> None:
    loop = loop_of(bench)
    term = await seated(bench, WATCH)
    await loop.jobs()[0].run(term)  # this server leads
    await abandoned(bench, "T1")
    await Candidate(bench.store, lambda: WATCH, bench.clock).seek()

    made = await loop.by_hand(bench.store, BOB)

    assert [one.subject for one in made.done if one.action == "return_to_queue"] == ["T1"]
    bench.clock.advance(seconds=LEASE_SECONDS + 1)
    await seated(bench, ANN)
    again = await loop.by_hand(bench.store, BOB)
    assert again.leader == ANN.session_id
    assert not again.done
