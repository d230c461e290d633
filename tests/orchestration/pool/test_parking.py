"""Limits and failures of providers as workers meet them: parked, resumed once, switched (contract, section 10)."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

import anyio
import pytest

from tests.support.bench import OWNER, Bench, a_task
from tests.support.launches import Launched, ended, launch, slot
from tests.support.providers import FixedProviders, only
from wvo_mcp.domain.agents import Use
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.providers.catalogue import OnLimit
from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal
from wvo_mcp.domain.worker import Outcome, Worker, WorkerState
from wvo_mcp.orchestration.pool import facts, parking
from wvo_mcp.orchestration.pool.ending import Act, End, settle
from wvo_mcp.orchestration.pool.spending import Caps, Ledger

pytestmark = pytest.mark.anyio

_K = FailureKind
CLAUDE = FixedProviders(only("claude"))
BOTH = FixedProviders(only("claude", "codex"))
SWITCH = FixedProviders(replace(only("claude", "codex"), on_limit=OnLimit.SWITCH))


class Reaction(Enum):
    PARKED = "the same session goes on later"
    SWITCHED = "whoever may take it next goes on in the same worktree"
    FRESH = "as switched, in a new session"
    NOT_MINE = "nothing was moved"


@dataclass
class Parked:
    reaction: Reaction
    until: datetime | None


async def stopped(bench: Bench, worker: Worker, signal: Signal, providers: FixedProviders = CLAUDE) -> Parked:
    """What the store has then."""
    caller = slot(int(worker.agent_id.rpartition(".")[2]), worker.host)
    name = worker.worker_id
    reason = await bench.write(lambda tx: parking.stopped_by_provider(tx, providers, name, signal), caller)
    rests, task = await row(bench, worker), await bench.task(worker.task_id)
    if reason is None:
        return Parked(Reaction.NOT_MINE, None)
    assert rests.reason == reason
    if rests.state is WorkerState.ENDED:
        return Parked(Reaction.FRESH, task.not_before)
    return Parked(Reaction.PARKED if rests.resets_at else Reaction.SWITCHED, task.not_before)


def limit(bench: Bench, **lasts: float) -> Signal:
    return Signal(_K.RATE_LIMIT, "You've hit your limit", resets_at=bench.clock.now() + timedelta(**lasts))


async def row(bench: Bench, worker: Worker) -> Worker:
    return await bench.read(lambda tx: tx.workers.get(worker.worker_id))


async def breaker_states(bench: Bench) -> list[str]:
    return [found["state"] for found in await bench.sql("SELECT state FROM breakers")]


@pytest.mark.requirement("PROV-3")
@pytest.mark.requirement("WORK-7")
async def test_a_limit_with_a_reset_parks_the_task_and_its_session_goes_on_once(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    first = (await launch(bench, CLAUDE, Caps(run=5.0), session="s-1")).started

    parked = await stopped(bench, first, limit(bench, seconds=20))

    resets = bench.clock.now() + timedelta(seconds=20)
    assert (parked.reaction, parked.until) == (Reaction.PARKED, resets)
    task = await bench.task("A")
    assert (task.status, task.not_before, task.attempts, task.expiries) == ("pending", resets, 0, 0)
    assert (task.kept_for, task.kept_until) == ("auto-here", resets + timedelta(minutes=15))
    rests = await row(bench, first)
    assert (rests.state, rests.client_session, rests.workspace) == (WorkerState.LIMITED, "s-1", "ws-1")
    assert (rests.resets_at, rests.reserved_usd, rests.pid) == (resets, 0.0, None)
    assert (await bench.sql("SELECT n FROM counters WHERE name = 'in_progress'"))[0]["n"] == 0
    assert (await launch(bench, CLAUDE)).worker is None  # it is not yet time

    bench.clock.advance(seconds=21)
    again = await launch(bench, CLAUDE)

    assert again.started.lease_token == first.lease_token + 1
    assert again.resting is not None and again.resting.confirm
    assert (again.resting.client_session, again.started.client_session) == ("s-1", "s-1")
    over = await row(bench, first)
    assert (over.state, over.outcome) == (WorkerState.ENDED, Outcome.LIMITED)
    assert (await launch(bench, CLAUDE, caller=slot(2))).worker is None  # nobody resumes it a second time


@pytest.mark.requirement("WORK-7")
async def test_of_two_autopilots_that_wait_for_one_reset_one_resumes(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    first = (await launch(bench, CLAUDE, session="s-1")).started
    await stopped(bench, first, limit(bench, seconds=20))
    bench.clock.advance(seconds=30)

    found: list[Launched] = []

    async def resume(caller: Caller) -> None:
        found.append(await launch(bench, CLAUDE, caller=caller))

    async with anyio.create_task_group() as group:
        for caller in (slot(1), slot(2), slot(1, "here", "auto-here/2"), slot(1, "there")):
            group.start_soon(resume, caller)

    assert [one.worker is not None for one in found].count(True) == 1
    rows = await bench.sql("SELECT count(*) AS n FROM workers WHERE client_session = 's-1' AND state = 'starting'")
    assert rows[0]["n"] <= 1  # none, where the other host was first


@pytest.mark.requirement("WORK-7")
async def test_another_host_begins_a_new_session_once_the_task_is_kept_no_longer(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    first = (await launch(bench, CLAUDE, session="s-1")).started
    await stopped(bench, first, limit(bench, seconds=20))
    bench.clock.advance(minutes=16)

    other = await launch(bench, CLAUDE, caller=slot(1, "there"))

    assert other.started.client_session is None and other.resting is None
    over = await row(bench, first)
    assert over.outcome is Outcome.LIMITED and str(over.reason).endswith("claude on there took over")


@pytest.mark.requirement("PROV-3")
async def test_a_session_that_waits_is_not_given_to_another_provider(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2), a_task("B", complexity=2))
    first = (await launch(bench, CLAUDE, session="s-1")).started
    second = (await launch(bench, CLAUDE, session="s-2")).started
    for worker in (first, second):
        await stopped(bench, worker, limit(bench, seconds=20), BOTH)
    bench.clock.advance(seconds=25)

    probe = await launch(bench, BOTH)  # one task tries whether quota is back
    assert probe.started.provider == "claude"
    waits = await launch(bench, BOTH)
    assert waits.worker is None and waits.claim.reason == "budget"

    ledger = Ledger(BOTH, Caps(), probe.started)
    ledger.add(Use(tokens_in=10, tokens_out=3))
    await bench.write(ledger.settle, slot())  # it answers: its quota is back
    assert await breaker_states(bench) == ["closed"]
    other = await launch(bench, BOTH)
    assert other.resting is not None
    assert {probe.started.client_session, other.started.client_session} == {"s-1", "s-2"}


@pytest.mark.requirement("PROV-4")
async def test_a_session_does_not_wait_for_a_login_that_was_lost_meanwhile(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2), a_task("B", complexity=2))
    first = (await launch(bench, CLAUDE, session="s-1")).started
    second = (await launch(bench, CLAUDE, session="s-2")).started
    await bench.write(lambda tx: settle(tx, first.worker_id, End(Outcome.STOPPED, "lunch", Act.PAUSE)), slot())
    await stopped(bench, second, Signal(_K.AUTH, "401"), BOTH)
    again = await launch(bench, BOTH, task_id=first.task_id)
    assert again.started.provider == "codex"


@pytest.mark.requirement("PROV-3")
async def test_a_resumed_session_that_is_limited_again_waits_again(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    first = (await launch(bench, CLAUDE, session="s-1")).started
    await stopped(bench, first, limit(bench, seconds=20))
    bench.clock.advance(seconds=21)
    second = (await launch(bench, CLAUDE)).started

    parked = await stopped(bench, second, limit(bench, minutes=5))

    assert (parked.reaction, parked.until) == (Reaction.PARKED, bench.clock.now() + timedelta(minutes=5))
    assert (await bench.task("A")).attempts == 0
    bench.clock.advance(minutes=6)
    assert (await launch(bench, CLAUDE)).started.client_session == "s-1"


@pytest.mark.requirement("PROV-3")
async def test_switch_lets_another_provider_take_over_in_the_same_worktree(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    first = (await launch(bench, FixedProviders(only("claude")), session="s-1")).started
    await bench.call("checkpoint", slot(), task_id="A", lease_token=first.lease_token, summary="half done")

    parked = await stopped(bench, first, limit(bench, hours=1), SWITCH)

    assert (parked.reaction, parked.until) == (Reaction.SWITCHED, None)
    second = await launch(bench, SWITCH)
    assert second.started.provider == "codex" and second.resting is None
    assert second.claim.resume is not None and second.claim.resume.summary == "half done"
    assert (await row(bench, first)).reason == "rate limit: You've hit your limit; codex took over"


@pytest.mark.requirement("PROV-3")
async def test_a_limit_that_lasts_longer_than_people_want_to_wait_is_switched(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    first = (await launch(bench, CLAUDE, session="s-1")).started
    assert (await stopped(bench, first, limit(bench, days=5), BOTH)).reaction is Reaction.SWITCHED
    assert (await launch(bench, BOTH)).started.provider == "codex"


@pytest.mark.parametrize(
    ("signal", "reaction", "seconds"),
    [
        (Signal(_K.RATE_LIMIT, "429"), Reaction.PARKED, (1, 6)),
        (Signal(_K.RATE_LIMIT, "429", retry_after=120), Reaction.PARKED, (120, 121)),
        (Signal(_K.CAPACITY, "529 overloaded"), Reaction.PARKED, (1, 6)),
        (Signal(_K.OUTAGE, "connection reset"), Reaction.PARKED, (5, 6)),
        (Signal(_K.AUTH, "401"), Reaction.SWITCHED, None),
        (Signal(_K.QUOTA, "out of credits"), Reaction.SWITCHED, None),
        (Signal(_K.CONTEXT, "prompt is too long"), Reaction.FRESH, None),
        (Signal(_K.REFUSAL, "no"), Reaction.NOT_MINE, None),
        (Signal(_K.PERMISSION, "denied"), Reaction.NOT_MINE, None),
    ],
    ids=lambda value: str(getattr(value, "kind", "")),
)
@pytest.mark.requirement("PROV-4")
@pytest.mark.requirement("WORK-7")
async def test_each_failure_of_a_provider_has_its_own_reaction(
    bench: Bench, signal: Signal, reaction: Reaction, seconds: tuple[float, float] | None
) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = (await launch(bench, CLAUDE, session="s-1")).started

    parked = await stopped(bench, worker, signal, BOTH)

    assert parked.reaction is reaction
    task = await bench.task("A")
    assert task.attempts == 0
    assert task.status == ("in_progress" if reaction is Reaction.NOT_MINE else "pending")
    if seconds is None:
        assert parked.until is None
    else:
        assert parked.until is not None
        assert seconds[0] <= (parked.until - bench.clock.now()).total_seconds() <= seconds[1]
    tripped = signal.kind not in (_K.OUTAGE, _K.CONTEXT, _K.REFUSAL, _K.PERMISSION)
    assert ("open" in await breaker_states(bench)) is tripped


async def test_outages_in_a_row_back_off_and_then_another_provider_takes_over(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    providers = FixedProviders(replace(only("claude", "codex"), wait_at_most=timedelta(minutes=10)))
    worker = (await launch(bench, CLAUDE, session="s-1")).started
    reactions: list[Reaction] = []
    began = bench.clock.now()
    for _ in range(12):
        parked = await stopped(bench, worker, Signal(_K.OUTAGE, "unreachable"), providers)
        reactions.append(parked.reaction)
        if parked.until is None:
            break
        bench.clock.advance(seconds=(parked.until - bench.clock.now()).total_seconds() + 1)
        worker = (await launch(bench, providers)).started
        assert worker.client_session == "s-1"
    assert reactions[-1] is Reaction.SWITCHED and len(reactions) > 3
    assert bench.clock.now() - began < timedelta(minutes=12)
    assert (await launch(bench, providers)).started.provider == "codex"


async def test_a_context_that_is_full_again_and_again_is_the_tasks_own_failure(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    reactions: list[Reaction] = []
    for number in range(3):
        worker = await launch(bench, CLAUDE, session=f"s-{number}")
        assert worker.resting is None
        reactions.append((await stopped(bench, worker.started, Signal(_K.CONTEXT, "too long"))).reaction)
    assert reactions == [Reaction.FRESH, Reaction.FRESH, Reaction.NOT_MINE]


async def test_a_limit_after_the_task_was_done_moves_nothing(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    worker = (await launch(bench, CLAUDE, session="s-1")).started
    await bench.complete("A", slot(), lease_token=worker.lease_token)
    assert (await stopped(bench, worker, limit(bench, seconds=20))).reaction is Reaction.NOT_MINE
    assert await bench.status("A") == ["done"]


@pytest.mark.parametrize("kind", list(FailureKind))
@pytest.mark.requirement("PROV-3")
async def test_only_limits_are_asked_for_twice(kind: FailureKind) -> None:
    signal = Signal(kind, "x")
    assert parking.unsure(signal, confirmed=False) is (kind in (_K.RATE_LIMIT, _K.QUOTA))
    assert not parking.unsure(signal, confirmed=True)


@pytest.mark.requirement("WORK-9")
async def test_a_paused_worker_goes_on_in_its_session_after_resume(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2), a_task("B", complexity=2))
    begun = (await launch(bench, CLAUDE, session="s-1")).started
    not_begun = (await launch(bench, CLAUDE)).started
    await bench.call("pause", OWNER, reason="lunch")

    end = End(Outcome.STOPPED, "paused: lunch", Act.PAUSE)
    for worker in (begun, not_begun):
        await bench.write(lambda tx, name=worker.worker_id: settle(tx, name, end), slot())

    assert await bench.status("A", "B") == ["pending", "pending"]
    task = await bench.task(begun.task_id)
    assert (task.kept_for, task.kept_until, task.attempts) == ("auto-here", facts.UNTIL_RESUMED, 0)
    assert (await row(bench, begun)).state is WorkerState.PAUSED
    assert (await row(bench, not_begun)).outcome is Outcome.STOPPED
    bench.clock.advance(hours=3)
    assert (await launch(bench, CLAUDE)).claim.reason == "paused"

    await bench.call("resume", OWNER)
    again = await launch(bench, CLAUDE, task_id=begun.task_id)
    assert again.started.client_session == "s-1"
    assert again.resting is not None and not again.resting.confirm


async def test_costs_of_a_session_are_each_launchs_own(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=2))
    caps = Caps(run=1.0, worker=0.4)
    first = (await launch(bench, CLAUDE, caps, session="s-1")).started
    ledger = Ledger(CLAUDE, caps, first)
    ledger.add(Use(cost=0.3))
    await bench.write(lambda tx: ledger.settle(tx, last=True), slot())
    await stopped(bench, first, limit(bench, seconds=20))
    bench.clock.advance(seconds=21)

    second = (await launch(bench, CLAUDE, caps)).started

    assert (second.cost_usd, second.reserved_usd) == (0.0, 0.4)
    spent: dict[str, Any] = {"run": await bench.read(lambda tx: tx.workers.spent(run_id="r1"))}
    assert spent["run"] == pytest.approx(0.7)
    await ended(bench, second, 0.1)
    assert isinstance(second.started_at, datetime)
