"""Stores of earlier versions, kept as SQL text, with data in them: what a migration has to bring forward.

`python -m tests.support.frozen` keeps the present version of both dialects in `tests/store/versions`. A kept version is
never made again: what stores in the field look like does not change either.
"""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg

from tests.faults.life import STEPS, Life
from tests.support.databases import Source, sqlite
from tests.support.postgres import Cluster, new_folder, programs_folder
from wvo_mcp.execution.session_lock import SessionLocks
from wvo_mcp.operations import ALL
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.versions import latest

VERSIONS = Path(__file__).resolve().parents[1] / "store" / "versions"

HELD = "P1"
"""The task that ann holds in every kept store, under HOLDER, with a checkpoint."""
HOLDER = "ann.1"


def kept(dialect: str, version: int) -> Path:
    return VERSIONS / f"{dialect}-{version:04}.dump"


def load(source: Source, version: int) -> None:
    """Make the store as it was left by that version, in a file that does not exist yet or an empty database."""
    if isinstance(source, Path):
        source.parent.mkdir(parents=True, exist_ok=True)
        raw = sqlite.connect(str(source), isolation_level=None)
        raw.execute("PRAGMA journal_mode = WAL")
        raw.executescript(kept("sqlite", version).read_text())
        raw.close()
        return
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute(kept("postgres", version).read_bytes(), prepare=False)


async def _live(folder: Path, url: str | None) -> None:
    life = Life(folder, generation=1)
    if url is not None:
        store = PostgresStore(url, life.clock, SessionLocks(folder / "sessions"))
        life.store, life.services = store, replace(life.services, store=store)  # pyright: ignore[reportAttributeAccessIssue]
    async with life:
        for place in range(len(STEPS)):
            await life.live(place)
        ann = life.callers["ann"]
        await ALL["update_task"](life.services, ann, {"task_id": HELD, "priority": "critical", "labels": ["held"]})
        claim = await ALL["claim_task"](life.services, ann, {"task_id": HELD})
        saved = {"task_id": HELD, "lease_token": claim["lease"]["token"], "summary": "half", "progress": 50}
        await ALL["checkpoint"](life.services, ann, saved)


def _sqlite_text(path: Path) -> str:
    raw = sqlite.connect(str(path), isolation_level=None)
    raw.execute("UPDATE sessions SET pid = 1, host = 'somewhere'")
    made = raw.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid").fetchall()
    virtual = [name for _, name, sql in made if sql.startswith("CREATE VIRTUAL")]
    shadows = tuple(f"{name}_" for name in virtual)
    tables = [
        (name, sql)
        for kind, name, sql in made
        if kind == "table" and name not in virtual and not name.startswith(shadows)
    ]
    lines = ["BEGIN;", *(f"{sql};" for _, sql in tables)]
    for name, _ in tables:
        columns = [row[1] for row in raw.execute(f"PRAGMA table_info({name})")]
        values = " || ', ' || ".join(f"quote({column})" for column in columns)
        for (row,) in raw.execute(f"SELECT {values} FROM {name}"):
            lines.append(f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({row});")
    lines += [f"{sql};" for _, name, sql in made if name in virtual]
    lines += [f"INSERT INTO {name} ({name}) VALUES ('rebuild');" for name in virtual]
    for kind in ("index", "view", "trigger"):
        lines += [f"{sql};" for of_kind, _, sql in made if of_kind == kind]
    for pragma in ("application_id", "user_version"):
        lines.append(f"PRAGMA {pragma} = {raw.execute(f'PRAGMA {pragma}').fetchone()[0]};")
    raw.close()
    return "\n".join([*lines, "COMMIT;", ""])


def _postgres_text(url: str) -> str:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE sessions SET pid = 1, host = 'somewhere'")
    programs = programs_folder()
    assert programs is not None
    dumped = subprocess.run(
        [programs / "pg_dump", "--no-owner", "--no-privileges", "--inserts", url],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = (line.rstrip() for line in dumped.splitlines())
    return "\n".join(line for line in lines if not line.startswith(("\\", "--")) and line) + "\n"


@contextmanager
def _cluster() -> Generator[Cluster]:
    os.environ.setdefault("WVO_TEST_POSTGRES_SHARED", str(new_folder()))
    cluster = Cluster.make()
    try:
        yield cluster
    finally:
        cluster.close()


def main() -> None:
    version = latest()
    VERSIONS.mkdir(exist_ok=True)
    missing = [dialect for dialect in ("sqlite", "postgres") if not kept(dialect, version).exists()]
    with tempfile.TemporaryDirectory() as folder:
        if "sqlite" in missing:
            asyncio.run(_live(Path(folder) / "s", None))
            kept("sqlite", version).write_text(_sqlite_text(Path(folder) / "s" / "state.db"))
        if "postgres" in missing:
            (Path(folder) / "p").mkdir()
            with _cluster() as cluster, cluster.database() as url:
                asyncio.run(_live(Path(folder) / "p", url))
                kept("postgres", version).write_text(_postgres_text(url))


if __name__ == "__main__":
    main()
