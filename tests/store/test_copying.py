"""A copy is the same store in another database: every row, and everything that goes on from there."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from anyio import from_thread, to_thread

from tests.support.bench import ANN, BOB, AnyStore, Bench
from tests.support.filled import HOSTILE, LONGEST, fill
from tests.support.postgres import Cluster
from wvo_mcp.errors import Conflict, IncompatibleStore, InvalidInput, StaleLease, StoreUnavailable
from wvo_mcp.store.copying.copy import Copied, Row, Source, Step, Table, Target, copy, pages, tables
from wvo_mcp.store.copying.postgres import PostgresTarget, postgres_source
from wvo_mcp.store.copying.sqlite import SqliteTarget, sqlite_source
from wvo_mcp.store.postgres.store import PostgresStore
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = pytest.mark.requirement("SCALE-1")

Place = Path | str


def source_at(place: Place, alive: Callable[[str], bool] = lambda _: False) -> AbstractContextManager[Source]:
    return postgres_source(place) if isinstance(place, str) else sqlite_source(place, alive)


def target_at(place: Place) -> AbstractContextManager[Target]:
    return PostgresTarget(place) if isinstance(place, str) else SqliteTarget(place)


async def copied(
    origin: Place,
    place: Place,
    told: Callable[[Step], None] = lambda _: None,
    alive: Callable[[str], bool] = lambda _: False,
    *,
    while_live: bool = False,
) -> Copied:
    """Copy in small batches, as the command does: in a thread without an event loop."""

    def work() -> Copied:
        with source_at(origin, alive) as source, target_at(place) as target:
            return copy(source, target, told, while_live=while_live, batch=7)

    return await to_thread.run_sync(work)


@pytest.fixture
def place(store_kind: str, store: AnyStore, request: pytest.FixtureRequest) -> Place:
    """Where the bench's store is."""
    return store.path if isinstance(store, SqliteStore) else store.writer.url


@pytest.fixture
def elsewhere(store_kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty place of the other kind."""
    if store_kind == "postgres":
        yield tmp_path / "copy" / "state.db"
    else:
        with request.getfixturevalue("postgres").database() as url:
            yield url


@asynccontextmanager
async def at(place: Place, bench: Bench) -> AsyncGenerator[Bench]:
    """The same bench on another store."""
    if isinstance(place, str):
        store: AnyStore = PostgresStore(place, bench.clock, bench.servers)
    else:
        store = SqliteStore(place, bench.clock, bench.servers)
    await store.open()
    yield Bench(replace(bench.services, store=store), store, bench.clock, bench.servers)
    await store.close()


@pytest.mark.anyio
async def test_every_row_of_every_table_is_there_and_back_again(
    bench: Bench, place: Place, elsewhere: Place, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    await fill(bench, tmp_path)

    there = await copied(place, elsewhere)
    with ExitStack() as left:
        home = (
            left.enter_context(request.getfixturevalue("postgres").database())
            if isinstance(place, str)
            else tmp_path / "home.db"
        )
        back = await copied(elsewhere, home)

        assert there.compared == back.compared
        assert all(table.rows for table in there.compared), "the filler leaves a table empty"
        assert there.rows == back.rows == sum(table.rows for table in there.compared)
        with source_at(place) as first, source_at(home) as last:
            for table in tables():
                assert list(pages(first.rows, table, 7)) == list(pages(last.rows, table, 7))


@pytest.mark.anyio
async def test_everything_goes_on_in_the_copy(bench: Bench, tmp_path: Path, place: Place, elsewhere: Place) -> None:
    await fill(bench, tmp_path)
    counts = (await bench.call("status"))["counts"]
    before = await bench.call("claim_task", ANN, task_id="HELD", request_id="claim-HELD")

    await copied(place, elsewhere)

    async with at(elsewhere, bench) as there:
        # An answer that was given is given again; the lease is the same, and its token is still the current one.
        assert await there.call("claim_task", ANN, task_id="HELD", request_id="claim-HELD") == before
        assert (await there.call("status"))["counts"] == counts
        token = before["lease"]["token"]
        with pytest.raises(StaleLease):
            await there.complete("HELD", BOB, lease_token=token)
        assert (await there.complete("HELD", ANN, lease_token=token))["task"]["status"] == "done"
        await there.complete("PART", BOB)
        assert await there.status("BLOCKED", "WHOLE") == ["pending", "pending"]
        # Numbers go on: of events, tokens, ids made by the database.
        assert (await there.claim(ANN, "NEXT"))["lease"]["token"] == 1
        await there.create({"title": "one more", "files": ["new/**"], "epic_id": "NEW"})
        assert (await there.call("context_write", ANN, topic="quoting", content="third"))["version"] == 3
        for task_id in ("HELD", "NEXT", None):
            assert await there.read(lambda tx, task_id=task_id: tx.events.broken_chain(task_id)) is None
        seqs = [row["seq"] for row in await there.sql("SELECT seq FROM events ORDER BY seq")]
        assert seqs == list(range(1, len(seqs) + 1))
        # What was indexed before is found, and what is written now as well.
        assert [t["id"] for t in (await there.call("list_tasks", query="roadmap second"))["tasks"]] == ["R2"]
        assert (await there.call("context_read", query="tricky"))["entries"]
        assert (await there.call("list_tasks", query="one more"))["tasks"]
        assert (await there.task("HELD")).description == LONGEST
        assert HOSTILE in (await there.sql("SELECT title FROM tasks WHERE origin = 'human'"))[0]["title"]
        # What is kept is right by a recount.
        kept = await there.sql("SELECT name, n FROM counters WHERE n <> 0 AND name NOT IN ('ready', 'open_size')")
        found = await there.sql("SELECT status, count(*) AS n FROM tasks GROUP BY status")
        assert {row["name"]: row["n"] for row in kept} == {row["status"]: row["n"] for row in found}
        with pytest.raises(Exception, match="append-only"):
            await there.force("DELETE FROM events")


class Interrupted(Exception):
    pass


def interrupt(table: str) -> Callable[[Step], None]:
    """Ends the copy after some rows of a table."""

    def told(step: Step) -> None:
        if step.table == table and step.done:
            raise Interrupted

    return told


def nothing_at(place: Place) -> bool:
    """No file, or a database without a table."""
    if isinstance(place, Path):
        return not place.exists() and not place.with_name(place.name + ".copying").exists()
    with psycopg.connect(place) as raw:
        return raw.execute("SELECT 1 FROM pg_tables WHERE schemaname = current_schema()").fetchone() is None


@pytest.mark.anyio
@pytest.mark.parametrize("table", ["tasks", "events"])
async def test_an_interrupted_copy_leaves_nothing_and_the_next_starts_over(
    bench: Bench, tmp_path: Path, place: Place, elsewhere: Place, table: str
) -> None:
    await fill(bench, tmp_path)
    with pytest.raises(Interrupted):
        await copied(place, elsewhere, told=interrupt(table))
    assert nothing_at(elsewhere)

    done = await copied(place, elsewhere)

    assert done.rows == sum(compared.rows for compared in done.compared)
    async with at(elsewhere, bench) as there:
        assert (await there.call("status"))["counts"] == (await bench.call("status"))["counts"]


@pytest.mark.anyio
async def test_a_target_with_content_is_refused_and_left_as_it_is(
    bench: Bench, tmp_path: Path, place: Place, elsewhere: Place
) -> None:
    await fill(bench, tmp_path)
    async with at(elsewhere, bench) as there:
        await there.create({"id": "MINE", "title": "mine"})

    with pytest.raises(Conflict, match="has a store already"):
        await copied(place, elsewhere)

    async with at(elsewhere, bench) as there:
        assert await there.status("MINE") == ["pending"]


@pytest.mark.anyio
async def test_a_copy_that_differs_is_noticed_and_not_kept(
    bench: Bench, tmp_path: Path, place: Place, elsewhere: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(bench, tmp_path)
    kind = PostgresTarget if isinstance(elsewhere, str) else SqliteTarget
    put = kind.put

    def meddle(self: Any, table: Table, rows: list[Row]) -> None:
        if table.name == "task_labels":
            rows = [(row[0] + "!", *row[1:]) for row in rows]
        put(self, table, rows)

    with monkeypatch.context() as meddled:
        meddled.setattr(kind, "put", meddle)
        with pytest.raises(Conflict, match="task_labels differs"):
            await copied(place, elsewhere)

    assert nothing_at(elsewhere)
    assert (await copied(place, elsewhere)).rows


@pytest.mark.sqlite
@pytest.mark.anyio
async def test_a_source_on_which_servers_live_is_refused_unless_told(
    bench: Bench, tmp_path: Path, place: Place, elsewhere: Place
) -> None:
    await fill(bench, tmp_path)
    assert isinstance(place, Path)

    with pytest.raises(Conflict, match=r"2 servers work on .*: ann, bob"):
        await copied(place, elsewhere, alive=bench.servers.alive)

    done = await copied(place, elsewhere, alive=bench.servers.alive, while_live=True)

    assert done.rows


@pytest.mark.anyio
async def test_a_source_written_during_the_copy_is_copied_as_it_was_at_the_start(
    bench: Bench, tmp_path: Path, place: Place, elsewhere: Place
) -> None:
    await fill(bench, tmp_path)

    def meanwhile(step: Step) -> None:
        if step.table == "agent_pool" and step.doing == "copying":
            from_thread.run(bench.complete, "HELD")

    await copied(place, elsewhere, told=meanwhile)

    async with at(elsewhere, bench) as there:
        assert await there.status("HELD") == ["in_progress"]


@pytest.mark.sqlite
@pytest.mark.anyio
async def test_a_database_that_dies_during_the_copy_is_named_and_keeps_nothing_of_the_copy(
    bench: Bench, tmp_path: Path, place: Place, own_postgres: Cluster
) -> None:
    await fill(bench, tmp_path)

    def die(step: Step) -> None:
        if step.table == "events" and step.done:
            own_postgres.kill()

    with own_postgres.database() as url:
        with pytest.raises(StoreUnavailable) as lost:
            await copied(place, url, told=die)
        assert "secret" not in lost.value.message
        assert "starts over" in lost.value.hint
        own_postgres.start()
        assert nothing_at(url)

        await copied(place, url)

        async with at(url, bench) as there:
            assert await there.status("HELD") == ["in_progress"]


@pytest.mark.sqlite
@pytest.mark.anyio
async def test_tables_of_another_program_beside_the_store_are_left_alone(
    bench: Bench, tmp_path: Path, place: Place, elsewhere: Place
) -> None:
    await fill(bench, tmp_path)
    assert isinstance(elsewhere, str)
    with psycopg.connect(elsewhere) as theirs:
        theirs.execute("CREATE TABLE theirs (words tsvector)")
        theirs.execute("INSERT INTO theirs VALUES ('kept')")

    with pytest.raises(Interrupted):
        await copied(place, elsewhere, told=interrupt("events"))
    await bench.complete("HELD")
    await copied(place, elsewhere)
    await copied(elsewhere, tmp_path / "back.db")

    with psycopg.connect(elsewhere) as theirs:
        assert theirs.execute("SELECT words::TEXT FROM theirs").fetchall() == [("'kept'",)]


@pytest.mark.anyio
async def test_two_copies_into_one_place_do_not_meet(
    bench: Bench, tmp_path: Path, place: Place, elsewhere: Place
) -> None:
    await fill(bench, tmp_path)

    with target_at(elsewhere), pytest.raises(Conflict, match="Another copy"):
        await copied(place, elsewhere)


def test_a_password_is_told_to_nobody(tmp_path: Path) -> None:
    url = "postgresql://ann:hush@127.0.0.1:9/none"

    with pytest.raises(StoreUnavailable) as refused, source_at(url):
        pass

    assert "127.0.0.1:9/none" in refused.value.message
    assert "hush" not in refused.value.message + str(refused.value.payload())


def test_what_a_database_refuses_is_not_to_be_tried_again(database_url: str) -> None:
    mark = "&" if "?" in database_url else "?"
    read_only = f"{database_url}{mark}options=-c%20default_transaction_read_only%3Don"
    with pytest.raises(IncompatibleStore, match="refused"), target_at(read_only):
        pass


def test_what_is_no_store_is_no_source(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "notes.txt").write_text("no database, but long enough for a header")

    with pytest.raises(InvalidInput, match="there is no file"), source_at(tmp_path / "missing.db"):
        pass
    with pytest.raises(IncompatibleStore, match="not a SQLite database"), source_at(tmp_path / "notes.txt"):
        pass
    with pytest.raises(InvalidInput, match="there is no store"), source_at(database_url):
        pass


def test_a_log_that_a_deleted_database_left_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "state.db-wal").write_bytes(b"x" * 100)

    with pytest.raises(Conflict, match=r"state\.db-wal was left"), SqliteTarget(tmp_path / "state.db"):
        pass


def test_what_a_killed_copy_left_is_replaced_and_a_living_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "state.db.copying").write_bytes(b"half a copy")

    with SqliteTarget(tmp_path / "state.db") as target:
        with pytest.raises(Conflict, match="Another copy"), SqliteTarget(tmp_path / "state.db"):
            pass
        target.finish()

    assert [path.name for path in tmp_path.iterdir()] == ["state.db"]


@pytest.mark.sqlite
@pytest.mark.anyio
async def test_both_kinds_of_database_have_the_columns_that_are_copied(
    bench: Bench, place: Place, elsewhere: Place
) -> None:
    await copied(place, elsewhere)
    assert isinstance(elsewhere, str)
    searched = {"task_search", "context_search"}

    with psycopg.connect(elsewhere) as raw:
        found = raw.execute(
            "SELECT table_name::TEXT, array_agg(column_name::TEXT ORDER BY column_name) FROM information_schema.columns"
            " JOIN information_schema.tables USING (table_schema, table_name)"
            " WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' GROUP BY table_name"
        ).fetchall()

    assert {name: columns for name, columns in found if name not in {"store", *searched}} == {
        table.name: sorted(table.columns) for table in tables()
    }
