"""Copies of a SQLite store that is in use."""

import fcntl
import os
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest

from tests.support.bench import ANN, Bench, a_task
from tests.support.invariants import verify
from wvo_mcp.domain.backup import Kind
from wvo_mcp.errors import IncompatibleStore, NotFound, StoreBusy, StoreUnavailable
from wvo_mcp.ports.backend import DamagedStore
from wvo_mcp.store.backups import BackupFolder
from wvo_mcp.store.sqlite import backup as module
from wvo_mcp.store.sqlite.backup import SqliteBackups
from wvo_mcp.store.sqlite.connection import sqlite
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("DR-1")]


@pytest.fixture
def backups(store: SqliteStore) -> SqliteBackups:
    return SqliteBackups(store.path, store.path.parent / "backups" / "db")


def names(backups: SqliteBackups) -> list[str]:
    """Everything in the folder but the lock."""
    folder = backups.folder.folder
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock") if folder.exists() else []


def titles(path: Path) -> list[str]:
    with closing(sqlite.connect(str(path))) as opened:
        return [row[0] for row in opened.execute("SELECT id FROM tasks ORDER BY id")]


async def test_a_backup_is_one_plain_file_that_holds_everything(bench: Bench, backups: SqliteBackups) -> None:
    await bench.create(a_task("A"), a_task("B", depends_on=["A"]))
    await bench.done("A")

    made = await backups.create(bench.clock.now())

    path = backups.folder.folder / "state-2026-03-02-09.db"
    assert names(backups) == [path.name]
    assert await backups.all() == [made.backup]
    assert made.backup.at == bench.clock.now()
    assert made.backup.kind is Kind.HOURLY
    assert made.backup.bytes == path.stat().st_size
    assert path.read_bytes()[18:20] == b"\x01\x01"  # it is read without a log beside it
    assert verify(path)
    assert titles(path) == ["A", "B"]
    await backups.verify(path.name)
    assert names(backups) == [path.name]


async def test_a_second_backup_of_the_hour_takes_the_place_of_the_first(bench: Bench, backups: SqliteBackups) -> None:
    await backups.create(bench.clock.now())
    await bench.create(a_task("A"))
    bench.clock.advance(minutes=59)
    later = (await backups.create(bench.clock.now())).backup

    assert await backups.all() == [later]
    assert later.at == bench.clock.now()
    assert titles(backups.folder.folder / later.name) == ["A"]
    bench.clock.advance(minutes=1)
    await backups.create(bench.clock.now())
    assert names(backups) == ["state-2026-03-02-09.db", "state-2026-03-02-10.db"]


def damage(path: Path) -> None:
    """Spoil a page in the middle of the file, as a bad disk does."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xa5" * 4096)


async def test_a_copy_of_a_damaged_store_is_thrown_away_and_the_good_one_of_the_hour_stays(
    bench: Bench, backups: SqliteBackups, store: SqliteStore
) -> None:
    await bench.create(*(a_task(f"T{n}") for n in range(50)))
    first = (await backups.create(bench.clock.now())).backup
    checkpoint(store)
    damage(store.path)

    with pytest.raises(DamagedStore, match="damaged") as refused:
        await backups.create(bench.clock.now() + timedelta(minutes=5))

    assert "doctor --repair" in refused.value.hint
    assert names(backups) == [first.name]
    await backups.verify(first.name)
    assert await backups.all() == [first]


def checkpoint(store: SqliteStore) -> None:
    with closing(sqlite.connect(str(store.path), isolation_level=None)) as opened:
        assert opened.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


async def test_a_backup_under_constant_writes_goes_through_once_and_holds_one_moment(
    bench: Bench, backups: SqliteBackups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that see a newer state begin anew; here one step after another has a commit between them."""
    monkeypatch.setattr(module, "STEP_PAGES", 2)
    monkeypatch.setattr(module, "_SHORTEST_NAP", 0.0)
    await bench.create(*(a_task(f"T{n}") for n in range(100)))
    pages = (await bench.sql("PRAGMA page_count"))[0]["page_count"]
    steps: list[int] = []
    written: list[int] = []
    step = threading.Event()
    go_on = threading.Event()
    sync = module.sync

    def paused(path: Path) -> None:
        steps.append(path.stat().st_size)
        step.set()
        assert go_on.wait(60)
        go_on.clear()
        sync(path)

    monkeypatch.setattr(module, "sync", paused)
    finished = False

    async def copying() -> None:
        nonlocal finished
        await backups.create(bench.clock.now())
        finished = True

    async def writing() -> None:
        while not finished:
            if step.is_set():
                step.clear()
                await bench.call("context_write", topic=f"topic {len(written)}", content="word " * 500)
                written.append(len(written))
                go_on.set()
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(240):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writing)
            await copying()

    assert len(written) == len(steps) >= 20
    assert len(steps) <= pages // 2 + 1, "it began anew"
    copy = backups.folder.folder / names(backups)[0]
    verify(copy)
    with closing(sqlite.connect(str(copy))) as opened:
        assert opened.execute("SELECT count(*) FROM context_entries").fetchone() == (0,)


async def test_while_one_backup_is_made_another_is_refused_as_busy(
    bench: Bench, backups: SqliteBackups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wvo_mcp.store.backups._WAIT_SECONDS", 0.0)
    folder = backups.folder.folder
    folder.mkdir(parents=True)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / ".1234.db.partial").write_bytes(b"somebody is at it")

    with pytest.raises(StoreBusy):
        await backups.create(bench.clock.now())
    assert names(backups) == [".1234.db.partial"]

    os.close(lock)
    await backups.create(bench.clock.now())
    assert names(backups) == ["state-2026-03-02-09.db"], "what a killed server left is gone"


async def test_a_backup_that_nobody_waits_for_any_more_stops_and_leaves_nothing(
    bench: Bench, backups: SqliteBackups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEP_PAGES", 1)
    began, ended = threading.Event(), threading.Event()
    copy = module._copy

    def slow(source: Path, target: Path, stop: threading.Event) -> None:
        began.set()
        assert stop.wait(60)
        try:
            copy(source, target, stop)
        finally:
            ended.set()

    monkeypatch.setattr(module, "_copy", slow)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(backups.create, bench.clock.now())
        assert await anyio.to_thread.run_sync(began.wait, 60)
        tasks.cancel_scope.cancel()

    assert await anyio.to_thread.run_sync(ended.wait, 60)
    with backups.folder.making():  # it has let go of the lock, and so has cleaned
        assert names(backups) == []


async def test_a_backup_that_would_fill_the_disk_is_not_begun(
    bench: Bench, backups: SqliteBackups, store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = store.path.stat().st_size

    def almost_full(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=size + 1000)

    monkeypatch.setattr("wvo_mcp.store.backups.shutil.disk_usage", almost_full)
    with pytest.raises(StoreUnavailable, match="has room for"):
        await backups.create(bench.clock.now())
    assert names(backups) == []


async def test_a_place_that_is_no_folder_is_named(bench: Bench, backups: SqliteBackups) -> None:
    backups.folder.folder.parent.write_text("in the way")
    with pytest.raises(StoreUnavailable, match="backups"):
        await backups.create(bench.clock.now())
    assert await backups.all() == []


async def test_a_copy_that_fails_beside_a_sound_store_says_nothing_against_the_store(
    bench: Bench, backups: SqliteBackups, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(a_task("A"))
    copied = module.verify

    def spoiled(path: Path, stop: threading.Event | None = None) -> None:
        path.write_bytes(path.read_bytes()[:8_192])  # a disk that loses what it was given
        copied(path, stop)

    monkeypatch.setattr(module, "verify", spoiled)
    with pytest.raises(IncompatibleStore, match="itself does") as refused:
        await backups.create(bench.clock.now())
    assert not isinstance(refused.value, DamagedStore)
    assert names(backups) == []


async def test_a_damaged_backup_does_not_pass(bench: Bench, backups: SqliteBackups) -> None:
    await bench.create(*(a_task(f"T{n}") for n in range(50)))
    made = (await backups.create(bench.clock.now())).backup
    path = backups.folder.folder / made.name
    damage(path)
    with pytest.raises(IncompatibleStore, match=r"state-2026-03-02-09\.db"):
        await backups.verify(made.name)
    path.write_bytes(b"")
    with pytest.raises(IncompatibleStore, match="not a store of wvo-mcp"):
        await backups.verify(made.name)
    with pytest.raises(NotFound) as refused:
        await backups.verify("state-2026-03-02-08.db")
    assert refused.value.details["near"] == [made.name]
    with pytest.raises(NotFound):
        await backups.verify("../../state.db")


async def test_pruning_deletes_what_no_rule_keeps(bench: Bench, backups: SqliteBackups) -> None:
    bench.clock.advance(hours=0.5)
    for _ in range(26):
        await backups.create(bench.clock.now())
        bench.clock.advance(hours=1)
    await bench.call("context_write", ANN, topic="t", content="c")

    gone = await backups.prune(bench.clock.now())

    assert sorted(gone) == ["state-2026-03-02-09.db", "state-2026-03-02-10.db"]
    left = await backups.all()
    assert len(left) == 24
    assert await backups.prune(bench.clock.now()) == []
    assert left[0].at > left[-1].at


def test_a_safety_copy_takes_no_others_place(tmp_path: Path) -> None:
    folder = BackupFolder(tmp_path / "db", "db")
    names: list[str] = []
    for text in ("one", "two"):
        with folder.making() as partial:
            partial.write_text(text)
            names.append(folder.put(partial, "before-restore-2026-03-02T09-00-59Z.db", datetime.now(UTC)).name)
    assert names == ["before-restore-2026-03-02T09-00-59Z.db", "before-restore-2026-03-02T09-01-00Z.db"]
    assert [(tmp_path / "db" / name).read_text() for name in names] == ["one", "two"]


def test_a_safety_copy_pushes_out_the_oldest_but_not_the_one_to_be_restored(tmp_path: Path) -> None:
    folder = BackupFolder(tmp_path / "db", "db")
    made: list[str] = []
    for number in range(7):
        with folder.making() as partial:
            partial.write_text(str(number))
            at = datetime(2026, 3, 2, number, tzinfo=UTC)
            made.append(folder.put_safety(partial, at, restored=made[0] if made else ""))
    assert {path.name for path in (tmp_path / "db").glob("*.db")} == {made[0], *made[2:]}
