"""A backup takes the place of the store, whatever state that is in."""

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.clock import StoppedClock
from tests.support.invariants import verify
from tests.support.services import Services
from tests.support.sessions import Servers, a_person
from wvo_mcp.domain.lease import Policy
from wvo_mcp.errors import IncompatibleStore, NotFound, StaleLease, StoreBusy, StoreUnavailable, WvoError
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.ports.backend import Restored
from wvo_mcp.store.sqlite import backup as module
from wvo_mcp.store.sqlite.backup import Restoring, SqliteBackups, quick_damage
from wvo_mcp.store.sqlite.connection import sqlite
from wvo_mcp.store.sqlite.integrity import backups_of, log_of, marker_of
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("DR-2")]

OWNER = a_person()


@pytest.fixture
def backups(store: SqliteStore) -> SqliteBackups:
    return SqliteBackups(store.path, backups_of(store.path).folder)


def restoring(bench: Bench) -> Restoring:
    return Restoring(bench.path, bench.clock, bench.servers, OWNER)


async def restored(bench: Bench, name: str | None = None) -> Restored:
    return await restoring(bench).restore(name)


async def ids(bench: Bench) -> list[str]:
    return [row["id"] for row in await bench.sql("SELECT id FROM tasks ORDER BY id")]


def files(bench: Bench) -> set[str]:
    """Names in the state folder, but for the folders."""
    return {path.name for path in bench.path.parent.iterdir() if path.is_file()}


@pytest.fixture
async def two_hours(bench: Bench, backups: SqliteBackups) -> Bench:
    """At 9 there is A, at 10 also B, and C after that; two backups."""
    for task_id in ("A", "B"):
        await bench.create(a_task(task_id))
        await backups.create(bench.clock.now())
        bench.clock.advance(hours=1)
    await bench.create(a_task("C"))
    return bench


async def test_the_newest_backup_comes_back_and_what_it_replaces_is_kept(
    two_hours: Bench, backups: SqliteBackups
) -> None:
    bench = two_hours
    done = await restored(bench)

    assert done.backup.name == "state-2026-03-02-10.db"
    assert (str(done.lost_since), str(done.lost_until)) == ("2026-03-02 10:00:00+00:00", "2026-03-02 11:00:00+00:00")
    assert done.kept is None
    assert done.passed_over == {}
    assert await ids(bench) == ["A", "B"], "an open store sees it as any other commit"
    await bench.create(a_task("D"))
    verify(bench.path)
    assert done.safety == "before-restore-2026-03-02T11-00-00Z.db"
    assert (await backups.all())[0].name == done.safety
    assert (await restored(bench, done.safety)).backup.name == done.safety
    assert await ids(bench) == ["A", "B", "C"]
    verify(bench.path)
    assert files(bench) <= {"state.db", "state.db-wal", "state.db-shm"}


async def test_an_older_one_is_restored_by_its_name(two_hours: Bench) -> None:
    assert (await restored(two_hours, "state-2026-03-02-09.db")).backup.name == "state-2026-03-02-09.db"
    assert await ids(two_hours) == ["A"]
    with pytest.raises(NotFound) as unknown:
        await restored(two_hours, "state-2026-03-02-08.db")
    assert "state-2026-03-02-09.db" in unknown.value.details["near"]


async def test_what_was_restored_is_not_taken_for_a_store_that_lost_its_log(two_hours: Bench) -> None:
    await restored(two_hours, "state-2026-03-02-09.db")
    again = SqliteStore(two_hours.path, two_hours.clock, two_hours.servers)
    await again.open()
    await again.close()


async def test_tokens_that_were_given_out_after_the_backup_do_not_come_again(
    bench: Bench, backups: SqliteBackups
) -> None:
    await bench.create(a_task("A"))
    await backups.create(bench.clock.now())
    held = await bench.claim(ANN, "A")
    await restored(bench)

    taken = await bench.claim(BOB, "A")

    assert taken["lease"]["token"] > held["lease"]["token"]
    with pytest.raises(StaleLease):
        await bench.complete("A", ANN, lease_token=held["lease"]["token"])
    await bench.complete("A", BOB)
    verify(bench.path)


async def test_a_damaged_newest_backup_is_passed_over_with_its_reason(two_hours: Bench, backups: SqliteBackups) -> None:
    newest = backups.folder.folder / "state-2026-03-02-10.db"
    spoil(newest)

    with pytest.raises(IncompatibleStore, match=r"state-2026-03-02-10\.db cannot be used"):
        await restored(two_hours, newest.name)
    assert await ids(two_hours) == ["A", "B", "C"]
    done = await restored(two_hours)

    assert done.backup.name == "state-2026-03-02-09.db"
    assert list(done.passed_over) == [newest.name]
    assert await ids(two_hours) == ["A"]


async def test_without_a_good_backup_nothing_is_changed(bench: Bench, backups: SqliteBackups) -> None:
    await bench.create(a_task("A"))
    with pytest.raises(NotFound, match="backup"):
        await restored(bench)
    made = (await backups.create(bench.clock.now())).backup
    spoil(backups.folder.folder / made.name)
    with pytest.raises(NotFound, match=made.name):
        await restored(bench)
    assert await ids(bench) == ["A"]
    assert files(bench) <= {"state.db", "state.db-wal", "state.db-shm"}


def spoil(path: Path) -> None:
    """A bad page in the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xa5" * 4096)


def settle(path: Path) -> None:
    """Everything into the main file."""
    with closing(sqlite.connect(str(path), isolation_level=None)) as raw:
        assert raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def corrupted(path: Path) -> None:
    spoil(path)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def deleted(path: Path) -> None:
    path.unlink()


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite.connect(str(path), isolation_level=None)) as raw:
        raw.execute("CREATE TABLE recipes (name TEXT)")


def no_database(path: Path) -> None:
    path.write_text("Dear diary\n" * 1_000)


def senseless_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(16)
        file.write(b"\x12\x34")


def another_stores_log(path: Path) -> None:
    """The log of another store of this program, in the middle of its work."""
    shutil.copyfile(path.with_name("stranger.db-wal"), log_of(path))


def deleted_but_its_log(path: Path) -> None:
    path.unlink()
    log_of(path).write_bytes(b"\x37\x7f\x06\x82" + bytes(60))


DAMAGES = [
    corrupted, cut_short, cut_to_nothing, deleted, foreign, no_database, senseless_header,
    another_stores_log, deleted_but_its_log,
]  # fmt: skip


async def stranger(folder: Path, clock: StoppedClock, servers: Servers) -> None:
    """Another store, with its newest work in the log only: `stranger.db` and `stranger.db-wal`."""
    store = SqliteStore(folder / "other" / "state.db", clock, servers)
    await store.open()
    services = Services(store, Policy(), RoadmapSource(folder / "r.yaml"), DirectiveFiles(folder))
    working = Bench(services, store, clock, servers)
    await working.create(*(a_task(f"X{n}") for n in range(30)))
    await working.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    for number in range(10):
        await working.done(f"X{number}")
    for name in ("state.db", "state.db-wal"):
        shutil.copyfile(folder / "other" / name, folder / "state" / name.replace("state.db", "stranger.db"))
    await store.close()


@pytest.mark.parametrize("harm", DAMAGES, ids=lambda harm: harm.__name__)
async def test_each_damage_is_noticed_at_start_explained_and_repaired(
    bench: Bench, backups: SqliteBackups, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    await stranger(tmp_path, bench.clock, bench.servers)
    await bench.create(*(a_task(f"T{n}") for n in range(40)))
    await backups.create(bench.clock.now())
    bench.clock.advance(minutes=10)
    await bench.create(a_task("later"))
    await bench.store.close()
    settle(bench.path)
    harm(bench.path)
    before = bench.path.read_bytes() if bench.path.exists() else None

    again = SqliteStore(bench.path, bench.clock, bench.servers)
    with pytest.raises(WvoError) as noticed:
        await again.open()
    assert noticed.value.code == "incompatible_store"
    assert str(bench.path) in noticed.value.message
    assert "doctor --repair" in noticed.value.hint or "Move the file away" in noticed.value.hint or harm is foreign
    assert (bench.path.read_bytes() if bench.path.exists() else None) == before, "it was left as it was"
    assert quick_damage(bench.path) is not None

    done = await restored(bench)

    assert done.safety is None
    await again.open()
    await again.close()
    with closing(sqlite.connect(str(bench.path))) as raw:
        assert raw.execute("SELECT count(*) FROM tasks").fetchone() == (40,)
    verify(bench.path)
    if before is None:
        assert done.kept is None or done.kept.endswith("-wal")
    else:
        assert done.kept is not None
        assert done.kept.startswith("state.db.damaged-")
        assert (bench.path.parent / done.kept).read_bytes() == before
    assert not marker_of(bench.path).exists()


async def test_a_store_that_knows_less_than_its_backup_has_lost_its_log(bench: Bench, backups: SqliteBackups) -> None:
    await bench.create(a_task("A"))
    settle(bench.path)
    before = bench.path.read_bytes()
    await bench.create(a_task("B"))
    await backups.create(bench.clock.now())
    await bench.store.close()
    bench.path.write_bytes(before)  # as if a server had been killed and somebody had deleted the log

    again = SqliteStore(bench.path, bench.clock, bench.servers)
    with pytest.raises(IncompatibleStore, match=r"state\.db-wal was probably removed"):
        await again.open()
    await restored(bench)
    await again.open()
    assert sorted(t.id for t in await again.read(ANN, lambda tx: tx.tasks.page({}, 0, 9))) == ["A", "B"]
    await again.close()


async def test_a_young_store_whose_log_was_removed_does_not_begin_anew(bench: Bench, backups: SqliteBackups) -> None:
    """All of it stood in the log; what is left is a whole, empty file."""
    await bench.create(a_task("A"))
    await backups.create(bench.clock.now())
    await bench.store.close()
    bench.path.unlink()
    with closing(sqlite.connect(str(bench.path), isolation_level=None)) as raw:
        raw.execute("PRAGMA journal_mode = WAL")

    again = SqliteStore(bench.path, bench.clock, bench.servers)
    with pytest.raises(IncompatibleStore, match="is empty, but there are backups"):
        await again.open()
    await restored(bench)
    await again.open()
    assert [t.id for t in await again.read(ANN, lambda tx: tx.tasks.page({}, 0, 9))] == ["A"]
    await again.close()


async def test_backups_of_another_store_that_stood_here_are_no_alarm(
    bench: Bench, backups: SqliteBackups, tmp_path: Path
) -> None:
    await bench.create(*(a_task(f"T{n}") for n in range(9)))
    await backups.create(bench.clock.now())
    await bench.store.close()
    bench.clock.advance(minutes=1)
    other = SqliteStore(tmp_path / "other.db", bench.clock, bench.servers)
    await other.open()
    await other.write(ANN, lambda tx: tx.events.append("context.written", None, {"topic": "t", "version": 1}))
    await other.close()
    shutil.copyfile(other.path, bench.path)

    again = SqliteStore(bench.path, bench.clock, bench.servers)
    await again.open()
    await again.close()


async def test_a_sound_store_gives_no_alarm(bench: Bench, backups: SqliteBackups) -> None:
    await bench.create(*(a_task(f"T{n}") for n in range(40)))
    await backups.create(bench.clock.now())
    assert quick_damage(bench.path) is None
    await bench.done("T1")
    assert quick_damage(bench.path) is None
    await bench.store.close()
    assert quick_damage(bench.path) is None


async def test_a_newer_store_is_not_restored_over(two_hours: Bench) -> None:
    await two_hours.force("PRAGMA user_version = 99")
    with pytest.raises(IncompatibleStore, match="schema 99"):
        await restored(two_hours)
    assert await ids(two_hours) == ["A", "B", "C"]


async def test_a_restore_waits_for_a_writer_and_gives_up_in_the_end(
    two_hours: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.2)
    with closing(sqlite.connect(str(two_hours.path), isolation_level=None)) as raw:
        raw.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy):
            await restored(two_hours)
    assert await ids(two_hours) == ["A", "B", "C"]


async def test_a_running_store_whose_file_is_deleted_acknowledges_nothing(two_hours: Bench) -> None:
    bench = two_hours
    await bench.claim(ANN, "A")
    aside = bench.path.with_name("aside.db")
    bench.path.rename(aside)

    for name, asked in {"plan_next": {}, "checkpoint": {"task_id": "A", "summary": "s"}}.items():
        with pytest.raises(StoreUnavailable, match="deleted or moved away") as refused:
            await bench.call(name, ANN, **asked)
        assert "doctor --repair" in refused.value.hint
    assert not bench.path.exists(), "no new one was made in its place"

    aside.rename(bench.path)
    await bench.call("checkpoint", ANN, task_id="A", summary="s")
    verify(bench.path)


async def test_a_running_store_goes_on_with_the_file_that_took_the_place_of_its_own(two_hours: Bench) -> None:
    bench = two_hours
    deleted(bench.path)
    assert ((await restored(bench)).kept or "-wal").endswith("-wal")

    assert await ids_through_the_product(bench) == ["A", "B"]
    await bench.create(a_task("D"))

    with closing(sqlite.connect(str(bench.path))) as raw:
        assert [row[0] for row in raw.execute("SELECT id FROM tasks ORDER BY id")] == ["A", "B", "D"]
    verify(bench.path)


async def ids_through_the_product(bench: Bench) -> list[str]:
    return sorted(task["id"] for task in (await bench.call("list_tasks"))["tasks"])


async def test_a_running_store_does_not_go_on_with_a_stranger(two_hours: Bench) -> None:
    foreign(two_hours.path)
    with pytest.raises(IncompatibleStore, match="another program"):
        await two_hours.create(a_task("D"))
    with closing(sqlite.connect(str(two_hours.path))) as raw:
        assert [row[0] for row in raw.execute("SELECT name FROM sqlite_schema")] == ["recipes"]
