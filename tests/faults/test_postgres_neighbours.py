"""Others on the same database: people with open transactions, servers that stand still, connections that are cut."""

import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import psutil
import psycopg
import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.clock import StoppedClock
from tests.support.databases import looked_at
from tests.support.invariants import verify
from tests.support.nursery import Nursery
from tests.support.postgres import Cluster
from tests.support.services import Services
from tests.support.sessions import Servers, an_agent
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks
from wvo_mcp.domain.lease import Policy
from wvo_mcp.errors import StoreBusy
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.store.postgres.presence import key_of
from wvo_mcp.store.postgres.store import PostgresStore

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCALE-1", "SCALE-2", "CLAIM-1")]


@pytest.fixture
async def bench(database_url: str, clock: StoppedClock, servers: Servers, tmp_path: Path) -> AsyncIterator[Bench]:
    """On PostgreSQL."""
    store = PostgresStore(database_url, clock, servers)
    files = RoadmapSource(tmp_path / "roadmap.yaml")
    await store.open()
    yield Bench(
        Services(store=store, policy=Policy(), roadmap=files, directives=DirectiveFiles(tmp_path)),
        store,
        clock,
        servers,
    )
    await store.close()


@pytest.fixture
def workspace(database_url: str, tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(tmp_path / "workspace", tmp_path / "logs", database_url)
    yield made
    made.close()


@pytest.fixture
def person(database_url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Somebody at a prompt, within a transaction that stays open."""
    with psycopg.connect(database_url) as connection:
        yield connection
        connection.rollback()


def whoever_waits_fails(bench: Bench) -> None:
    """From now on: a wait for a row that a person keeps is given up after three seconds, and then not tried again."""
    assert isinstance(bench.store, PostgresStore)
    bench.store.writer.retry_seconds = 2.0


async def test_a_claim_passes_over_a_task_whose_row_a_person_has_locked(
    bench: Bench, person: psycopg.Connection[tuple[object, ...]]
) -> None:
    await bench.create(a_task("A", priority="critical"), a_task("B"), a_task("C", priority="low"))
    person.execute("SELECT * FROM tasks WHERE id = 'A' FOR UPDATE")
    whoever_waits_fails(bench)

    claims = [(await bench.claim(caller))["task"]["id"] for caller in (ANN, BOB)]

    assert claims == ["B", "C"]
    person.rollback()
    await bench.complete("B")
    assert (await bench.claim())["task"]["id"] == "A"
    verify(bench.source)


async def test_a_lease_that_ran_out_on_a_row_that_a_person_has_locked_holds_up_nobody(
    bench: Bench, person: psycopg.Connection[tuple[object, ...]]
) -> None:
    await bench.create(a_task("A", priority="critical"), a_task("B"))
    await bench.claim(ANN, lease_seconds=30)
    person.execute("UPDATE tasks SET title = 'mine' WHERE id = 'A'")
    bench.clock.advance(31)
    whoever_waits_fails(bench)

    claimed = (await bench.claim(BOB))["task"]["id"]

    assert claimed == "B"
    person.rollback()
    again = await bench.claim(an_agent("cyd"))
    assert (again["task"]["id"], again["lease"]["token"]) == ("A", 2)
    verify(bench.source)


async def test_a_write_that_needs_a_locked_row_gives_up_and_others_write_meanwhile(
    bench: Bench, person: psycopg.Connection[tuple[object, ...]]
) -> None:
    await bench.create(a_task("A"), a_task("B"))
    await bench.claim(ANN, "A")
    person.execute("UPDATE tasks SET title = 'mine' WHERE id = 'A'")
    assert isinstance(bench.store, PostgresStore)
    bench.store.writer.retry_seconds = 4.0

    other = PostgresStore(bench.store.writer.url, bench.clock, bench.servers)
    await other.open()
    try:
        waited: list[float] = []

        async def held_up() -> None:
            with pytest.raises(StoreBusy, match="busy"):
                await bench.call("checkpoint", ANN, task_id="A", summary="half")

        async def beside() -> None:
            for number in range(8):
                began = time.monotonic()
                await other.write(BOB, lambda tx, number=number: tx.state.put("n", number))
                waited.append(time.monotonic() - began)
                await anyio.sleep(0.2)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(held_up)
            tasks.start_soon(beside)
    finally:
        await other.close()
    assert max(waited) < 18, waited  # it would have given up after twenty
    person.rollback()
    assert (await bench.call("checkpoint", ANN, task_id="A", summary="half"))["checkpoint"]["seq"] == 1
    verify(bench.source)


async def test_a_transaction_that_somebody_leaves_open_holds_up_nobody(
    bench: Bench, person: psycopg.Connection[tuple[object, ...]]
) -> None:
    person.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    person.execute("SELECT count(*) FROM tasks")
    person.execute("INSERT INTO facts (name, value) VALUES ('mine', '1')")
    await bench.create(*(a_task(f"T{number}") for number in range(30)))
    whoever_waits_fails(bench)

    for number in range(30):
        await bench.claim(ANN, f"T{number}")
        await bench.complete(f"T{number}")

    verify(bench.source)


def test_a_server_frozen_in_a_write_delays_others_for_seconds_and_changes_nothing(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.settings = {"WVO_LEASE_SECONDS": "60"}
    client = workspace.server("ann")
    client.call("create_tasks", some_tasks("A"))
    folder = tmp_path / "frozen"
    folder.mkdir()
    with Nursery("tests.faults.freezing", tmp_path / "nursery.log") as nursery:
        child = nursery.spawn(folder=str(folder), url=workspace.url)
        pid = eventually(lambda: (folder / "pid").exists() and int((folder / "pid").read_text() or 0))
        eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)

        # For as long as the frozen one is not cut off; a call that waits for twenty seconds fails.
        client.call("context_write", {"topic": "t", "content": "c"})
        claim = eventually(lambda: taken(client.call("claim_task")))
        os.kill(pid, signal.SIGCONT)

        assert nursery.wait(child) == 0
    assert (claim["task"]["id"], claim["lease"]["token"]) == ("A", 2)
    first, second = (json.loads(line) for line in (folder / "told").read_text().splitlines())
    assert first["lease"]["token"] == 1
    # Whoever slept for longer than a write is tried again is told so; either way nothing was done.
    assert second["code"] in ("stale_lease", "store_unavailable"), second
    assert client.call("complete_task", {"task_id": "A", "summary": "awake"})["task"]["status"] == "done"
    assert verify(workspace.source).completions == {"A": 1}
    assert (tmp_path / "nursery.log").read_text() == ""


@pytest.mark.full
def test_a_server_that_freezes_within_a_batch_of_statements_is_cut_off(workspace: Workspace, tmp_path: Path) -> None:
    """The database takes it for busy then, and its own timeout for idle transactions does not end it."""
    client = workspace.server("ann")
    with Nursery("tests.faults.freezing", tmp_path / "nursery.log") as nursery:
        child = nursery.spawn(folder=str(tmp_path), url=workspace.url, between=True)
        pid = eventually(lambda: (tmp_path / "pid").exists() and int((tmp_path / "pid").read_text() or 0))
        eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)

        client.call("context_write", {"topic": "t", "content": "c"})
        with looked_at(workspace.source) as database:
            assert database.column("SELECT name FROM facts WHERE name = 'woken'") == []
        os.kill(pid, signal.SIGCONT)

        assert nursery.wait(child) == 0
    with looked_at(workspace.source) as database:
        assert database.column("SELECT name FROM facts WHERE name = 'woken'") == ["woken"]


def taken(claim: dict[str, object]) -> dict[str, dict[str, object]] | None:
    return claim if claim["task"] is not None else None  # pyright: ignore[reportReturnType]


HOLDER = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
  AND ((classid::BIGINT << 32) | objid::BIGINT) = %s"""


@pytest.mark.requirement("CLAIM-3")
def test_a_session_whose_presence_is_cut_takes_it_up_again_and_keeps_its_task(
    workspace: Workspace, postgres: Cluster
) -> None:
    holder, other = workspace.server("holder"), workspace.server("other")
    holder.call("create_tasks", some_tasks("A"))
    holder.call("claim_task")
    with looked_at(workspace.source) as database:
        session = database.value("SELECT session_id FROM tasks WHERE id = 'A'")
    backends: list[int] = []
    for _ in range(3):
        ((pid,),) = eventually(lambda: [row for row in postgres.sql(HOLDER, key_of(session)) if row[0] not in backends])
        backends.append(pid)
        postgres.sql("SELECT pg_terminate_backend(%s, 5000)", pid)
        assert other.call("claim_task")["task"] is None  # perhaps it cuts the lease to the grace
        assert holder.call("heartbeat", {"task_id": "A"})["lease"]["token"] == 1

    eventually(lambda: postgres.sql(HOLDER, key_of(session)))
    assert holder.call("complete_task", {"task_id": "A", "summary": "done"})["task"]["status"] == "done"
    assert verify(workspace.source).kinds["lease.expired"] == 0
    assert "Traceback" not in workspace.logged()
    assert "secret" not in workspace.logged()
