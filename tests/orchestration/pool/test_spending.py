"""Caps in US dollars hold before a launch and while workers run (contract, section 10)."""

from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import launches
from tests.support.bench import OWNER, Bench, a_task
from tests.support.launches import ended, slot
from tests.support.providers import USUAL, FixedProviders, a_provider, only
from wvo_mcp.domain.agents import Use
from wvo_mcp.domain.providers.catalogue import Catalogue, Cost, Model, Place, ProviderKind, Tier
from wvo_mcp.domain.worker import Worker
from wvo_mcp.orchestration.pool import spending
from wvo_mcp.orchestration.pool.spending import Caps, Ledger
from wvo_mcp.orchestration.queue.claims import Claim
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Spent

pytestmark = pytest.mark.anyio
AUTO = slot()
CLAUDE = FixedProviders(only("claude"))
_NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


async def launch(
    bench: Bench, caps: Caps, providers: FixedProviders = CLAUDE, run: str = "r1"
) -> tuple[Claim, Worker | None]:
    found = await launches.launch(bench, providers, caps, run=run)
    return found.claim, found.worker


@pytest.mark.requirement("WORK-6")
async def test_no_more_is_launched_than_the_cap_of_the_run_can_pay(bench: Bench) -> None:
    await bench.create(*(a_task(name, complexity=2) for name in "ABCD"))
    caps = Caps(run=1.0, worker=0.4)

    first, second = [(await launch(bench, caps))[1] for _ in "12"]
    claim, none = await launch(bench, caps)

    assert first is not None and second is not None and none is None
    assert (first.reserved_usd, second.reserved_usd) == (0.4, 0.4)
    assert claim.reason == "budget"
    assert "claude: a worker of its tier low reserves $0.40, and $0.20 of the $1.00 for the run is left" in str(
        claim.explanation
    )
    assert (await bench.task("C")).lease_token == 0  # refused before it was given out

    await ended(bench, first, 0.1)
    assert (await launch(bench, caps))[1] is not None


async def test_a_run_that_can_launch_nothing_more_says_so_and_one_that_waits_does_not(bench: Bench) -> None:
    await bench.create(*(a_task(name, complexity=2) for name in "ABC"))
    caps = Caps(run=0.5, worker=0.4)
    worker = (await launch(bench, caps))[1]
    assert worker is not None

    async def look() -> str | None:
        return (await bench.read(lambda tx: spending.means(tx, CLAUDE, caps, "r1"))).spent_out

    assert await look() is None  # what it has reserved may come back
    await ended(bench, worker, 0.3)
    assert "for the run is left" in str(await look())


@pytest.mark.requirement("WORK-6")
async def test_a_tier_without_a_known_cost_is_not_launched_under_a_cap(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2), a_task("B", complexity=9))
    unpriced = replace(USUAL.providers[0], tiers={**USUAL.providers[0].tiers, Tier.LOW: Model("cheap")})
    providers = FixedProviders(Catalogue((unpriced,)))

    claim, worker = await launch(bench, Caps(run=5.0), providers=providers)
    assert worker is not None and worker.task_id == "B"  # other work goes on
    await ended(bench, worker, 0.2)
    claim, worker = await launch(bench, Caps(run=5.0), providers=providers)
    assert worker is None
    assert "its tier low has no cost in providers.yaml, and money is capped ($5.00 for the run)" in str(
        claim.explanation
    )

    assert (await launch(bench, Caps(), providers=providers))[1] is not None


async def test_models_on_this_machine_cost_nothing_and_reserve_nothing(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    local = a_provider("ollama", ProviderKind.OLLAMA, Place.LOCAL, cost=0.0)
    worker = (await launch(bench, Caps(run=0.001), providers=FixedProviders(Catalogue((local,)))))[1]
    assert worker is not None and worker.reserved_usd == 0


async def test_without_a_cap_of_its_own_a_launch_reserves_what_nine_in_ten_cost_before(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n}", complexity=2) for n in range(14)))
    for n in range(10):
        worker = (await launch(bench, Caps(), run="before"))[1]
        assert worker is not None
        await ended(bench, worker, 0.1 * (n + 1))

    first = (await launch(bench, Caps(run=2.0)))[1]
    second = (await launch(bench, Caps(run=2.0)))[1]
    third = (await launch(bench, Caps(run=2.0)))[1]
    assert first is not None and first.reserved_usd == pytest.approx(0.9)
    assert second is not None and third is None


async def test_the_first_launch_of_a_tier_reserves_all_that_is_left(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2), a_task("B", complexity=2))
    first = (await launch(bench, Caps(run=2.0)))[1]
    assert first is not None and first.reserved_usd == 2.0
    assert (await launch(bench, Caps(run=2.0)))[1] is None


@pytest.mark.requirement("WORK-6")
async def test_the_cap_of_the_day_holds_over_all_runs(bench: Bench) -> None:
    await bench.create(*(a_task(name, complexity=2) for name in "ABC"))
    providers = FixedProviders(replace(only("claude"), daily_cost=1.0))
    worker = (await launch(bench, Caps(worker=0.4), providers=providers, run="morning"))[1]
    assert worker is not None
    await ended(bench, worker, 0.7)
    claim, none = await launch(bench, Caps(worker=0.4), providers=providers, run="evening")
    assert none is None and "$0.30 of the $1.00 for the day is left" in str(claim.explanation)

    bench.clock.advance(hours=24)
    assert (await launch(bench, Caps(worker=0.4), providers=providers, run="tomorrow"))[1] is not None


@pytest.mark.requirement("WORK-6")
async def test_what_streams_is_counted_into_budgets_and_the_row_of_the_worker(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = (await launch(bench, Caps(run=5.0, worker=1.0)))[1]
    assert worker is not None
    ledger = Ledger(CLAUDE, Caps(run=5.0, worker=1.0), worker)
    assert ledger.add(Use(tokens_in=1_000, tokens_out=100, tokens_cached=10_000)) is None
    assert ledger.urgent
    mark = await bench.write(ledger.settle, AUTO)
    assert ledger.settled(mark) is None and not ledger.unsettled and not ledger.urgent
    ledger.add(Use(tokens_in=2_000, tokens_out=300, tokens_cached=10_000))  # sums: 1,000 and 200 more

    ledger.settled(await bench.write(lambda tx: ledger.settle(tx, last=True), AUTO))

    cost = Cost(3.0, 12.0, 0.3).of(2_000, 300, 10_000)
    row = await bench.read(lambda tx: tx.workers.get(worker.worker_id))
    assert (row.tokens_in, row.tokens_out) == (12_000, 300)
    assert row.cost_usd == pytest.approx(cost)
    used = await bench.sql("SELECT sum(tokens_in) AS i, sum(tokens_out) AS o, sum(cost) AS c FROM usage")
    assert (used[0]["i"], used[0]["o"]) == (2_000, 300) and used[0]["c"] == pytest.approx(cost)
    assert (await bench.kinds("A")).count("provider.reported") == 1


async def test_a_settlement_that_was_tried_twice_counts_once(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = (await launch(bench, Caps()))[1]
    assert worker is not None
    ledger = Ledger(CLAUDE, Caps(), worker)
    ledger.add(Use(tokens_in=10, tokens_out=5))
    await bench.store.write(AUTO, ledger.settle, keep=False)  # undone
    ledger.settled(await bench.write(ledger.settle, AUTO))
    assert (await bench.sql("SELECT sum(tokens_out) AS o FROM usage"))[0]["o"] == 5


@pytest.mark.requirement("WORK-6")
async def test_what_is_used_while_a_settlement_is_written_is_counted_by_the_next(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = (await launch(bench, Caps()))[1]
    assert worker is not None
    ledger = Ledger(CLAUDE, Caps(), worker)
    ledger.add(Use(tokens_in=10, tokens_out=5))

    async def interrupted(tx: Transaction) -> spending.Mark:
        record = tx.routing.record

        async def recorded(spent: Spent) -> None:
            await record(spent)
            ledger.add(Use(tokens_in=30, tokens_out=9))

        vars(tx.routing)["record"] = recorded
        return await ledger.settle(tx)

    ledger.settled(await bench.write(interrupted, AUTO))
    ledger.settled(await bench.write(ledger.settle, AUTO))
    used = "SELECT sum(tokens_in) AS i, sum(tokens_out) AS o FROM"
    assert await bench.sql(f"{used} usage") == await bench.sql(f"{used} workers") == [{"i": 30, "o": 9}]


@pytest.mark.requirement("WORK-6")
async def test_a_worker_that_passes_its_cap_must_end_and_the_reason_says_so() -> None:
    worker = cast(Worker, SimpleNamespace(task_id="T1", provider="claude", tier="low", reserved_usd=0.4))
    ledger = Ledger(CLAUDE, Caps(worker=0.4), worker)
    assert ledger.add(Use(cost=0.39)) is None
    assert ledger.add(Use(cost=0.03, sums=False)) == "it cost $0.42, more than a worker may ($0.40)"


@pytest.mark.requirement("WORK-5")
async def test_what_an_earlier_process_used_is_not_forgotten_by_the_next() -> None:
    worker = cast(Worker, SimpleNamespace(task_id="T1", provider="claude", tier="low", reserved_usd=0.4))
    ledger = Ledger(CLAUDE, Caps(worker=1.0), worker)
    assert ledger.add(Use(tokens_in=100, tokens_out=10, cost=0.6)) is None
    ledger.relaunched()
    assert ledger.add(Use(tokens_in=50, tokens_out=5, cost=0.3)) is None
    assert (ledger.use.tokens_in, ledger.use.tokens_out, round(ledger.cost, 6)) == (150, 15, 0.9)
    assert ledger.add(Use(tokens_in=60, tokens_out=6, cost=0.5)) is not None


async def test_an_estimate_goes_by_what_such_work_cost_and_never_beyond_the_cap(bench: Bench) -> None:
    await bench.create(*(a_task(f"T{n}", complexity=2) for n in range(5)))
    worker = (await launch(bench, Caps()))[1]
    assert worker is not None
    await ended(bench, worker, 0.5)

    async def look(caps: Caps, tasks: int | None = None) -> spending.Estimate:
        return await bench.read(lambda tx: spending.estimate(tx, CLAUDE, caps, tasks), AUTO)

    free = await look(Caps())
    assert (free.tasks, free.at_most, free.likely) == (4, None, pytest.approx(2.0))
    assert (await look(Caps(run=1.0))).likely == 1.0
    assert (await look(Caps(worker=0.4), 2)).at_most == pytest.approx(0.8)
    assert OWNER.person


def driven(work: Coroutine[Any, Any, Any]) -> Any:
    """What never suspends."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it suspended")


@dataclass
class Books:
    """The part of a transaction that money needs, in memory."""

    rows: dict[str, Any] = field(default_factory=dict[str, Any])
    past: list[float] = field(default_factory=list[float])
    now: datetime = _NOW
    workers: Any = None
    routing: Any = None

    def __post_init__(self) -> None:
        self.workers = self
        self.routing = SimpleNamespace(record=self._nothing, route=self._nothing, breakers=self._none)

    async def _nothing(self, *_: Any) -> None: ...

    async def _none(self) -> list[Any]:
        return []

    async def open(self) -> list[Any]:
        return [row for row in self.rows.values() if row.running]

    async def spent(self, run_id: str | None = None, since: datetime | None = None) -> float:
        return sum(max(row.reserved_usd, row.cost_usd) if row.running else row.cost_usd for row in self.rows.values())

    async def past_costs(self, provider: str, tier: str, limit: int) -> list[float]:
        return self.past[::-1][:limit]

    async def change(self, worker_id: str, fields: dict[str, Any]) -> None:
        for name, value in fields.items():
            setattr(self.rows[worker_id], name, value)


_STEPS = st.lists(
    st.one_of(
        st.just(("launch", 0, 0.0)),
        st.tuples(st.sampled_from(["use", "settle", "end"]), st.integers(0, 5), st.floats(0.0, 0.3)),
    ),
    max_size=60,
)


@pytest.mark.requirement("WORK-6")
@given(steps=_STEPS, run=st.floats(0.1, 3.0), worker=st.one_of(st.none(), st.floats(0.05, 1.0)))
def test_a_run_costs_no_more_than_its_cap_and_what_running_workers_used_at_once(
    steps: list[tuple[str, int, float]], run: float, worker: float | None
) -> None:
    """Whatever is launched, used, settled and ended in any order: each worker is interrupted at the event that passes its
    means, so all that comes on top of the cap is the last event of each, and what was not yet settled."""
    books, caps = Books(), Caps(run=run, worker=worker)
    tx = cast(Transaction, books)
    ledgers: dict[str, Ledger] = {}
    beyond = 0.0
    for step, which, usd in steps:
        running = [name for name, row in books.rows.items() if row.running]
        if step == "launch":
            means = driven(spending.means(tx, CLAUDE, caps, "r"))
            if ("claude", "low") in means.refusals:
                continue
            name = f"w-{len(books.rows)}"
            amount = means.reserve("claude", "low")
            row = SimpleNamespace(worker_id=name, reserved_usd=amount, cost_usd=0.0, running=True, run_id="r")
            row.provider, row.tier, row.task_id, row.lease_token, row.agent_id, row.model = (
                "claude",
                "low",
                "T",
                1,
                "a",
                "m",
            )
            books.rows[name] = row
            ledgers[name] = Ledger(CLAUDE, caps, cast(Worker, row))
            assert driven(books.spent()) <= run + 1e-6
            continue
        if not running:
            continue
        name = running[which % len(running)]
        ledger = ledgers[name]
        over = ledger.add(Use(cost=usd, sums=False)) if step == "use" else None
        if step == "use" and (ledger.urgent or over is not None):  # as the pool does, at once
            over = ledger.settled(driven(ledger.settle(tx))) or over
        if over is not None:
            beyond += usd
        if step == "end" or over is not None:
            ledger.settled(driven(ledger.settle(tx)))
            books.rows[name].running = False
            books.past.append(books.rows[name].cost_usd)
        assert driven(books.spent()) <= run + beyond + 1e-6
