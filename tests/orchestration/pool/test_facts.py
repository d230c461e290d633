"""Pause, pause --gently, stop and resume as facts of the store (contract, section 10)."""

from datetime import timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task
from wvo_mcp.errors import Forbidden, StoreUnavailable
from wvo_mcp.orchestration.pool import facts
from wvo_mcp.ports.store import SOON

pytestmark = pytest.mark.anyio


async def halt(bench: Bench) -> facts.Halt:
    return await bench.read(facts.read)


@pytest.mark.requirement("WORK-9")
async def test_a_pause_interrupts_workers_and_a_gentle_one_lets_them_finish(bench: Bench) -> None:
    assert (await halt(bench)).gives_out

    assert await bench.call("pause", OWNER, reason="lunch") == {"paused": True, "reason": "lunch"}
    now = await halt(bench)
    assert (now.gives_out, now.interrupts, now.stop) == (False, True, False)

    assert (await bench.call("pause", OWNER, gently=True))["gently"] is True
    now = await halt(bench)
    assert (now.gives_out, now.interrupts, now.stop) == (False, False, False)

    assert await bench.call("resume", OWNER) == {"paused": False, "reason": None}
    assert (await halt(bench)).gives_out


@pytest.mark.requirement("WORK-9")
async def test_nothing_is_given_out_while_work_is_stopped(bench: Bench) -> None:
    await bench.create(a_task("A"))
    assert (await bench.call("stop", OWNER, reason="night"))["stopped"] is True
    now = await halt(bench)
    assert (now.gives_out, now.interrupts, now.stop) == (False, True, True)
    assert (await bench.claim())["reason"] == "paused"


@pytest.mark.requirement("WORK-9")
async def test_starting_an_autopilot_ends_a_stop_but_no_pause(bench: Bench) -> None:
    await bench.call("pause", OWNER, gently=True, reason="talk first")
    await bench.call("stop", OWNER)
    now = await bench.write(facts.begin)
    assert (now.mode, now.stop, now.reason) == (facts.PauseMode.GENTLY, False, "talk first")

    await bench.call("resume", OWNER)
    await bench.call("stop", OWNER)
    assert (await bench.write(facts.begin)).gives_out


async def test_agents_neither_pause_nor_stop(bench: Bench) -> None:
    for name in ("pause", "stop", "resume"):
        with pytest.raises(Forbidden):
            await bench.call(name, ANN)


async def test_a_pause_from_before_there_were_workers_interrupts_none(bench: Bench) -> None:
    await bench.write(lambda tx: tx.state.put("paused", True))
    now = await halt(bench)
    assert (now.gives_out, now.interrupts) == (False, False)


async def test_a_worker_that_a_person_wants_ended_is_named_until_it_has(bench: Bench) -> None:
    async def ask(tx: Any) -> None:
        await tx.state.put("worker_stop:w-1", {"by": "owner", "reason": "wrong branch"})
        await tx.state.put("worker_stopped", True)

    await bench.write(ask)
    assert (await halt(bench)).asked == {"w-1": "wrong branch"}
    await bench.write(lambda tx: facts.forget_ask(tx, "w-1"))
    assert (await halt(bench)).asked == {}


async def test_what_a_pause_kept_is_kept_for_a_quarter_of_an_hour_after_resume(bench: Bench) -> None:
    await bench.create(a_task("A"))
    await bench.call("pause", OWNER)

    async def paused_worker(tx: Any) -> None:
        row = {"task_id": "A", "lease_token": 1, "agent_id": "auto-h.1", "run_id": "r", "provider": "claude"}
        await tx.workers.add({**row, "tier": "low", "model": "m", "host": "h", "state": "paused"})
        task = await tx.tasks.get("A")
        await tx.tasks.change(task, "t", {"kept_for": "auto-h", "kept_until": facts.UNTIL_RESUMED}, {})

    await bench.write(paused_worker)
    await bench.call("resume", OWNER)
    assert (await bench.task("A")).kept_until == bench.clock.now() + timedelta(minutes=15)


@pytest.mark.requirement("WORK-9")
async def test_a_watch_hears_of_a_pause_that_another_process_made(bench: Bench) -> None:

    heard: list[facts.Halt] = []
    done = anyio.Event()

    def on_change(now: facts.Halt) -> None:
        heard.append(now)
        done.set()

    watch = facts.Watch(bench.store, ANN, 400)
    async with anyio.create_task_group() as group:
        await watch.look()
        group.start_soon(watch.run, on_change)
        with anyio.fail_after(20):
            await bench.call("pause", OWNER)
            await done.wait()
        group.cancel_scope.cancel()
    assert heard[0].interrupts


async def test_a_watch_outlives_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:

    class Away:
        looks = 0

        async def wait_for_change(self, seconds: float, *, within: float = SOON) -> bool:
            await anyio.lowlevel.checkpoint()
            return True

        async def read(self, caller: Any, work: Any) -> tuple[facts.Halt, object]:
            self.looks += 1
            if self.looks == 1:
                raise StoreUnavailable("no route to host")
            return facts.Halt(stop=True), None

    monkeypatch.setattr(facts, "_AGAIN_SECONDS", 0.0)
    heard: list[facts.Halt] = []
    done = anyio.Event()

    def on_change(now: facts.Halt) -> None:
        heard.append(now)
        done.set()

    async with anyio.create_task_group() as group:
        group.start_soon(facts.Watch(Away(), ANN, 400).run, on_change)  # pyright: ignore[reportArgumentType]
        with anyio.fail_after(20):
            await done.wait()
        group.cancel_scope.cancel()
    assert heard == [facts.Halt(stop=True)]


async def test_workers_end_before_their_leases_while_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        async def wait_for_change(self, seconds: float, *, within: float = SOON) -> bool:
            raise StoreUnavailable("no route to host")

    monkeypatch.setattr(facts, "_AGAIN_SECONDS", 0.0)
    heard: list[facts.Halt] = []
    async with anyio.create_task_group() as group:

        def on_change(now: facts.Halt) -> None:
            heard.append(now)
            group.cancel_scope.cancel()

        with anyio.fail_after(20):
            await facts.Watch(Away(), ANN, 0.01).run(on_change)  # pyright: ignore[reportArgumentType]
    assert heard[0].interrupts
