"""What streams from workers reaches the store once it can be reached, the last value of each column, and all that was used."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.bench import Bench, a_task
from tests.support.launches import launch
from tests.support.providers import FixedProviders, only
from wvo_mcp.domain.agents import Use
from wvo_mcp.domain.worker import WorkerState
from wvo_mcp.errors import StoreUnavailable
from wvo_mcp.orchestration.pool.sink import Sink
from wvo_mcp.orchestration.pool.spending import Caps, Ledger

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-10")]

CLAUDE = FixedProviders(only("claude"))


class Unreliable:
    """The bench's store, which can be away; `writes` counts transactions."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.away = False
        self.writes = 0

    async def write(self, caller: Any, work: Any) -> Any:
        if self.away:
            raise StoreUnavailable("it is away")
        self.writes += 1
        return await self._bench.write(work)


async def test_what_was_put_while_the_store_was_away_is_written_later_and_newer_values_win(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = (await launch(bench, CLAUDE)).started
    store = Unreliable(bench)
    sink = Sink(cast("Any", SimpleNamespace(store=store, caller=None, clock=bench.clock)))
    ledger = Ledger(CLAUDE, Caps(), worker)
    sink.begin(worker.worker_id, ledger)
    store.away = True
    sink.put(worker.worker_id, {"state": WorkerState.WORKING, "last_act": "reads"})
    ledger.add(Use(100, 10, cost=0.5))
    with pytest.raises(StoreUnavailable):
        await sink.flush(worker.worker_id)
    sink.put(worker.worker_id, {"last_act": "writes"})
    store.away = False

    await sink.flush(worker.worker_id, last=True)
    await sink.flush(worker.worker_id, last=True)

    row = await bench.read(lambda tx: tx.workers.get(worker.worker_id))
    assert (row.state, row.last_act) == (WorkerState.WORKING, "writes")
    assert (row.tokens_in, row.tokens_out, row.cost_usd) == (100, 10, 0.5)
    assert store.writes == 1


async def test_many_events_of_many_workers_are_one_transaction(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2), a_task("B", complexity=2))
    workers = [(await launch(bench, CLAUDE)).started for _ in range(2)]
    store = Unreliable(bench)
    sink = Sink(cast("Any", SimpleNamespace(store=store, caller=None, clock=bench.clock)))
    for worker in workers:
        sink.begin(worker.worker_id, Ledger(CLAUDE, Caps(), worker))
        for number in range(50):
            sink.put(worker.worker_id, {"last_act": f"reads f{number}.py"})

    await sink._write([worker.worker_id for worker in workers])

    rows = await bench.read(lambda tx: tx.workers.open())
    assert ({row.last_act for row in rows}, store.writes) == ({"reads f49.py"}, 1)


@pytest.mark.requirement("PROV-3")
async def test_what_was_used_is_settled_with_the_next_look_after_a_second(bench: Bench) -> None:
    """Whoever kills the autopilot takes no more than that from the budgets."""
    await bench.create(a_task("A", complexity=2))
    worker = (await launch(bench, CLAUDE)).started
    sink = Sink(cast("Any", SimpleNamespace(store=Unreliable(bench), caller=None, clock=bench.clock)))
    ledger = Ledger(CLAUDE, Caps(), worker)
    sink.begin(worker.worker_id, ledger)
    ledger.add(Use(100, 10))
    await sink.flush(worker.worker_id)

    ledger.add(Use(200, 20))
    bench.clock.advance(0.5)
    assert sink._due() == set()
    bench.clock.advance(0.5)
    assert sink._due() == {worker.worker_id}
    await sink._write([worker.worker_id])

    row = await bench.read(lambda tx: tx.workers.get(worker.worker_id))
    assert (row.tokens_in, row.tokens_out, ledger.unsettled) == (200, 20, False)
