"""What a backup costs those who claim meanwhile, and how long a backup and a restore take."""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import anyio

from scripts.benchmarks import seeding
from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.product import desk
from scripts.benchmarks.timing import p99
from wvo_mcp.domain.lease import Caller
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.session_lock import SessionLocks
from wvo_mcp.store.sqlite.backup import Restoring, SqliteBackups
from wvo_mcp.store.sqlite.connection import sqlite
from wvo_mcp.store.sqlite.integrity import backups_of

THINK_SECONDS = 0.02
REST_SECONDS = 3.0
START_SECONDS = 120.0

Samples = list[tuple[float, float]]
"""(when the call began, its milliseconds)."""


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    """The longest call while a backup is made (and checked), beside the longest without one and beside the plain ways."""
    size = 20_000 if quick else 1_400_000
    workspace = folder / "backup"
    database = seeding.copied(seeding.kept(f"tasks-{size}", lambda: seeding.groups(size)), workspace)
    os.sync()
    gigabytes = database.stat().st_size / 1e9
    spans, samples = _beside_claims(workspace, database, quick)
    longest = {name: max(ms for at, ms in samples if began <= at <= ended) for name, (began, ended) in spans.items()}
    during = [ms for at, ms in samples if spans["backup"][0] <= at <= spans["backup"][1]]
    seconds = {name: ended - began for name, (began, ended) in spans.items()}
    report.add(
        Figure(
            "longest claim or release while a backup is made and checked",
            "ms",
            longest["backup"],
            size=size,
            p99=p99(during),
            floors=[
                Floor("without a backup", longest["none"]),
                Floor("whole backup()", longest["whole"]),
                Floor("VACUUM INTO", longest["vacuum"]),
            ],
            targets=[Target(50.0)],
            samples=len(during),
            note=f"a claim every {THINK_SECONDS * 1000:.0f} ms, store of {gigabytes:.2f} GB, synced commits",
        ),
        Figure(
            f"backup of {gigabytes:.2f} GB, checked",
            "s",
            seconds["backup"],
            size=size,
            floors=[Floor("whole backup()", seconds["whole"]), Floor("VACUUM INTO", seconds["vacuum"])],
            note="the floors are not checked",
        ),
    )
    began = time.monotonic()
    restoring = Restoring(
        database, SystemClock(), SessionLocks(workspace / "state" / "sessions"), Caller("bench", "cli:bench")
    )
    anyio.run(restoring.restore)
    report.add(
        Figure(
            f"restore of {gigabytes:.2f} GB",
            "s",
            time.monotonic() - began,
            size=size,
            note="backup checked, present store kept as a checked backup",
        )
    )


def _beside_claims(workspace: Path, database: Path, quick: bool) -> tuple[dict[str, tuple[float, float]], Samples]:
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    ready, stop = context.Event(), context.Event()
    claimer = context.Process(target=_claim, args=(workspace, answers, ready, stop), daemon=True)
    claimer.start()
    spans: dict[str, tuple[float, float]] = {}
    try:
        if not ready.wait(START_SECONDS):
            raise RuntimeError("the process that claims did not start")
        ways: dict[str, Callable[[], object]] = {
            "none": lambda: time.sleep(1 if quick else 10),
            "backup": lambda: _product(database),
            "whole": lambda: _whole(database, workspace / "whole.db"),
            "vacuum": lambda: _vacuum(database, workspace / "vacuum.db"),
        }
        for name, way in ways.items():
            time.sleep(0.5 if quick else REST_SECONDS)  # what the one before left to be written is written
            began = time.time()
            way()
            spans[name] = (began, time.time())
    finally:
        stop.set()
    samples: Samples = answers.get(timeout=START_SECONDS)
    claimer.join(10)
    return spans, samples


def _product(database: Path) -> None:
    at = datetime.now(UTC)
    backups = SqliteBackups(database, backups_of(database).folder)
    backups.make(f"state-{at:%Y-%m-%d-%H}.db", at, threading.Event())


def _whole(database: Path, target: Path) -> None:
    with closing(sqlite.connect(str(database))) as source, closing(sqlite.connect(str(target))) as copy:
        source.backup(copy)
    _synced(target)


def _vacuum(database: Path, target: Path) -> None:
    with closing(sqlite.connect(str(database), isolation_level=None)) as source:
        source.execute("VACUUM INTO ?", (str(target),))
    _synced(target)


def _synced(target: Path) -> None:
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    target.unlink()


def _claim(workspace: Path, answers: Any, ready: Event, stop: Event) -> None:
    answers.put(anyio.run(_claims, workspace, ready, stop))


async def _claims(workspace: Path, ready: Event, stop: Event) -> Samples:
    taken: Samples = []
    async with desk(workspace, "agent") as here:
        while not stop.is_set():
            at, began = time.time(), time.perf_counter()
            claimed = await here.call("claim_task")
            middle = time.perf_counter()
            await here.call("release_task", task_id=claimed["task"]["id"])
            taken.append((at, max(middle - began, time.perf_counter() - middle) * 1000))
            if len(taken) == 20:
                ready.set()
            time.sleep(THINK_SECONDS)  # noqa: ASYNC251 - this process has nothing else to do
    return taken
