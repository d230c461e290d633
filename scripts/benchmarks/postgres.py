"""`scripts/bench postgres`: claim designs on a bare PostgreSQL, one after the other on the same data.

A cycle is a claim and its completion: two transactions. Before the cycles are timed, each design must keep a limit that
is smaller than the number of its processes, while somebody else counts.
"""

import argparse
import multiprocessing
import os
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table

from scripts.benchmarks.postgres_designs import DESIGNS, FILL, SCHEMA, CounterRow, Full
from scripts.benchmarks.timing import p50, p99
from tests.support.postgres import Cluster

UNLIMITED = 1_000_000
START_SECONDS = 60.0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench postgres", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short and small: does it run, not how fast")
    parser.add_argument("--sizes", default="1000,100000", help="numbers of tasks; 1000000 takes some minutes more")
    parser.add_argument("--processes", default="1,4,16")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each figure")
    parser.add_argument("--no-fsync", action="store_true", help="commits do not wait for the disk, as in the tests")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table here as well")
    given = parser.parse_args(arguments)
    sizes = [1_000] if given.quick else [int(part) for part in given.sizes.split(",")]
    seconds = 0.5 if given.quick else given.seconds
    processes = [int(part) for part in given.processes.split(",")]
    sync = "off" if given.no_fsync else "on"
    cluster = Cluster.make(fsync=sync, full_page_writes=sync, shared_buffers="256MB", max_wal_size="2GB")
    rows: list[tuple[str, ...]] = []
    try:
        for size in sizes:
            for design in DESIGNS:
                with cluster.database() as url:
                    seed(url, size)
                    most = race(url, design, 8, 1.0, limit=3).most
                    if most > 3:
                        raise WrongDesign(f"{design.name}: {most} in progress with a limit of 3")
                    for count in processes:
                        found = race(url, design, count, seconds)
                        rows.append(found.row(design.name, size, count))
                        print("  ".join(rows[-1]), flush=True)
    finally:
        cluster.close()
    show(rows)
    if given.markdown:
        given.markdown.write_text(markdown(rows))
    return 0


COLUMNS = ("tasks", "design", "processes", "cycles/s", "claim p50 ms", "claim p99 ms", "complete p50 ms", "p99 ms")


class WrongDesign(Exception):
    """A limit was exceeded, or a task was taken twice."""


class Raced:
    """What the processes of one race measured; `most` is what an observer saw in progress at once."""

    def __init__(self, seconds: float, most: int) -> None:
        self.seconds = seconds
        self.most = most
        self.claims: list[float] = []
        self.completions: list[float] = []

    def row(self, design: str, size: int, processes: int) -> tuple[str, ...]:
        times = [f"{at(taken):.2f}" for taken in (self.claims, self.completions) for at in (p50, p99)]
        return (f"{size:,}", design, str(processes), f"{len(self.completions) / self.seconds:,.0f}", *times)


def seed(url: str, size: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA)
        connection.execute(FILL, (size,))
        connection.execute("VACUUM ANALYZE")


def race(url: str, design: type[CounterRow], processes: int, seconds: float, limit: int = UNLIMITED) -> Raced:
    """Let processes claim and complete for so long. With a limit, count what is in progress all the while."""
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(processes + 1)
    answers: Any = context.Queue()
    number = [DESIGNS.index(design), limit]
    workers = [context.Process(target=_work, args=(url, *number, start, answers, seconds)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    start.wait(START_SECONDS)
    found = Raced(seconds, _watched(url, seconds) if limit < UNLIMITED else 0)
    for _ in workers:
        claims, completions = answers.get(timeout=START_SECONDS + seconds)
        found.claims += claims
        found.completions += completions
    for worker in workers:
        worker.join(START_SECONDS)
    _check(url)
    return found


def _watched(url: str, seconds: float) -> int:
    most = 0
    until = time.monotonic() + seconds
    with psycopg.connect(url, autocommit=True) as connection:
        while time.monotonic() < until:
            seen = connection.execute("SELECT count(*) FROM tasks WHERE status = 'in_progress'").fetchone()
            most = max(most, seen[0] if seen else 0)
    return most


def _check(url: str) -> None:
    """Nothing was taken twice and the counter is right."""
    with psycopg.connect(url) as connection:
        kept, held, twice = connection.execute(
            """
            SELECT (SELECT n FROM counters), (SELECT count(*) FROM tasks WHERE status = 'in_progress'),
              (SELECT count(*) FROM tasks WHERE lease_token <> (
                SELECT count(*) FROM events WHERE task_id = tasks.id AND kind = 'task.claimed'))
            """
        ).fetchone() or (0, 0, 0)
    if (kept, held, twice) != (0, 0, 0):
        raise WrongDesign(f"counter {kept}, in progress {held}, taken twice {twice}: all should be 0")


def _work(url: str, design: int, limit: int, start: Barrier, answers: Any, seconds: float) -> None:
    claims: list[float] = []
    completions: list[float] = []
    with psycopg.connect(url, autocommit=True, prepare_threshold=1) as connection:
        desk = DESIGNS[design](connection, f"agent-{os.getpid()}", limit)
        start.wait(START_SECONDS)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            began = time.perf_counter()
            try:
                claimed = desk.claim()
            except Full:
                continue
            if claimed is None:
                _refill(connection)
                continue
            between = time.perf_counter()
            desk.complete(*claimed)
            claims.append((between - began) * 1000)
            completions.append((time.perf_counter() - between) * 1000)
    answers.put((claims, completions))


def _refill(connection: psycopg.Connection[Any]) -> None:
    """Open what is done again; it is not timed, but the others may wait for it."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(7)")
        connection.execute("UPDATE tasks SET status = 'pending' WHERE status = 'done'")


def show(rows: list[tuple[str, ...]]) -> None:
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*row)
    Console(width=130).print(table)


def markdown(rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"
