"""The health cycle on stores of any size: how long it takes, beside the same counts by bare SQL, and how long it holds the
write lock."""

import asyncio
import os
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import psutil

from scripts.benchmarks import seeding
from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.process import HELLO, INITIALIZED, SERVER, ask
from scripts.benchmarks.timing import p50, p99
from wvo_mcp.domain.health import Thresholds
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.execution.clock import SystemClock
from wvo_mcp.execution.session_lock import SessionLocks
from wvo_mcp.orchestration.health.loop import HealthLoop, walk
from wvo_mcp.orchestration.health.observe import WALKED
from wvo_mcp.orchestration.leader import Candidate, LeaderTerm
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.store.sqlite.connection import sqlite
from wvo_mcp.store.sqlite.doctor_checks import SqliteProbe
from wvo_mcp.store.sqlite.store import SqliteStore

T = TypeVar("T")
LOCK_MS = 20.0
_CALLER = Caller("bench", "bench", durable=True)
_HELD, _COMPLETED, _GONE = 300, 3_600, 2_000

COUNTS = (
    "SELECT name, n FROM counters",
    "SELECT coalesce(sum(ready), 0) FROM lanes INDEXED BY lanes_ready WHERE ready > 0",
    "SELECT status, count(*) FROM agent_pool GROUP BY 1",
    "SELECT t.id, s.ended_at FROM tasks AS t LEFT JOIN sessions AS s ON s.session_id = t.session_id"
    " WHERE t.status = 'in_progress'",
    "SELECT count(*) FROM events WHERE kind = 'task.completed' AND seq > (SELECT max(seq) - 10000 FROM events)",
    "SELECT metrics FROM health_samples",
)
RECOUNT = "SELECT status, count(*), sum(unmet_deps = 0) FROM tasks GROUP BY status"


class Timed:
    """A store that notes how long its transactions take as a whole, and `locked`, how long their work held the lock."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.reads: list[float] = []
        self.writes: list[float] = []
        self.locked: list[float] = []

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        began = time.perf_counter()
        try:
            return await self._store.read(caller, work)
        finally:
            self.reads.append((time.perf_counter() - began) * 1_000)

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        began = time.perf_counter()

        async def working(tx: Transaction) -> T:
            inside = time.perf_counter()
            try:
                return await work(tx)
            finally:
                self.locked.append((time.perf_counter() - inside) * 1_000)

        try:
            return await self._store.write(caller, working, keep=keep)
        finally:
            self.writes.append((time.perf_counter() - began) * 1_000)


def measure(report: Report, *, sizes: list[int], quick: bool, folder: Path) -> None:
    for size in sizes:
        workspace = folder / f"health-{size}"
        database = seeding.copied(seeding.kept(f"tasks-{size}", lambda size=size: seeding.groups(size)), workspace)
        _in_use(database)
        asyncio.run(_cycles(report, database, size, rounds=5 if quick else 30))
    _idle(report, folder, 5.0 if quick else 130.0)


def _in_use(database: Path) -> None:
    """Work in progress, an hour of completions, and tasks that were cancelled under others."""
    now = datetime.now(UTC)
    with closing(sqlite.connect(str(database), isolation_level=None)) as raw:
        raw.execute("BEGIN")
        ids = [row[0] for row in raw.execute("SELECT id FROM tasks WHERE status = 'pending' LIMIT ?", (_HELD + _GONE,))]
        for n, task_id in enumerate(ids[:_HELD]):
            raw.execute(
                "UPDATE tasks SET status = 'in_progress', assigned_to = ?, session_id = ?, lease_token = 1,"
                " lease_seconds = 86400, lease_expires_at = ?, updated_at = ? WHERE id = ?",
                (f"agent{n}", f"s{n}", iso(now + timedelta(days=1)), iso(now), task_id),
            )
            raw.execute(
                "INSERT INTO sessions (session_id, agent_id, durable, started_at, last_call_at) VALUES (?, ?, 1, ?, ?)",
                (f"s{n}", f"agent{n}", iso(now), iso(now)),
            )
            raw.execute(
                "INSERT INTO agent_pool (agent_id, status, current_task_id, last_seen_at) VALUES (?, 'busy', ?, ?)",
                (f"agent{n}", task_id, iso(now)),
            )
        for task_id in ids[_HELD:]:
            raw.execute("UPDATE tasks SET status = 'cancelled' WHERE id = ?", (task_id,))
        last = raw.execute("SELECT max(seq) FROM events").fetchone()[0]
        raw.executemany(
            "INSERT INTO events (seq, at, kind, prev_hash, hash) VALUES (?, ?, 'task.completed', '', '')",
            [(last + 1 + n, iso(now - timedelta(seconds=_COMPLETED - n))) for n in range(_COMPLETED)],
        )
        raw.execute("COMMIT")


async def _cycles(report: Report, database: Path, size: int, rounds: int) -> None:
    store = SqliteStore(database, SystemClock(), SessionLocks(database.parent / "sessions"))
    await store.open()
    timed = Timed(store)
    loop = HealthLoop(Thresholds(wip_limit=_HELD), Policy(), SystemClock(), SqliteProbe(database))
    first, taken, floor, recount = 0.0, list[float](), list[float](), list[float]()
    try:
        began = time.perf_counter()
        found = await walk(timed, _CALLER)
        walked = (time.perf_counter() - began) * 1_000
        term = await _term(timed)
        await term.write(term.caller, lambda tx: tx.state.put(WALKED, asdict(found)))
        slice_ms = max(timed.reads)
        with closing(sqlite.connect(str(database), isolation_level=None)) as raw:
            for number in range(-2, rounds):
                term = await _term(timed)
                timed.reads.clear()
                began = time.perf_counter()
                await loop.cycle(term)
                passed = (time.perf_counter() - began) * 1_000
                if number == -2:
                    first = passed
                bare, full = _bare(raw, COUNTS), _bare(raw, (RECOUNT,))
                if number >= 0:
                    taken.append(passed)
                    floor.append(bare)
                    recount.append(full)
    finally:
        await store.close()
    report.add(
        Figure(
            "health cycle",
            "ms",
            p50(taken),
            size=size,
            p99=p99(taken),
            floors=[Floor("the same counts, bare SQL", p50(floor)), Floor("counting all tasks", p50(recount))],
            targets=[Target(100.0 if size <= 100_000 else 500.0)],
            samples=len(taken),
            note=f"the first, with {_COMPLETED} completions to count: {first:.0f} ms",
        ),
        Figure(
            "work under the write lock, a write of the cycle",
            "ms",
            p50(timed.locked),
            size=size,
            p99=max(timed.locked),
            targets=[Target(LOCK_MS)],
            samples=len(timed.locked),
            note=f"with hop, begin and sync: {p50(timed.writes):.1f} ms, longest {max(timed.writes):.1f}",
        ),
        Figure(
            "walk over the graph, when it changed", "ms", walked, size=size, note=f"longest slice {slice_ms:.1f} ms"
        ),
    )


async def _term(store: Store) -> LeaderTerm:
    term = await Candidate(store, lambda: _CALLER, SystemClock()).seek()
    if term is None:
        raise RuntimeError("somebody else leads a store that is ours")
    return term


def _bare(raw: Any, statements: tuple[str, ...]) -> float:
    began = time.perf_counter()
    for statement in statements:
        raw.execute(statement).fetchall()
    return (time.perf_counter() - began) * 1_000


def _idle(report: Report, folder: Path, seconds: float) -> None:
    """CPU of a server that leads and has nothing else to do; over two cycles and more."""
    workspace = folder / "idle"
    seeding.copied(seeding.kept("tasks-1000", lambda: seeding.groups(1_000)), workspace)
    with subprocess.Popen(
        SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "ROOT": str(workspace)}
    ) as server:
        try:
            ask(server, HELLO, INITIALIZED)
            time.sleep(3.0)
            process = psutil.Process(server.pid)
            before, began = process.cpu_times(), time.monotonic()
            time.sleep(seconds)
            after, passed = process.cpu_times(), time.monotonic() - began
        finally:
            server.kill()
    used = (after.user + after.system - before.user - before.system) / passed * 100
    report.add(
        Figure(
            "CPU of an idle server that leads",
            "%",
            used,
            size=1_000,
            targets=[Target(0.5)],
            note=f"over {passed:.0f} s",
        )
    )
