"""Claims per second: processes that claim and release as fast as they can, through the product and on bare connections.

Every process does both by turns, and all change sides together, so that the machine is the same for both.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import anyio

from scripts.benchmarks import seeding
from scripts.benchmarks.bare import Bare
from scripts.benchmarks.bare_postgres import BarePostgres
from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.product import Desk, desk
from scripts.benchmarks.timing import p50, p99

START_SECONDS = 120.0


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    """Claims per second with 1, 4 and 16 processes, and the claim's p99 when agents think for 20 ms."""
    size = 10_000 if quick else 100_000
    source = seeding.kept(f"tasks-{size}", lambda: seeding.groups(size))
    seconds, rounds = (1.0, 2) if quick else (2.0, 4)
    for processes, bound in ((1, 0.25), (4, None), (16, 0.5)):
        ours, bare = _race(source, folder, processes, seconds, rounds, think=0.0)
        report.add(
            Figure(
                f"claims per second, {processes} process{'es' if processes > 1 else ''}",
                "/s",
                len(ours) / (seconds * rounds),
                size=size,
                floors=[Floor("bare connection", len(bare) / (seconds * rounds))],
                targets=[Target(bound, "ratio", at_least=True)] if bound else [],
                samples=len(ours),
                note=f"one cycle is a claim and a release; claim p50 {p50(ours):.3f} ms, p99 {p99(ours):.3f} ms",
            )
        )
    ours, bare = _race(source, folder, 16, seconds, rounds, think=0.02)
    report.add(
        Figure(
            "claim with 20 ms of think time, 16 processes: p99",
            "ms",
            p99(ours),
            size=size,
            floors=[Floor("bare connection", p99(bare))],
            targets=[Target(100.0)],
            samples=len(ours),
            note=f"p50 {p50(ours):.3f} ms beside {p50(bare):.3f} ms",
        )
    )


def _race(
    source: Path, folder: Path, processes: int, seconds: float, rounds: int, think: float
) -> tuple[list[float], list[float]]:
    """Milliseconds of every claim on a copy of the store, of the product and bare."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        seeding.copied(source, Path(made))
        return race(Path(made), None, processes, seconds, rounds, think)


def race(
    workspace: Path, url: str | None, processes: int, seconds: float, rounds: int, think: float = 0.0
) -> tuple[list[float], list[float]]:
    """Milliseconds of every claim in the workspace, or in the database of the URL, of the product and bare."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(processes)
    answers: Any = context.Queue()
    workers = [
        context.Process(
            target=_work, args=(workspace, url, number, start, answers, seconds, rounds, think), daemon=True
        )
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    try:
        ours: list[float] = []
        bare: list[float] = []
        for _ in workers:
            mine, floor = answers.get(timeout=START_SECONDS + seconds * rounds * 4)
            ours += mine
            bare += floor
    finally:
        for worker in workers:
            worker.join(10)
            worker.kill()
    return ours, bare


def _work(
    workspace: Path,
    url: str | None,
    number: int,
    start: Barrier,
    answers: Any,
    seconds: float,
    rounds: int,
    think: float,
) -> None:
    answers.put(anyio.run(_take_turns, workspace, url, number, start, seconds, rounds, think))


async def _take_turns(
    workspace: Path, url: str | None, number: int, start: Barrier, seconds: float, rounds: int, think: float
) -> tuple[list[float], list[float]]:
    agent = f"bare-{number}"
    bare = Bare(workspace / "state" / "state.db", agent=agent) if url is None else BarePostgres(url, agent)
    ours: list[float] = []
    floor: list[float] = []
    async with desk(workspace, f"agent-{number}", url=url) as here:

        async def cycle() -> float:
            return await _cycle(here)

        async def bare_cycle() -> float:
            return _bare_cycle(bare)

        for turn in range(-1, rounds):
            for work, taken in ((cycle, ours), (bare_cycle, floor)):
                start.wait(START_SECONDS)
                times = await _repeat(work, seconds if turn >= 0 else 0.2, think)
                if turn >= 0:
                    taken += times
    bare.close()
    return ours, floor


async def _repeat(work: Callable[[], Awaitable[float]], seconds: float, think: float) -> list[float]:
    times: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        times.append(await work())
        if think:
            time.sleep(think)  # noqa: ASYNC251 - this process has nothing else to do
    return times


async def _cycle(here: Desk) -> float:
    started = time.perf_counter()
    claimed = await here.call("claim_task")
    passed = (time.perf_counter() - started) * 1000
    await here.call("release_task", task_id=claimed["task"]["id"])
    return passed


def _bare_cycle(bare: Bare | BarePostgres) -> float:
    started = time.perf_counter()
    task_id = bare.claim()
    passed = (time.perf_counter() - started) * 1000
    if task_id is not None:
        bare.release(task_id)
    return passed
