"""Backups of a PostgreSQL store, by pg_dump and pg_restore."""

import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.clock import StoppedClock
from tests.support.frozen import load
from tests.support.invariants import verify
from tests.support.postgres import Cluster
from tests.support.services import Services
from tests.support.sessions import Servers, a_person
from tests.support.waiting import eventually
from wvo_mcp.domain.finding import Outcome
from wvo_mcp.domain.lease import Policy
from wvo_mcp.errors import IncompatibleStore, NotFound, StaleLease, StoreBusy, StoreUnavailable
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.orchestration.hourly import hourly
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
    return PostgresRestoring(database_url, tmp_path / "backups" / "db", a_person(), PostgresStore(database_url))


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
    assert module.examine(backups.folder.folder, backup.at + timedelta(hours=3)).found.endswith(
        f"the newest, {backup.name}, is 3.0 hours old"
    )
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
    folder = backups.folder.folder
    warned = module.examine(folder, datetime.now(UTC))
    assert (warned.check, warned.outcome) == ("backups", Outcome.WARN)
    assert (
        warned.found == f"pg_dump was not found; backups of a PostgreSQL store are made with it (in {folder}: none yet;"
        " a running server makes one every hour)"
    )
    with pytest.raises(StoreUnavailable, match="pg_dump was not found") as refused:
        await backups.create(await work.read(_now))
    assert "postgresql-client" in refused.value.hint


async def test_the_programs_are_those_of_the_servers_version(
    work: Bench, backups: PostgresBackups, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database_url) as raw:
        major = raw.info.server_version // 10_000
    real = shutil.which("pg_dump") or next(path for place, _ in module._PLACES for path in place.glob("*/bin/pg_dump"))
    for version, body in ((major, f'exec {real} "$@"'), (99, "echo error: too new >&2; exit 1")):
        program = tmp_path / "programs" / str(version) / "bin" / "pg_dump"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    places = ((tmp_path / "programs", "*"), *module._PLACES)
    monkeypatch.setattr(module, "_PLACES", places[:1])
    with monkeypatch.context() as patched:
        patched.setattr(module, "verify", _believed)
        await work.create(a_task("A"))
        made = await backups.create(await work.read(_now))
    monkeypatch.setattr(module, "_PLACES", places[1:])
    await backups.verify(made.backup.name)


async def test_who_holds_the_tables_is_named_instead_of_waited_for(
    work: Bench,
    backups: PostgresBackups,
    restoring: PostgresRestoring,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await work.create(a_task("A"))
    await backups.create(await work.read(_now))
    with (
        monkeypatch.context() as impatient,
        psycopg.connect(database_url, application_name="a forgotten window") as raw,
    ):
        impatient.setattr(module, "_LOCK_SECONDS", 0.2)
        raw.execute("SELECT count(*) FROM tasks")
        with pytest.raises(StoreBusy, match=rf"a forgotten window \(process {raw.info.backend_pid}\)"):
            await restoring.restore()
    assert (await restoring.restore()).backup.kind.value == "hourly"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_program_does_not_outlive_the_process_that_started_it(tmp_path: Path) -> None:
    program = tmp_path / "15" / "bin" / "pg_restore"
    program.parent.mkdir(parents=True)
    told = tmp_path / "pid"
    program.write_text(f"#!/bin/sh\necho $$ > {told}.new && mv {told}.new {told}\nexec sleep 600\n")
    program.chmod(0o755)
    code = (
        "import pathlib, sys; from wvo_mcp.store.postgres import backup\n"
        "backup._PLACES = ((pathlib.Path(sys.argv[1]), '*'),)\n"
        "backup.verify(pathlib.Path('any'))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    try:
        eventually(told.exists)
    finally:
        parent.kill()
        parent.wait()
    child = int(told.read_text())
    eventually(lambda: not is_running(child))


async def test_a_database_that_cannot_be_reached_is_named(tmp_path: Path, backups: PostgresBackups) -> None:
    lost = PostgresBackups("postgresql://wvo:secret@127.0.0.1:1/none", tmp_path / "backups" / "db")
    with pytest.raises(StoreUnavailable) as refused:
        await lost.create(datetime.now(UTC))
    assert "secret" not in str(refused.value)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _believed(path: Path, stop: object = None) -> None:
    del path, stop


async def _now(tx: Transaction) -> datetime:
    return tx.now


async def test_a_dump_of_an_earlier_version_is_restored_over_a_store_of_this_one(
    postgres: Cluster, tmp_path: Path, servers: Servers
) -> None:
    with postgres.database() as url:
        load(url, 1)
        backups = PostgresBackups(url, tmp_path / "db")
        await backups.create(datetime.now(UTC))
        store = PostgresStore(url, liveness=servers)
        await store.open()
        before = await store.read(ANN, lambda tx: tx.tasks.count({}, 1_000))
        await store.close()

        await PostgresRestoring(url, tmp_path / "db", a_person(), PostgresStore(url)).restore()

        verify(url)
        again = PostgresStore(url, liveness=servers)
        await again.open()
        assert await again.read(ANN, lambda tx: tx.tasks.count({}, 1_000)) == before > 0
        await again.close()


async def test_a_restore_whose_reader_dies_halfway_changes_nothing(
    work: Bench,
    backups: PostgresBackups,
    restoring: PostgresRestoring,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await work.create(a_task("A"))
    await backups.create(await work.read(_now))
    await work.create(a_task("B"))
    real = module.find_program("pg_restore")
    halting = tmp_path / "pg_restore"
    halting.write_text(
        f"""#!/bin/sh
case "$*" in *--use-list*) "{real}" "$@" | head -c 30000; exit 1 ;; esac
exec "{real}" "$@"
"""
    )
    halting.chmod(0o755)
    found = module.find_program

    def chosen(name: str, major: int | None = None) -> Path:
        return halting if name == "pg_restore" else found(name, major)

    monkeypatch.setattr(module, "find_program", chosen)

    with pytest.raises(StoreUnavailable):
        await restoring.restore()

    assert await ids(work) == ["A", "B"]
