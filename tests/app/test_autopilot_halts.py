"""What people stop, and what a run is asked for, as the whole autopilot meets it: real store, repository and processes,
agents that follow a script."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import anyio
import pytest

from tests.support.shops import DONE, OWNER, WRITES, Shop, tasks, workers
from wvo_mcp.app.autopilot import Autopilot
from wvo_mcp.domain.task import BlockAuthor, Status
from wvo_mcp.domain.worker import Outcome, WorkerState
from wvo_mcp.execution.workspaces import places
from wvo_mcp.orchestration.pool import facts, pool
from wvo_mcp.orchestration.pool.launching import Nothing
from wvo_mcp.orchestration.pool.parts import Parts
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Transaction

pytestmark = pytest.mark.anyio


@pytest.mark.requirement("WORK-9")
async def test_a_pause_that_comes_while_a_task_is_claimed_holds_its_worker(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = pool.launch

    async def paused_meanwhile(parts: Parts, *given: Any) -> Any:
        found = await launch(parts, *given)
        if not isinstance(found, Nothing):
            await parts.store.write(OWNER, lambda tx: facts.stop(tx, "enough"))
            await made.until(interrupted)
        return found

    async def interrupted() -> bool:
        return running[0].pool._watch.now.interrupts

    running: list[Autopilot] = []
    monkeypatch.setattr(pool, "launch", paused_meanwhile)
    made = shop(A=[{"wait": 50}])
    async with made.run() as run:
        running.append(run)
        summary = await run.work()
        (row,), found = await workers(run), await tasks(run, "A")

    assert (row.pid, row.outcome) == (None, Outcome.STOPPED), (summary, made.news)
    assert (found["A"].status, found["A"].attempts) == ("pending", 0)


@pytest.mark.full
@pytest.mark.requirement("WORK-9")
async def test_a_paused_worker_stands_still_and_goes_on_after_resume(shop: Callable[..., Shop]) -> None:
    made = shop(A=[{"say": "begun"}, {"wait": 50}, WRITES, DONE])
    async with made.run() as run, anyio.create_task_group() as group:

        async def begun() -> bool:
            return any(one.client_session is not None for one in await workers(run))

        async def paused() -> bool:
            return (await workers(run))[0].state is WorkerState.PAUSED

        group.start_soon(run.work)
        await made.until(begun)
        store = run.parts.store
        await store.write(OWNER, lambda tx: facts.pause(tx, facts.PauseMode.NOW, "lunch"))
        await made.until(paused)
        task = (await tasks(run, "A"))["A"]
        assert (task.status, task.attempts, task.kept_until) == ("pending", 0, facts.UNTIL_RESUMED)
        (kept,) = await store.read(OWNER, lambda tx: tx.snapshots.of_task("A", 5))
        assert kept["trigger"] == "pause"
        await store.write(OWNER, facts.resume)

        async def done() -> bool:
            return (await tasks(run, "A"))["A"].status == "done"

        await made.until(done)
        rows = await workers(run)
        assert [one.client_session for one in rows] == [rows[0].client_session] * 2
        run.stop()


@pytest.mark.requirement("WORK-9")
async def test_stop_ends_the_autopilot_and_the_next_one_goes_on_with_that_one_worker(shop: Callable[..., Shop]) -> None:
    made = shop(A=[{"say": "begun"}, {"wait": 50}, WRITES, DONE], B=[WRITES, DONE])
    summaries: list[Mapping[str, Any]] = []
    async with made.run(agents=1) as run:

        async def begun() -> bool:
            return any(one.client_session is not None for one in await workers(run))

        async def stop() -> None:
            await made.until(begun)
            await run.parts.store.write(OWNER, lambda tx: facts.stop(tx, "night"))

        async with anyio.create_task_group() as group:
            group.start_soon(stop)
            summaries.append(await run.work())
    assert summaries[0]["ended"] == "night"
    assert [one["task_id"] for one in summaries[0]["waiting"]] == ["A", "B"]

    summary, rows, found = await made.done(once=True)

    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert rows[0].client_session == rows[1].client_session is not None
    assert (len(rows), found["B"].lease_token) == (2, 0), "once is one worker, also one that goes on"


async def test_a_stop_does_not_wait_for_the_setup_of_a_worktree(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    preparing = anyio.Event()

    async def forever(*_: Any) -> None:
        preparing.set()
        await anyio.sleep_forever()

    monkeypatch.setattr(places.Worktrees, "open", forever)
    made = shop(A=[WRITES, DONE])
    async with made.run() as run, anyio.create_task_group() as group:
        group.start_soon(run.work)
        await preparing.wait()
        run.drain()
        run.stop()
        run.stop()
    assert [(one["task"], one["reason"]) for one in made.news if one["event"] == "ended"] == [
        ("pending", "the autopilot was stopped")
    ]


@pytest.mark.requirement("WORK-1")
async def test_a_run_for_one_task_ends_when_that_cannot_be_had(shop: Callable[..., Shop]) -> None:
    made = shop(A=[WRITES, DONE])
    async with made.run(task="A") as run:

        async def failed_before(tx: Transaction) -> None:
            fields = {"not_before": tx.now - timedelta(hours=1)}
            await lifecycle.move(tx, await tx.tasks.get("A"), Status.BLOCKED, "task.blocked", fields)

        await run.parts.store.write(OWNER, failed_before)
        summary = await run.work()
    assert str(summary["ended"]).startswith("Task A is not ready (blocked")


@pytest.mark.requirement("WORK-7")
async def test_a_run_does_not_wait_for_the_limit_of_a_task_that_was_cancelled(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_LOOK_SECONDS", 0.05)
    made = shop(A=[{"limit": 7_200}, {"limit": 7_200}])
    async with made.run() as run, anyio.create_task_group() as group:

        async def parked() -> bool:
            return made.events("parked") == ["parked"]

        async def cancelled(tx: Transaction) -> None:
            await lifecycle.move(tx, await tx.tasks.get("A"), Status.CANCELLED, "task.updated")

        group.start_soon(run.work)
        await made.until(parked)
        await run.parts.store.write(OWNER, cancelled)
    assert (await made.done())[1][0].outcome is Outcome.STOPPED


@pytest.mark.requirement("WORK-1")
async def test_what_becomes_ready_as_a_run_would_end_is_done_by_it(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look that finds nothing and the end of the run: as what a conflict sends back may."""
    launch = pool.launch

    async def ready_meanwhile(parts: Parts, *given: Any) -> Any:
        found = await launch(parts, *given)
        over = isinstance(found, Nothing) and not await running[0].queue.waits()
        if over and (await tasks(running[0], "B"))["B"].status is Status.BLOCKED:
            await parts.store.write(OWNER, unblocked)
            running[0].pool.look()
        return found

    async def blocked(tx: Transaction) -> None:
        await lifecycle.block(tx, await tx.tasks.get("B"), "later", [], BlockAuthor.PERSON)

    async def unblocked(tx: Transaction) -> None:
        await lifecycle.move(tx, await tx.tasks.get("B"), Status.PENDING, "task.unblocked")

    running: list[Autopilot] = []
    monkeypatch.setattr(pool, "launch", ready_meanwhile)
    made = shop(A=[WRITES, DONE], B=[{"write": "b.txt", "text": "b\n"}, DONE])
    async with made.run(agents=1, wait=False) as run:
        running.append(run)
        await run.parts.store.write(OWNER, blocked)
        summary = await run.work()

    assert [one["task_id"] for one in summary["done"]] == ["A", "B"], (summary, made.news)
