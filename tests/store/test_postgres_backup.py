"""Backups of a PostgreSQL store, by pg_dump and pg_restore."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.clock import StoppedClock
from tests.support.invariants import verify
from tests.support.sessions import Servers, a_person
from wvo_mcp.domain.lease import Policy
from wvo_mcp.errors import IncompatibleStore, NotFound, StaleLease, StoreUnavailable
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap_source import RoadmapSource
from wvo_mcp.operations import Services
from wvo_mcp.orchestration.backups import hourly
from wvo_mcp.ports import Transaction
from wvo_mcp.store.postgres import backup as module
from wvo_mcp.store.postgres.backup import PostgresBackups, PostgresRestoring
from wvo_mcp.store.postgres.store import PostgresStore

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DR-1", "DR-2", "SCALE-1")]


@pytest.fixture
async def work(database_url: str, tmp_path: Path, servers: Servers) -> AsyncGenerator[Bench]:
    """A bench on PostgreSQL whose time is the database's."""
    store = PostgresStore(database_url, liveness=servers)
    await store.open()
    services = Services(store, Policy(), RoadmapSource(tmp_path / "roadmap.yaml"), DirectiveFiles(tmp_path))
    yield Bench(services, store, StoppedClock(), servers)
    await store.close()


@pytest.fixture
def backups(database_url: str, tmp_path: Path) -> PostgresBackups:
    return PostgresBackups(database_url, tmp_path / "backups" / "db")


@pytest.fixture
def restoring(database_url: str, tmp_path: Path) -> PostgresRestoring:
    return PostgresRestoring(database_url, tmp_path / "backups" / "db", a_person())


async def ids(work: Bench) -> list[str]:
    return [row["id"] for row in await work.sql("SELECT id FROM tasks ORDER BY id")]


async def test_a_backup_is_restored_in_one_transaction_and_what_it_replaces_is_kept(
    work: Bench, backups: PostgresBackups, restoring: PostgresRestoring, database_url: str
) -> None:
    await work.create(a_task("A"), a_task("B", depends_on=["A"]))
    assert await hourly(work.store, backups, ANN)
    (backup,) = await backups.all()
    assert backup.name == f"state-{backup.at:%Y-%m-%d-%H}.dump"
    assert backup.bytes > 0
    await backups.verify(backup.name)
    held = await work.claim(ANN, "A")
    await work.create(a_task("C"))

    done = await restoring.restore()

    assert done.backup.name == backup.name
    assert done.lost_since is not None
    assert done.lost_until is not None
    assert done.lost_since <= done.lost_until
    assert await ids(work) == ["A", "B"]
    verify(database_url)
    taken = await work.claim(BOB, "A")
    assert taken["lease"]["token"] > held["lease"]["token"]
    with pytest.raises(StaleLease):
        await work.complete("A", ANN, lease_token=held["lease"]["token"])
    await work.complete("A", BOB)
    await work.create(a_task("D"))
    verify(database_url)

    assert done.safety is not None
    assert (await restoring.restore(done.safety)).backup.kind.value == "safety"
    assert await ids(work) == ["A", "B", "C"]
    verify(database_url)


async def test_a_damaged_dump_is_passed_over(
    work: Bench, backups: PostgresBackups, restoring: PostgresRestoring
) -> None:
    await work.create(a_task("A"))
    made = (await backups.create(await work.read(_now))).backup
    path = backups.folder.folder / made.name
    older = path.with_name("state-2026-03-02-09.dump")
    older.write_bytes(path.read_bytes())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(IncompatibleStore, match="cannot be used"):
        await backups.verify(made.name)
    with pytest.raises(IncompatibleStore):
        await restoring.restore(made.name)
    done = await restoring.restore()

    assert done.backup.name == older.name
    assert list(done.passed_over) == [made.name]
    older.write_bytes(b"")
    with pytest.raises(NotFound):
        await restoring.restore()
    assert await ids(work) == ["A"]


async def test_an_emptied_database_is_restored(
    work: Bench, backups: PostgresBackups, restoring: PostgresRestoring, database_url: str
) -> None:
    await work.create(a_task("A"))
    await backups.create(await work.read(_now))
    with psycopg.connect(database_url, autocommit=True) as raw:
        raw.execute("DROP TABLE events CASCADE")
        raw.execute("DROP TABLE tasks CASCADE")

    done = await restoring.restore()

    assert done.safety is None
    assert await ids(work) == ["A"]
    verify(database_url)


async def test_a_schema_that_others_use_as_well_is_not_touched(
    work: Bench, backups: PostgresBackups, restoring: PostgresRestoring, database_url: str
) -> None:
    await work.create(a_task("A"))
    made = await backups.create(await work.read(_now))
    with psycopg.connect(database_url, autocommit=True) as raw:
        raw.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(IncompatibleStore, match="recipes"):
        await backups.create(await work.read(_now))
    with pytest.raises(IncompatibleStore, match="recipes"):
        await restoring.restore()
    assert [backup.name for backup in await backups.all()] == [made.backup.name]


async def test_without_the_program_it_says_what_to_install(
    work: Bench, backups: PostgresBackups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PLACES", ())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StoreUnavailable, match="pg_dump was not found") as refused:
        await backups.create(await work.read(_now))
    assert "postgresql-client" in refused.value.hint


async def test_a_database_that_cannot_be_reached_is_named(tmp_path: Path, backups: PostgresBackups) -> None:
    lost = PostgresBackups("postgresql://wvo:secret@127.0.0.1:1/none", tmp_path / "backups" / "db")
    with pytest.raises(StoreUnavailable) as refused:
        await lost.create(datetime.now(UTC))
    assert "secret" not in str(refused.value)


async def _now(tx: Transaction) -> datetime:
    return tx.now
