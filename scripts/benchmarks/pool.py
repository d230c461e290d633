"""What the pool costs while six workers stream, and what a claim takes beside them."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio

from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.product import Desk, desk
from scripts.benchmarks.timing import p50, p99
from wvo_mcp.domain.agents import AgentEvent, EventKind, Status, Use
from wvo_mcp.domain.providers.catalogue import Catalogue
from wvo_mcp.domain.worker import Worker
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.orchestration.pool.parts import Limits
from wvo_mcp.orchestration.pool.sink import Sink
from wvo_mcp.orchestration.pool.spending import Caps, Ledger
from wvo_mcp.orchestration.pool.watching import Watching
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.ports import Transaction

WORKERS = 6
PER_SECOND = 100
"""Events of all workers together."""


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    anyio.run(_measure, report, quick, folder / "pool")


async def _measure(report: Report, quick: bool, folder: Path) -> None:
    (folder / "state").mkdir(parents=True)
    seconds, rounds = (3.0, 30) if quick else (30.0, 500)
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(desk(folder, "auto-here.1"))
        ann = await stack.enter_async_context(desk(folder, "ann"))
        await ann.call("create_tasks", tasks=[{"title": f"t{n}"} for n in range(200)])
        alone = await _cpu(seconds, _Stream().drained)
        quiet, beside, busy = await _claims(ann, rounds), [0.0], 0.0
        watched = _Watched(ours)
        await watched.begin()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watched.run)
            busy = await _cpu(seconds, lambda: anyio.sleep(seconds))
            beside = await _claims(ann, rounds)
            tasks.cancel_scope.cancel()
    report.add(
        Figure(
            f"pool, {WORKERS} workers, {PER_SECOND} events/s",
            "% CPU",
            busy,
            floors=[Floor("the stream, read by nobody", alone)],
            targets=[Target(2.0)],
        )
    )
    report.add(
        Figure(
            f"claim_task beside {PER_SECOND} events/s",
            "ms",
            p50(beside),
            p99=p99(beside),
            floors=[Floor("the same alone", p50(quiet))],
            targets=[Target(1.2, of="ratio")],
            samples=rounds,
        )
    )


class _Stream:
    """A program that calls a tool, says something and uses tokens, at its share of the rate, for ever."""

    pid = 1

    async def events(self) -> AsyncIterator[AgentEvent]:
        yield AgentEvent(EventKind.STARTED, session="s")
        number, pause = 0, WORKERS / PER_SECOND
        while True:
            number += 1
            for event in (
                AgentEvent(
                    EventKind.TOOL_CALL, f"f{number}.py", call_id=str(number), tool="Read", status=Status.RUNNING
                ),
                AgentEvent(EventKind.TOOL_CALL, "", call_id=str(number), tool="Read", status=Status.DONE),
                AgentEvent(EventKind.MESSAGE, f"I have read f{number}.py."),
                AgentEvent(EventKind.USAGE, use=Use(100 * number, 10 * number)),
            ):
                await anyio.sleep(pause)
                yield event

    async def drained(self) -> None:
        """All streams, read by nobody."""
        with anyio.move_on_after(3.0):
            async with anyio.create_task_group() as tasks:
                for _ in range(WORKERS):
                    tasks.start_soon(self._drain)

    async def _drain(self) -> None:
        async for _ in self.events():
            pass


class _Watched:
    """The pool's own watch and sink over the streams."""

    def __init__(self, ours: Desk) -> None:
        self._ours = ours
        clock = SystemClock()
        self._parts = cast(
            "Any",
            SimpleNamespace(
                store=ours.services.store,
                caller=ours.caller,
                clock=clock,
                now=clock.now,
                heard=lambda: None,
                limits=Limits(),
                trees=SimpleNamespace(over=_none),
            ),
        )
        self._sink = Sink(self._parts)
        self._watches: list[Watching] = []

    async def begin(self) -> None:
        """Claim for each worker, and put it on record."""
        providers, policy = cast("Any", _Fixed()), replace(self._ours.services.policy, agent_wip_limit=WORKERS)

        async def work(tx: Transaction) -> Worker:
            claim = await claims.claim(tx, policy, self._ours.caller.agent_id, None, 600, None)
            if claim.task is None or claim.lease is None:
                raise RuntimeError(claim.reason)
            row = {"task_id": claim.task.id, "lease_token": claim.lease.token, "agent_id": self._ours.caller.agent_id}
            row |= {"run_id": "r", "provider": "p", "tier": "low", "model": "m", "host": "here", "reserved_usd": 0.0}
            return await tx.workers.add(row)

        for _ in range(WORKERS):
            worker = await self._ours.services.store.write(self._ours.caller, work)
            ledger = Ledger(providers, Caps(), worker)
            self._sink.begin(worker.worker_id, ledger)
            launched = cast("Any", SimpleNamespace(worker=worker, task=SimpleNamespace(id=worker.task_id)))
            parts, stream, asker = self._parts, cast("Any", _Stream()), cast("Any", None)
            self._watches.append(Watching(parts, launched, stream, asker, ledger, self._sink, worker.started_at))

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._sink.run)
            for one in self._watches:
                tasks.start_soon(one.until_over)


class _Fixed:
    """`ports.Providers` without any."""

    def current(self) -> Catalogue:
        return Catalogue(())


def _none(_: object) -> None: ...


async def _cpu(seconds: float, work: Any) -> float:
    """Percent of one core that this process takes while it works."""
    began, used = time.perf_counter(), time.process_time()
    await work()
    return 100 * (time.process_time() - used) / max(time.perf_counter() - began, seconds / 10)


async def _claims(ann: Desk, rounds: int) -> list[float]:
    """Milliseconds of each."""
    taken: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        claim = await ann.call("claim_task")
        taken.append((time.perf_counter() - began) * 1000)
        await ann.call("release_task", task_id=claim["task"]["id"])
    return taken
