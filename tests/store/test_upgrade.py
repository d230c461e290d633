"""Stores of earlier versions are brought forward whole or not at all, and servers of two versions never mix on one store."""

import json
import re
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.bench import ANN, BOB, AnyStore, Bench, a_task
from tests.support.clock import StoppedClock
from tests.support.databases import Source, looked_at
from tests.support.frozen import HELD, kept, load
from tests.support.invariants import verify
from tests.support.nursery import Nursery
from tests.support.services import Services
from tests.support.sessions import Servers, an_agent
from tests.support.waiting import eventually
from wvo_mcp.domain.lease import Policy
from wvo_mcp.errors import IncompatibleStore
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.orchestration.keeping import Keeper
from wvo_mcp.orchestration.leader import LEASE_SECONDS, Candidate
from wvo_mcp.store import versions
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DR-4")]

PRESENT = versions.latest()
NEXT = PRESENT + 1
COMMON = """\
-- A later version: new columns, a table filled from what is there, an index.
ALTER TABLE epics ADD COLUMN owner TEXT NOT NULL DEFAULT 'nobody';
UPDATE epics SET owner = 'somebody' WHERE id = 'CORE';
CREATE TABLE epic_notes (epic_id TEXT PRIMARY KEY, note TEXT NOT NULL);
INSERT INTO epic_notes (epic_id, note) SELECT id, title FROM epics;
{pause}
ALTER TABLE tasks ADD COLUMN effort REAL;
UPDATE tasks SET effort = complexity * 2.0 WHERE id > '';
CREATE INDEX tasks_effort ON tasks (effort);
"""


@pytest.fixture
def source(store_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Source:
    """Where a store of an earlier version may be put."""
    return tmp_path / "old" / "state.db" if store_kind == "sqlite" else request.getfixturevalue("database_url")


def opened_at(source: Source, clock: StoppedClock, servers: Servers) -> AnyStore:
    if isinstance(source, Path):
        return SqliteStore(source, clock, servers, synchronous="OFF")
    return PostgresStore(source, clock, servers)


@pytest.fixture
async def bring(source: Source, clock: StoppedClock, servers: Servers) -> AsyncGenerator[Callable[[], Bench]]:
    """Makes a bench over the store at `source`, which has to be opened; all are closed in the end."""
    made: list[AnyStore] = []
    clock.advance(days=30)  # later than anything in the kept stores

    def bench() -> Bench:
        store = opened_at(source, clock, servers)
        made.append(store)
        folder = Path("/nonexistent")
        services = Services(store, Policy(), RoadmapSource(folder / "roadmap.yaml"), DirectiveFiles(folder))
        return Bench(services, store, clock, servers)

    yield bench
    for store in made:
        await store.close()


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """A folder of migrations with one more than ours."""
    return more(tmp_path / "later")


def more(folder: Path, pause: str = "") -> Path:
    shutil.copytree(versions.FOLDER, folder)
    for dialect in ("sqlite", "postgres"):
        script = COMMON.format(pause=pause if dialect == "postgres" else "")
        (folder / dialect / f"{NEXT:04}_later.sql").write_text(script)
    return folder


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch, later: Path) -> Callable[[], None]:
    """From its call on, this process is a newer program."""
    return lambda: monkeypatch.setattr(versions, "FOLDER", later)


def content(source: Source) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table of ours, by its columns; without those of full text and of time-keeping."""
    with looked_at(source) as database:
        return {
            table: sorted(database.rows(f"SELECT * FROM {table} WHERE 1 = 1"), key=repr)
            for table in ("tasks", "events", "checkpoints", "context_entries", "task_dependencies", "sessions", "alerts",
                          "agent_pool", "epics", "milestones", "lanes", "facts", "requests", "lease_writes", "leaders",
                          "counters", "roadmap_entries", "task_labels", "task_waits")
        }  # fmt: skip


REMADE = {("tasks", name) for name in ("score", "unlock_count", "unlock_stale", "over_open")}
"""What the ranking by bundles replaced."""


def holds(now: dict[str, list[dict[str, Any]]], before: dict[str, list[dict[str, Any]]]) -> bool:
    """All rows of before are there, in all the columns that are not made anew."""
    for table, old in before.items():
        names = [name for name in (old[0] if old else {}) if (table, name) not in REMADE]
        found = [{name: row[name] for name in names} for row in now[table]]
        if not all({name: row[name] for name in names} in found for row in old):
            return False
    return True


def schema(source: Source) -> int:
    with looked_at(source) as database:
        return int(database.value("SELECT schema FROM store WHERE id = 1"))


def shape(source: Source) -> list[Any]:
    """Tables, columns, indexes and triggers, as the database tells them."""
    if isinstance(source, Path):
        with looked_at(source) as database:
            found = database.rows("SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name")
            return [re.sub(r"\s+", " ", f"{row['type']} {row['name']} {row['sql']}") for row in found]
    with psycopg.connect(source) as connection:
        return [
            *connection.execute(
                "SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name"
                " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2"
            ).fetchall(),
            *connection.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1").fetchall(),
            *connection.execute(
                "SELECT c.relname, t.tgname, translate(pg_get_triggerdef(t.oid), '()', ''), p.prosrc FROM pg_trigger AS t"
                " JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_proc AS p ON p.oid = t.tgfoid"
                " WHERE NOT t.tgisinternal ORDER BY 1, 2"
            ).fetchall(),
        ]


def test_both_dialects_have_the_same_migrations_and_a_kept_store_of_each() -> None:
    numbers = [number for number, _ in versions.migrations("sqlite")]

    assert numbers == [number for number, _ in versions.migrations("postgres")] == list(range(1, PRESENT + 1))
    for dialect in ("sqlite", "postgres"):
        for version in numbers:
            assert kept(dialect, version).is_file(), "python -m tests.support.frozen keeps it"


async def test_a_migration_that_was_released_is_not_changed_any_more(
    source: Source, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Stores in the field would differ from new ones. Changes are a new migration."""
    load(source, PRESENT)
    with ExitStack() as stack:
        is_file = isinstance(source, Path)
        fresh: Source = (
            tmp_path / "new.db" if is_file else stack.enter_context(request.getfixturevalue("postgres").database())
        )
        store = opened_at(fresh, StoppedClock(), Servers())
        await store.open()
        await store.close()

        assert shape(source) == shape(fresh)


@pytest.mark.parametrize(
    "version", [1, *(pytest.param(one, marks=pytest.mark.full) for one in range(2, PRESENT - 1)), PRESENT - 1, PRESENT]
)
async def test_a_store_of_each_version_is_opened_with_all_that_it_holds_and_works_on(
    source: Source, bring: Callable[[], Bench], version: int
) -> None:
    load(source, version)
    before = content(source)
    bench = bring()

    await bench.store.open()

    assert schema(source) == PRESENT
    assert holds(content(source), before)
    tasks = content(source)["tasks"]
    assert all(one["bundle_size"] >= one["complexity"] for one in tasks), "shown as parts of a score before any refresh"
    verify(source)
    while await bench.read(lambda tx: tx.graph.stale()):
        await bench.write(lambda tx: tx.graph.refresh(2))
    verify(source)
    await works(bench)
    verify(source)


async def test_a_store_with_data_takes_a_later_migration(
    source: Source, bring: Callable[[], Bench], upgrade: Callable[[], None]
) -> None:
    load(source, 1)
    before = content(source)
    upgrade()
    bench = bring()

    await bench.store.open()

    assert schema(source) == NEXT
    assert holds(content(source), before | {"epics": [], "tasks": []})
    assert {row["id"]: row["owner"] for row in await bench.sql("SELECT id, owner FROM epics")}["CORE"] == "somebody"
    assert await bench.sql("SELECT count(*) AS n FROM tasks WHERE effort IS NULL OR effort <> complexity * 2") == [
        {"n": 0}
    ]
    assert len(await bench.sql("SELECT * FROM epic_notes")) == len(before["epics"])
    verify(source)
    await works(bench)


async def works(bench: Bench) -> None:
    """Old tasks and new ones are claimed and completed; what was said before is found."""
    await bench.create(a_task("fresh", depends_on=[HELD]))
    assert (await bench.call("context_read", query="even"))["entries"]
    claim = await bench.claim(BOB, HELD)
    assert (claim["lease"]["token"], claim["resume"]["summary"]) == (2, "half")
    await bench.complete(HELD, BOB)
    await bench.done("fresh")


@pytest.mark.sqlite
def test_a_migration_killed_at_any_statement_leaves_the_old_version_whole(tmp_path: Path, later: Path) -> None:
    path = tmp_path / "state.db"
    outcomes: set[int] = set()
    with Nursery("tests.store.upgrading", tmp_path / "log") as nursery:
        for crash_at in range(1, 60):
            for leftover in tmp_path.glob("state.db*"):
                leftover.unlink()
            load(path, PRESENT)
            before = content(path)
            code = nursery.wait(nursery.spawn(source=str(path), folder=str(later), crash_at=crash_at))
            now = schema(path)
            outcomes.add(now)
            if code == 0:
                break
            if now == PRESENT:
                assert content(path) == before
            else:
                assert len(content(path)["tasks"]) == len(before["tasks"])
            verify(path)
        else:
            pytest.fail("the migration has more steps than this test kills")
        assert outcomes == {PRESENT, NEXT}
        assert crash_at > 2 * 8, "every statement was struck before and after"
        assert nursery.wait(nursery.spawn(source=str(path), folder=str(later))) == 0


def test_a_migration_killed_halfway_on_postgresql_leaves_the_old_version_whole(
    database_url: str, tmp_path: Path
) -> None:
    load(database_url, PRESENT)
    before = content(database_url)
    slow = more(tmp_path / "slow", pause="SELECT pg_advisory_xact_lock(4711);")
    with (
        Nursery("tests.store.upgrading", tmp_path / "log") as nursery,
        psycopg.connect(database_url, autocommit=True) as watching,
    ):

        def others(state: str) -> int:
            row = watching.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                f" AND {state}".encode()
            ).fetchone()
            return 0 if row is None else row[0]

        watching.execute("SELECT pg_advisory_lock(4711)")  # there it waits until it is let on
        child = nursery.spawn(source=database_url, folder=str(slow))
        eventually(lambda: others("wait_event_type = 'Lock' AND wait_event = 'advisory'"))
        nursery.kill(child)
        assert nursery.wait(child) < 0
        watching.execute("SELECT pg_advisory_unlock(4711)")
        eventually(lambda: others("true") == 0)

        assert schema(database_url) == PRESENT
        assert content(database_url) == before
        verify(database_url)
        assert nursery.wait(nursery.spawn(source=database_url, folder=str(slow))) == 0
    assert schema(database_url) == NEXT


async def test_a_server_of_the_old_version_is_refused_by_each_call_and_loses_nothing(
    source: Source, bring: Callable[[], Bench], upgrade: Callable[[], None], clock: StoppedClock, servers: Servers
) -> None:
    old = bring()
    await old.store.open()
    await old.create(a_task("T"), a_task("U"))
    token = (await old.claim(ANN, "T"))["lease"]["token"]
    await old.call("checkpoint", ANN, task_id="T", summary="half")
    keeper = Keeper(old.store, lambda: ANN, clock, 7_200)
    first = Candidate(old.store, lambda: ANN, clock)
    assert await first.seek()
    before = content(source)
    upgrade()
    new = bring()

    await new.store.open()

    for name, arguments in {
        "claim_task": {},
        "complete_task": {"task_id": "T", "summary": "done"},
        "heartbeat": {"task_id": "T"},
        "status": {},
    }.items():
        with pytest.raises(IncompatibleStore, match=f"schema {NEXT}") as refused:
            await old.call(name, ANN, **arguments)
        assert "Restart this server with the newer" in refused.value.hint
    with pytest.raises(IncompatibleStore):
        await keeper.renew()
    assert holds(content(source), before | {"epics": [], "tasks": []})

    # The lease is the old server's until it runs out, and its agent's when it connects anew.
    assert (await new.claim(BOB))["task"]["id"] == "U"
    servers.kill(ANN.session_id)
    again = an_agent("ann", "ann/2")
    resumed = await new.claim(again)
    assert (resumed["task"]["id"], resumed["resume"]["summary"]) == ("T", "half")
    assert resumed["lease"]["token"] >= token
    assert (await new.complete("T", again))["task"]["status"] == "done"
    await leads_no_more(first, new, clock)
    verify(source)


async def leads_no_more(old: Candidate, new: Bench, clock: StoppedClock) -> None:
    clock.advance(LEASE_SECONDS)
    with pytest.raises(IncompatibleStore):
        await old.seek()
    assert old.term is None
    assert await Candidate(new.store, lambda: BOB, clock).seek()


async def test_an_old_program_does_not_open_a_store_that_was_moved_on(
    source: Source, bring: Callable[[], Bench], monkeypatch: pytest.MonkeyPatch, later: Path
) -> None:
    load(source, 1)
    with monkeypatch.context() as newer:
        newer.setattr(versions, "FOLDER", later)
        await bring().store.open()
    before = content(source)

    with pytest.raises(
        IncompatibleStore, match=f"schema {NEXT}; this program knows schemas up to {PRESENT}"
    ) as refused:
        await bring().store.open()

    assert "Upgrade wvo-mcp" in refused.value.hint
    assert content(source) == before


async def test_servers_of_two_versions_on_one_store_lose_no_write_and_mix_none(
    store_kind: str, source: Source, tmp_path: Path, later: Path
) -> None:
    load(source, 1)
    told = tmp_path / "told"
    old, new = str(versions.FOLDER), str(later)
    with Nursery("tests.store.upgrading", tmp_path / "log") as nursery:
        writing = [nursery.spawn(source=str(source), folder=old, writes=100_000, told=str(told)) for _ in range(3)]
        eventually(lambda: told.exists() and len(told.read_text().splitlines()) > 30)
        newer = [nursery.spawn(source=str(source), folder=new, writes=20, told=str(told)) for _ in range(2)]
        late = nursery.spawn(source=str(source), folder=old, writes=100_000, told=str(told))
        assert [nursery.wait(child) for child in (*newer, *writing, late)] == [0] * 6

    lines = [json.loads(line) for line in told.read_text().splitlines()]
    refused = [message for what, message in lines if what == "refused"]
    assert len(refused) == 4
    assert all("schema" in message for message in refused)
    acknowledged = {name for what, name in lines if what == "wrote"}
    with looked_at(source) as database:
        assert acknowledged <= set(database.column("SELECT id FROM tasks"))
        assert database.value("SELECT count(*) FROM tasks WHERE effort IS NULL AND id IN ('A', 'B')") == 0
    assert schema(source) == NEXT
    verify(source)
