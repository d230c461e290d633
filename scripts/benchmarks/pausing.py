"""How long it takes until a worker that is to be paused has acknowledged it, beside two writes that tell each other."""

import time
from contextlib import AsyncExitStack
from pathlib import Path

import anyio

from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.product import Desk, desk
from scripts.benchmarks.timing import p50, p99
from wvo_mcp.orchestration.pool.facts import Halt, Watch
from wvo_mcp.orchestration.workspaces import pausing

_TASK = "T1"
_LEASE_SECONDS = 3_600.0
_BETWEEN_SECONDS = 0.5
"""Longer than a store takes to see a change: of two pauses within it the second one is not told."""


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    """What the program of a vendor takes to end its turn comes on top of it."""
    anyio.run(_measure, report, 10 if quick else 40, folder / "pausing")


async def _measure(report: Report, rounds: int, folder: Path) -> None:
    (folder / "state").mkdir(parents=True)
    async with AsyncExitStack() as stack:
        person = await stack.enter_async_context(desk(folder, "cli-person"))
        pool = await stack.enter_async_context(desk(folder, "auto-here"))
        await pool.call("create_tasks", tasks=[{"id": _TASK, "title": "Price rules"}])
        await pool.call("claim_task", task_id=_TASK)
        bare = [await _answered(person, pool, number) for number in range(rounds)]
        taken = await _paused(person, pool, rounds)
    report.add(
        Figure(
            "pause, until the pool has acknowledged it",
            "ms",
            p50(taken),
            p99=p99(taken),
            floors=[Floor("a write that another session answers with one", p50(bare))],
            targets=[Target(100)],
            samples=rounds,
        )
    )


async def _paused(person: Desk, pool: Desk, rounds: int) -> list[float]:
    """As the pool does it: one look-out for all that people want, which acknowledges when nobody writes any more."""
    store, taken = pool.services.store, list[float]()

    async def acknowledge() -> None:
        await store.write(pool.caller, lambda tx: pausing.acknowledge(tx, _TASK))

    def told(halt: Halt) -> None:
        if _TASK in halt.still:
            tasks.start_soon(acknowledge)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Watch(store, pool.caller, _LEASE_SECONDS).run, told)
        for _ in range(rounds):
            await anyio.sleep(_BETWEEN_SECONDS)
            begun = time.perf_counter()
            async with pausing.paused(person.services.store, person.caller, _TASK, "a bench") as pause:
                taken.append((time.perf_counter() - begun) * 1_000)
            assert not pause.forced
        tasks.cancel_scope.cancel()
    return taken


async def _answered(person: Desk, pool: Desk, number: int) -> float:
    ours, theirs = person.services.store, pool.services.store

    async def answer() -> None:
        while await theirs.read(pool.caller, lambda tx: tx.state.get("asked")) != number:
            await theirs.wait_for_change(1.0)
        await theirs.write(pool.caller, lambda tx: tx.state.put("answered", number))

    took = 0.0
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        await anyio.sleep(_BETWEEN_SECONDS)
        begun = time.perf_counter()
        await ours.write(person.caller, lambda tx: tx.state.put("asked", number))
        while await ours.read(person.caller, lambda tx: tx.state.get("answered")) != number:
            await ours.wait_for_change(1.0)
        took = (time.perf_counter() - begun) * 1_000
    return took
