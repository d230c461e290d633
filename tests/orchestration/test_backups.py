"""The backup of every hour, on a stopped clock."""

from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import anyio
import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.leading import a_leader
from tests.support.sessions import a_person
from wvo_mcp.errors import IncompatibleStore, StoreUnavailable, WvoError
from wvo_mcp.execution.reports import ContextSnapshots
from wvo_mcp.orchestration.hourly import hourly, leader_jobs, take
from wvo_mcp.ports.backend import DamagedStore, Made
from wvo_mcp.store.sqlite.backup import Restoring, SqliteBackups
from wvo_mcp.store.sqlite.connection import sqlite
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("DR-1")]


class Failing(SqliteBackups):
    """Real backups, until `trouble` is set."""

    trouble: WvoError | None = None

    async def create(self, at: datetime) -> Made:
        if self.trouble is not None:
            raise self.trouble
        return await super().create(at)


class Server:
    """A leader on a stopped clock."""

    def __init__(self, bench: Bench, backups: Failing, folder: Path) -> None:
        self._bench = bench
        self._leader = a_leader(bench.store, lambda: ANN, bench.clock, leader_jobs(backups, ContextSnapshots(folder)))

    async def turns(self, *, minutes: int) -> None:
        with anyio.fail_after(240):
            for _ in range(minutes * 6):
                async with anyio.create_task_group() as tasks:
                    assert await self._leader.tick(tasks)
                self._bench.clock.advance(seconds=10)


@pytest.fixture
async def backups(bench: Bench, store: SqliteStore) -> Failing:
    await bench.create(a_task("first"))
    return Failing(store.path, store.path.parent / "backups" / "db")


async def names(backups: SqliteBackups) -> list[str]:
    return [backup.name for backup in await backups.all()]


async def test_every_clock_hour_has_one_backup_whoever_leads(bench: Bench, backups: Failing) -> None:
    bench.clock.advance(minutes=58)
    assert await hourly(bench.store, backups, ANN)
    assert not await hourly(bench.store, backups, ANN)
    assert not await hourly(bench.store, backups, BOB)
    bench.clock.advance(minutes=2)
    assert await hourly(bench.store, backups, BOB)
    assert not await hourly(bench.store, backups, ANN)
    assert await names(backups) == ["state-2026-03-02-10.db", "state-2026-03-02-09.db"]


async def test_a_store_without_a_history_is_not_copied(store: SqliteStore) -> None:
    empty = SqliteBackups(store.path, store.path.parent / "backups" / "db")
    assert not await hourly(store, empty, ANN)
    assert await empty.all() == []


async def test_the_leader_takes_them_as_its_chores(bench: Bench, backups: Failing, tmp_path: Path) -> None:
    server = Server(bench, backups, tmp_path / "context")
    await server.turns(minutes=3)
    assert await names(backups) == ["state-2026-03-02-09.db"]
    bench.clock.advance(hours=1)
    await bench.create(a_task("second"))
    await server.turns(minutes=1)
    assert await names(backups) == ["state-2026-03-02-10.db", "state-2026-03-02-09.db"]
    assert len(list((tmp_path / "context").iterdir())) == 2


async def test_a_clock_that_is_set_back_an_hour_neither_repeats_nor_skips_a_backup(
    bench: Bench, backups: Failing
) -> None:
    await bench.create(a_task("A"))
    assert await hourly(bench.store, backups, ANN)
    bench.clock.jump(-3_600)
    assert not await hourly(bench.store, backups, ANN)
    bench.clock.advance(minutes=61)
    assert await hourly(bench.store, backups, ANN)
    assert await names(backups) == ["state-2026-03-02-10.db", "state-2026-03-02-09.db"]


async def test_a_restored_store_is_copied_anew_in_the_same_hour(
    bench: Bench, backups: Failing, store: SqliteStore
) -> None:
    assert await hourly(store, backups, ANN)
    bench.clock.advance(minutes=5)
    await Restoring(store.path, bench.clock, bench.servers, a_person()).restore()
    bench.clock.advance(minutes=1)
    await bench.create(a_task("after"))

    assert await hourly(store, backups, ANN)
    assert not await hourly(store, backups, ANN)

    with closing(sqlite.connect(str(backups.folder.folder / "state-2026-03-02-09.db"))) as raw:
        assert raw.execute("SELECT count(*) FROM tasks WHERE id = 'after'").fetchone() == (1,)


async def test_surplus_goes_with_the_next_backup(bench: Bench, backups: Failing) -> None:
    for _ in range(50):
        assert await hourly(bench.store, backups, ANN)
        bench.clock.advance(hours=1)
    kept = await names(backups)
    assert len(kept) == 25, "24 hours and the end of the day before those"
    assert "state-2026-03-02-23.db" in kept


async def test_surplus_goes_also_when_people_take_the_backups(bench: Bench, backups: Failing) -> None:
    for _ in range(40):
        await take(bench.store, backups, BOB)
        bench.clock.advance(hours=1)
    assert len(await backups.all()) == 25

    (newest, *_) = await backups.all()
    source = backups.folder.folder / newest.name
    for day in range(1, 29):
        source.with_name(f"state-2025-11-{day:02}-03.db").write_bytes(source.read_bytes())
    bench.clock.advance(hours=-1)
    assert not await hourly(bench.store, backups, ANN)
    assert len(await backups.all()) <= 24 + 7 + 4


async def test_a_failed_backup_is_an_alert_until_one_succeeds(bench: Bench, backups: Failing, tmp_path: Path) -> None:
    server = Server(bench, backups, tmp_path / "context")
    backups.trouble = StoreUnavailable("The disk is full.")
    await server.turns(minutes=3)
    assert await bench.alerts() == [("backup_failed", "warning", None)]
    (alert,) = await bench.read(lambda tx: tx.alerts.open_alerts(10))
    assert "The disk is full." in alert["message"]

    backups.trouble = None
    await server.turns(minutes=2)

    assert await bench.alerts() == []
    assert len(await backups.all()) == 1


async def test_a_copy_that_shows_damage_is_a_critical_alert(bench: Bench, backups: Failing, tmp_path: Path) -> None:
    backups.trouble = DamagedStore("state.db is damaged.")
    await Server(bench, backups, tmp_path / "context").turns(minutes=1)
    assert sorted(await bench.alerts()) == [("backup_failed", "warning", None), ("database", "critical", None)]


async def test_a_copy_that_fails_while_the_store_is_sound_is_no_alarm_about_the_store(
    bench: Bench, backups: Failing, tmp_path: Path
) -> None:
    backups.trouble = IncompatibleStore("The schema has tables of others.")
    await Server(bench, backups, tmp_path / "context").turns(minutes=1)
    assert await bench.alerts() == [("backup_failed", "warning", None)]


async def test_a_backup_made_by_hand_ends_the_alert_and_counts_for_the_hour(bench: Bench, backups: Failing) -> None:
    await bench.write(lambda tx: tx.alerts.raise_alert("backup_failed", "warning", None, "The disk is full."))
    backups.trouble = StoreUnavailable("The disk is full.")
    with pytest.raises(StoreUnavailable):
        await take(bench.store, backups, BOB)
    backups.trouble = None
    made = await take(bench.store, backups, BOB)
    assert await bench.alerts() == []
    assert not await hourly(bench.store, backups, ANN)
    assert await names(backups) == [made.backup.name]


class AlertedMeanwhile(SqliteBackups):
    """Real backups, during each of which the alert `database` changes hands."""

    def __init__(self, bench: Bench, store: SqliteStore, evidence: dict[str, int] | None) -> None:
        super().__init__(store.path, store.path.parent / "backups" / "db")
        self._bench = bench
        self._evidence = evidence

    async def create(self, at: datetime) -> Made:
        evidence = self._evidence
        await self._bench.write(lambda tx: tx.alerts.resolve_alert("database", None))
        await self._bench.write(lambda tx: tx.alerts.raise_alert("database", "critical", None, "m", evidence))
        return await super().create(at)


async def test_whose_alert_of_the_database_it_is_is_judged_once_the_backup_is_made(
    bench: Bench, store: SqliteStore
) -> None:
    await bench.write(lambda tx: tx.alerts.raise_alert("database", "critical", None, "state.db is damaged."))
    await take(bench.store, AlertedMeanwhile(bench, store, {"free_mb": 0}), BOB)
    assert await bench.alerts() == [("database", "critical", None)], "the health cycle raised it, and will end it"

    await take(bench.store, AlertedMeanwhile(bench, store, None), BOB)
    assert await bench.alerts() == []


async def test_a_safety_copy_counts_for_no_hour(bench: Bench, backups: Failing) -> None:
    made = await take(bench.store, backups, ANN)
    folder = backups.folder.folder
    (folder / made.backup.name).rename(folder / "before-restore-2026-03-02T09-00-00Z.db")
    assert await hourly(bench.store, backups, ANN)
    kinds = {backup.name: backup.kind.value for backup in await backups.all()}
    assert kinds == {"before-restore-2026-03-02T09-00-00Z.db": "safety", "state-2026-03-02-09.db": "hourly"}


async def test_the_tools_make_and_list_backups(bench: Bench, backups: Failing) -> None:
    bench.services = replace(bench.services, backups=backups)
    await bench.create(a_task("A"))
    made = await bench.call("backup_create")
    assert made["verified"]
    listed = (await bench.call("backup_list"))["backups"]
    assert listed == [
        {"name": made["name"], "at": "2026-03-02T09:00:00.000Z", "bytes": made["bytes"], "kind": "hourly"}
    ]
    assert listed[0]["name"] == "state-2026-03-02-09.db"
