"""The file: made, moved forward, and refused when it is not ours to write."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bench import ANN, Bench, a_task
from tests.support.clock import StoppedClock
from tests.support.scale import sized
from tests.support.sessions import Servers
from wvo_mcp.errors import IncompatibleStore, StoreUnavailable, WvoError
from wvo_mcp.store import versions
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite import connection, migrate
from wvo_mcp.store.sqlite import store as sqlite
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("DR-4")]


def a_store(path: Path) -> SqliteStore:
    return SqliteStore(path, StoppedClock(), Servers(), synchronous="OFF")


async def refused(path: Path) -> WvoError:
    """The error with which opening ends; the file is as it was."""
    before = written(path)
    with pytest.raises(WvoError) as caught:
        await a_store(path).open()
    assert written(path) == before
    return caught.value


def written(path: Path) -> bytes:
    return path.read_bytes()


def database(path: Path, *statements: str) -> Path:
    raw = connection.sqlite.connect(str(path), isolation_level=None)
    for statement in statements:
        raw.execute(statement)
    raw.close()
    return path


async def test_a_newer_schema_is_refused_with_advice(store: SqliteStore, tmp_path: Path) -> None:
    await store.close()
    newer = versions.latest() + 1

    error = await refused(database(store.path, f"PRAGMA user_version = {newer}"))

    assert isinstance(error, IncompatibleStore)
    assert str(newer) in error.message
    assert "Upgrade" in error.hint


async def test_a_store_that_a_newer_program_moves_on_is_written_no_more(bench: Bench) -> None:
    await bench.create(a_task("T"))
    await bench.force("UPDATE store SET schema = schema + 1")

    for work in (bench.claim(), bench.call("plan_next")):
        with pytest.raises(IncompatibleStore, match="newer program"):
            await work
    assert await bench.sql("SELECT status FROM tasks") == [{"status": "pending"}]


async def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    error = await refused(database(tmp_path / "state.db", "CREATE TABLE recipes (name TEXT)"))

    assert isinstance(error, IncompatibleStore)
    assert "another program" in error.message
    assert "WVO_STATE_DIR" in error.hint


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_text("Dear diary, today I met an agent." * 100)

    error = await refused(path)

    assert isinstance(error, IncompatibleStore)
    assert str(path) in error.message


async def test_a_damaged_header_is_refused(store: SqliteStore) -> None:
    await store.close()
    whole = store.path.read_bytes()
    store.path.write_bytes(whole[:16] + bytes(84) + whole[100:])

    assert isinstance(await refused(store.path), IncompatibleStore)


async def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch()
    store = a_store(path)

    await store.open()

    assert await store.read(ANN, lambda tx: tx.tasks.counts()) == dict.fromkeys(
        ("pending", "in_progress", "in_review", "awaiting_approval", "blocked", "done", "failed", "cancelled", "ready"),
        0,
    )
    await store.close()


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file stands in the way")

    with pytest.raises(StoreUnavailable, match=r"state cannot be used"):
        await a_store(tmp_path / "state" / "state.db").open()


def test_a_library_with_the_lost_commit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate.sqlite, "sqlite_version_info", (3, 51, 2))
    monkeypatch.setattr(migrate.sqlite, "sqlite_version", "3.51.2")

    with pytest.raises(IncompatibleStore, match=r"3\.51\.2") as refused:
        migrate.check_file(tmp_path / "state.db")

    assert "3.51.3" in refused.value.hint


PRESENT = versions.migrations()
NEXT = versions.latest() + 1
LATER = """
-- A later version adds a column and what keeps it.
ALTER TABLE epics ADD COLUMN owner TEXT NOT NULL DEFAULT 'nobody';
CREATE TRIGGER owned AFTER INSERT ON epics BEGIN
  UPDATE epics SET owner = 'somebody' WHERE id = NEW.id;
END;
"""


async def test_a_later_schema_is_applied_to_what_is_there(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.create(a_task("T", epic_id="E1"))
    await bench.store.close()
    monkeypatch.setattr(versions, "migrations", lambda: [*PRESENT, (NEXT, LATER)])

    later = a_store(bench.path)
    await later.open()
    await later.write(ANN, lambda tx: tx.tasks.ensure_epic("E2"))

    assert await _epics(later) == [("E1", "nobody"), ("E2", "somebody")]
    await later.close()
    again = a_store(bench.path)
    await again.open()
    assert await _epics(again) == [("E1", "nobody"), ("E2", "somebody")]
    await again.close()


async def test_a_migration_that_fails_leaves_the_schema_before_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(a_task("T"))
    await bench.store.close()
    broken = LATER + "CREATE TABLE tasks (id TEXT);\n"
    with monkeypatch.context() as patch:
        patch.setattr(versions, "migrations", lambda: [*PRESENT, (NEXT, broken)])
        with pytest.raises(StoreUnavailable, match="already exists"):
            await a_store(bench.path).open()

    before = a_store(bench.path)
    await before.open()
    assert (await before.read(ANN, lambda tx: tx.tasks.get("T"))).title == "Do T"
    await before.close()


async def _epics(store: SqliteStore) -> list[tuple[str, str]]:
    async def owners(rows: Rows) -> list[tuple[str, str]]:
        return [(row["id"], row["owner"]) for row in rows.all("SELECT id, owner FROM epics ORDER BY id")]

    return await store.writer.read(owners)


def test_a_script_is_cut_into_statements_with_its_triggers_whole() -> None:
    alter, trigger = migrate.statements(LATER)

    assert alter.startswith("ALTER TABLE")
    assert trigger.rstrip().endswith("END;")
    with pytest.raises(ValueError, match="unfinished"):
        migrate.statements("CREATE TABLE half (")


_OPENING = """
import asyncio, sys
from pathlib import Path
from tests.support.bench import a_task
from tests.support.clock import StoppedClock
from tests.support.sessions import Servers, an_agent
from wvo_mcp.domain.task import Origin
from wvo_mcp.orchestration.tasks.editing import Draft, create
from wvo_mcp.store.sqlite.store import SqliteStore

async def main() -> None:
    store = SqliteStore(Path(sys.argv[1]), StoppedClock(), Servers())
    sys.stdin.readline()
    await store.open()
    await store.write(an_agent(), lambda tx: create(tx, [Draft("T" + sys.argv[2], {"title": "x"})], Origin.AGENT))
    await store.close()

asyncio.run(main())
"""


def opener(path: Path, number: int) -> subprocess.Popen[str]:
    """A process that opens the store and writes into it once a line comes."""
    asked = [sys.executable, "-c", _OPENING, str(path), str(number)]
    return subprocess.Popen(asked, stdin=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


@pytest.mark.requirement("CLAIM-1")
async def test_several_processes_open_a_new_file_at_the_same_moment(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    count = sized(full=8, short=4)
    started = [opener(path, number) for number in range(count)]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.close()

    assert [process.wait(240) for process in started] == [0] * count
    store = a_store(path)
    await store.open()
    assert (await store.read(ANN, lambda tx: tx.tasks.counts()))["ready"] == count
    await store.close()


async def test_opening_waits_for_another_that_holds_the_file_only_so_long(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turning WAL on needs the file alone."""
    await store.close()
    held = connection.sqlite.connect(str(store.path), isolation_level=None)
    held.execute("PRAGMA journal_mode = DELETE")
    held.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(sqlite, "_OPEN_SECONDS", 0.0)
    monkeypatch.setattr(connection, "OPENING_WAIT_MS", 20)

    with pytest.raises(WvoError) as refused:
        await a_store(store.path).open()
    assert refused.value.code == "store_busy"
    held.execute("ROLLBACK")
    held.close()
    after = a_store(store.path)
    await after.open()
    await after.close()
