"""Launches that ended badly, on record."""

import pytest

from tests.support.bench import Bench, a_task
from tests.support.launches import launch
from tests.support.providers import FixedProviders, only
from wvo_mcp.domain.agents import AgentEvent, EventKind, Status, Use
from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.recovery import Act, Corrections, Remedy
from wvo_mcp.domain.worker import Worker
from wvo_mcp.orchestration.pool import recovery
from wvo_mcp.orchestration.pool.spending import Caps, Ledger

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-5")]

CLAUDE = FixedProviders(only("claude"))
CRASH = AgentEvent(EventKind.STOP, "it ended with code 139", status=Status.FAILED)


async def after(bench: Bench, worker: Worker, stop: AgentEvent | None, before: Corrections) -> Remedy:
    return await bench.write(
        lambda tx: recovery.recovered(tx, worker, ProviderKind.CLAUDE, stop, None, before, ["/w"], resumed=True)
    )


async def test_each_action_is_recorded_until_a_person_has_to_look(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = (await launch(bench, CLAUDE)).started
    before = Corrections()
    for _ in range(4):
        found = await after(bench, worker, CRASH, before)
        before = found.corrections
    events = await bench.read(lambda tx: tx.events.of_task("A", 20))
    told = [(one.data["act"], one.data["trigger"], one.data["try"]) for one in events if one.kind == "worker.recovery"]
    assert told == [
        ("relaunch", "crashed", 1),
        ("fresh", "crashed", 2),
        ("fresh", "crashed", 3),
        ("give_up", "crashed", 3),
    ]
    assert (await bench.task("A")).attempts == 0


async def test_a_task_that_its_worker_has_lost_is_not_launched_again(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = (await launch(bench, CLAUDE)).started
    stale = worker.model_copy(update={"lease_token": worker.lease_token - 1})
    assert (await after(bench, stale, CRASH, Corrections())).act is Act.NOT_MINE
    assert (await after(bench, worker, None, Corrections())).act is Act.RELAUNCH, "it ended without a word"


async def test_what_an_earlier_process_used_is_not_forgotten_by_the_next(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = (await launch(bench, CLAUDE)).started
    ledger = Ledger(CLAUDE, Caps(worker=1.0), worker)
    assert ledger.add(Use(tokens_in=100, tokens_out=10, cost=0.6)) is None
    ledger.relaunched()
    assert ledger.add(Use(tokens_in=50, tokens_out=5, cost=0.3)) is None
    assert (ledger.use.tokens_in, ledger.use.tokens_out, round(ledger.cost, 6)) == (150, 15, 0.9)
    assert ledger.add(Use(tokens_in=60, tokens_out=6, cost=0.5)) is not None
