"""`scripts/bench stores`: claims per second on both stores, of any size, beside the bare SQL that does the same.

A cycle is a claim and a release. Product and bare connection take turns on the same data, so that the machine is the
same for both; commits wait for the disk. The copy of each store into PostgreSQL is timed on the way.
"""

import argparse
import tempfile
from pathlib import Path

import psycopg

from scripts.benchmarks import seeding
from scripts.benchmarks.throughput import race
from scripts.benchmarks.timing import p50, p99
from tests.support.postgres import Cluster
from wvo_mcp.store.copying.copy import copy
from wvo_mcp.store.copying.postgres import PostgresTarget
from wvo_mcp.store.copying.sqlite import sqlite_source

COLUMNS = (
    "store", "tasks", "processes", "cycles/s", "bare", "ratio", "claim p50 / p99 ms", "bare p50 / p99 ms"
)  # fmt: skip


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench stores", description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000,1000000")
    parser.add_argument("--processes", default="1,4,16")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each turn of each side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["sqlite", "postgres"])
    given = parser.parse_args(arguments)
    sizes = [int(part) for part in given.sizes.split(",")]
    processes = [int(part) for part in given.processes.split(",")]
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS), flush=True)
    for size in sizes:
        source = seeding.kept(f"tasks-{size}", lambda size=size: seeding.groups(size))
        for count in processes if given.only != "postgres" else ():
            # A copy for each: what the bare connection leaves behind is no sound store.
            with tempfile.TemporaryDirectory(prefix="wvo-bench-") as name:
                seeding.copied(source, Path(name))
                _show("SQLite", size, count, given, Path(name), None)
        if given.only != "sqlite":
            with tempfile.TemporaryDirectory(prefix="wvo-bench-") as name:
                seeding.copied(source, Path(name))
                _on_postgres(size, processes, given, Path(name))
    return 0


def _on_postgres(size: int, processes: list[int], given: argparse.Namespace, folder: Path) -> None:
    cluster = Cluster.make(fsync="on", full_page_writes="on", shared_buffers="512MB", max_wal_size="4GB")
    try:
        with cluster.database() as url:
            database = folder / "state" / "state.db"
            with sqlite_source(database, lambda _: False) as source, PostgresTarget(url) as target:
                copied = copy(source, target, lambda _: None)
            with psycopg.connect(url, autocommit=True) as raw:
                raw.execute("VACUUM ANALYZE")
            for count in processes:
                _show("PostgreSQL", size, count, given, folder, url)
            print(f"<!-- copied: {copied.rows:,} rows, {copied.rows_per_second:,.0f} a second -->", flush=True)
    finally:
        cluster.close()


def _show(store: str, size: int, count: int, given: argparse.Namespace, folder: Path, url: str | None) -> None:
    ours, bare = race(folder, url, count, given.seconds, given.rounds)
    span = given.seconds * given.rounds
    figures = [
        store, f"{size:,}", str(count), f"{len(ours) / span:,.0f}", f"{len(bare) / span:,.0f}",
        f"{len(ours) / max(1, len(bare)):.2f}", f"{p50(ours):.2f} / {p99(ours):.2f}", f"{p50(bare):.2f} / {p99(bare):.2f}",
    ]  # fmt: skip
    print("| " + " | ".join(figures) + " |", flush=True)
