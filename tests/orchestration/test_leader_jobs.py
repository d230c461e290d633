"""The leader's jobs on a stopped clock: none waits for another, fails with it, runs twice at once, or outlives its term."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import TaskGroup

from tests.support.bench import ANN, BOB, Bench
from tests.support.clock import START
from tests.support.leading import a_leader
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import StoreBusy
from wvo_mcp.orchestration.leader import LEASE_SECONDS, RENEW_SECONDS, Leader, LeaderJob, LeaderTerm

pytestmark = pytest.mark.anyio


class Work:
    """A job that counts its runs; `run` may be told to hang or to fail."""

    def __init__(self) -> None:
        self.runs = 0
        self.ended = 0
        self.cancelled = 0
        self.error: Exception | None = None
        self.hang = False
        self.shielded = False
        self.waits = False
        self.go_on = anyio.Event()

    async def run(self, term: LeaderTerm) -> None:
        self.runs += 1
        if self.error is not None:
            raise self.error
        with anyio.CancelScope(shield=self.shielded):
            await self._wait()
            await term.write(term.caller, lambda tx: tx.state.put("done by", term.caller.session_id))
        self.ended += 1

    async def _wait(self) -> None:
        self.waits = self.hang
        try:
            if self.hang:
                await self.go_on.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        finally:
            self.waits = False


class Office:
    """A leader whose jobs run on while the test goes on."""

    def __init__(self, bench: Bench, caller: Caller, tasks: TaskGroup, works: dict[str, Work], every: float) -> None:
        self._works = works
        jobs = [LeaderJob(name, every if name == "seldom" else 0, work.run) for name, work in works.items()]
        self._leader = a_leader(bench.store, lambda: caller, bench.clock, jobs)
        self._tasks = tasks

    async def tick(self) -> bool:
        """One tick; what can end by itself has ended."""
        leads = await self._leader.tick(self._tasks)
        await self.settled()
        return leads

    async def settled(self) -> None:
        """Jobs that are not told to hang have come to their end."""
        for _ in range(5):
            await anyio.lowlevel.checkpoint()  # a cancellation reaches its task
        with anyio.fail_after(120):
            while any(not self._works[name].waits for name in self._leader.running):
                await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def office(bench: Bench, caller: Caller = ANN, every: float = 10, **works: Work) -> AsyncGenerator[Office]:
    """A server with these jobs, done at every tick; `seldom` is done every so many seconds."""
    async with anyio.create_task_group() as tasks:
        yield Office(bench, caller, tasks, works, every)
        tasks.cancel_scope.cancel()


async def test_a_chore_is_done_at_once_and_then_every_so_often(bench: Bench) -> None:
    often, seldom = Work(), Work()
    async with office(bench, often=often, seldom=seldom) as leads:
        for _ in range(6):
            assert await leads.tick()
            bench.clock.advance(2)

    assert (often.runs, seldom.runs) == (6, 2)


async def test_a_long_job_delays_neither_others_nor_the_renewal_and_never_runs_twice(
    bench: Bench,
) -> None:
    slow, quick = Work(), Work()
    slow.hang = True
    async with office(bench, slow=slow, quick=quick) as leads:
        for _ in range(6):
            assert await leads.tick()
            bench.clock.advance(RENEW_SECONDS)
        slow.go_on.set()
        slow.waits = False
        await leads.settled()
        assert (slow.runs, slow.ended, quick.ended) == (1, 1, 6)
        assert await leads.tick()

    assert slow.runs == 2


async def test_a_chore_that_fails_stops_no_other_and_raises_an_alert_until_it_succeeds(bench: Bench) -> None:
    broken, sound = Work(), Work()
    broken.error = RuntimeError("no space for this")
    async with office(bench, broken=broken, sound=sound) as leads:
        await leads.tick()
        bench.clock.advance(4)
        await leads.tick()
        assert sound.ended == 2
        assert await bench.alerts() == [("broken_failed", "warning", None)]
        assert (await bench.call("status"))["alerts"][0]["message"] == "broken: RuntimeError: no space for this"
        broken.error = None
        bench.clock.advance(8)
        await leads.tick()

    assert broken.ended == 1
    assert await bench.alerts() == []


async def test_a_passing_failure_alerts_nobody_unless_it_comes_again(bench: Bench) -> None:
    unlucky = Work()
    unlucky.error = StoreBusy("others write")
    async with office(bench, unlucky=unlucky) as leads:
        await leads.tick()
        assert await bench.alerts() == []
        bench.clock.advance(3)
        await leads.tick()

    assert await bench.alerts() == [("unlucky_failed", "warning", None)]


async def test_a_failed_job_is_retried_before_it_is_due_with_increasing_delays(bench: Bench) -> None:
    broken = Work()
    broken.error = RuntimeError("broken")
    tried: list[int] = []
    async with office(bench, every=600, seldom=broken) as leads:
        for second in range(0, 300, 2):
            before = broken.runs
            await leads.tick()
            if broken.runs > before:
                tried.append(second)
            bench.clock.advance(2)

    assert tried == [0, 30, 60, 90, 120, 152, 212, 272]


async def test_an_alert_of_the_leader_before_is_resolved_by_the_next_success(bench: Bench) -> None:
    work = Work()
    work.error = RuntimeError("broken")
    async with office(bench, work=work) as first:
        await first.tick()
    assert await bench.alerts() == [("work_failed", "warning", None)]
    await bench.force(  # a storm of others since then
        "INSERT INTO alerts (kind, severity, task_id, message, evidence, raised_at, last_seen_at)"
        " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1001)"
        " SELECT 'task_failed', 'critical', 'T' || i, 'no', '{}', ?, ? FROM n",
        iso(START),
        iso(START),
    )
    work.error = None
    bench.servers.kill("ann/1")

    async with office(bench, work=work, caller=BOB) as second:
        await second.tick()

    assert {kind for kind, _, _ in await bench.alerts()} == {"task_failed"}


async def test_running_jobs_are_cancelled_with_the_leadership_and_restart_with_the_next(bench: Bench) -> None:
    slow = Work()
    slow.hang = True
    async with (
        office(bench, slow=slow) as first,
        office(bench, caller=BOB, other=Work()) as second,
    ):
        assert await first.tick()
        bench.clock.advance(LEASE_SECONDS)
        assert await second.tick()
        assert not await first.tick()
        assert (slow.runs, slow.cancelled, slow.ended) == (1, 1, 0)
        bench.clock.advance(LEASE_SECONDS)
        slow.hang = False

        assert await first.tick()

        assert (slow.runs, slow.ended) == (2, 1)


async def test_a_chore_that_cannot_be_cancelled_changes_nothing_after_its_term(bench: Bench) -> None:
    stubborn, other = Work(), Work()
    stubborn.hang = stubborn.shielded = True
    async with office(bench, stubborn=stubborn) as first, office(bench, caller=BOB, other=other) as second:
        assert await first.tick()
        bench.clock.advance(LEASE_SECONDS)
        assert await second.tick()
        assert not await first.tick()
        stubborn.go_on.set()
        stubborn.waits = False
        await first.settled()

        assert (stubborn.runs, stubborn.cancelled, stubborn.ended) == (1, 0, 0)
        assert await bench.read(lambda tx: tx.state.get("done by")) == "bob/1"
        assert not await first.tick()
    assert await bench.alerts() == []


async def test_a_follower_does_no_chores(bench: Bench) -> None:
    work, idle = Work(), Work()
    async with (
        office(bench, work=work) as first,
        office(bench, work=idle, caller=BOB) as second,
    ):
        assert await first.tick()
        assert not await second.tick()

    assert (work.runs, idle.runs) == (1, 0)


async def test_a_defect_while_the_jobs_are_loaded_passes_the_lead_on_and_is_retried(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    work, others, loads = Work(), Work(), 0

    async def load() -> list[LeaderJob]:
        nonlocal loads
        loads += 1
        if loads == 1:
            raise RuntimeError("a module is missing")
        return [LeaderJob("work", 0, work.run)]

    leader = Leader(bench.store, lambda: ANN, bench.clock, load)
    async with office(bench, BOB, others=others) as second, anyio.create_task_group() as tasks:
        assert not await leader.tick(tasks)
        assert "a module is missing" in caplog.text
        assert await second.tick(), "the lead is free at once"
        bench.clock.advance(LEASE_SECONDS + 1)
        assert not await leader.tick(tasks), "not again before a minute"
        assert (loads, leader.running, others.ended) == (1, [], 1)
        bench.clock.advance(60)
        assert await leader.tick(tasks)

    assert (loads, work.ended) == (2, 1)
