"""The audit trail: append-only, chained, and an edit from outside shows."""

import json
import secrets
from datetime import timedelta
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from wvo_mcp.errors import StoreUnavailable
from wvo_mcp.ports import Transaction
from wvo_mcp.store.sqlite.store import SqliteStore

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("OBS-2", "TASK-7")]


async def broken(bench: Bench, task_id: str | None = "T") -> int | None:
    return await bench.read(lambda tx: tx.events.broken_chain(task_id))


async def a_history(bench: Bench) -> list[int]:
    """Task T has lived a little; the numbers of its events."""
    await bench.create(a_task("T"))
    for n in range(3):
        await bench.claim(ANN, "T")
        await bench.call("context_write", topic="between", content=f"{n}")
        await bench.call("release_task", task_id="T")
    assert await broken(bench) is None
    assert await broken(bench, None) is None
    return [row["seq"] for row in await bench.sql("SELECT seq FROM events WHERE task_id = 'T' ORDER BY seq")]


@pytest.mark.requirement("SAFE-3")
async def test_keys_do_not_enter_the_trail_and_everything_else_does(bench: Bench) -> None:
    key = "ghp_" + secrets.token_hex(18)
    await bench.create(a_task("T"))
    await bench.claim(ANN, "T")
    await bench.complete("T", summary=f"token=abc12345 pushed with {key}; \u00fc")
    (row,) = await bench.sql("SELECT data FROM events WHERE kind = 'task.completed'")
    assert json.loads(row["data"])["summary"] == "token=abc12345 pushed with [redacted]; \u00fc"
    assert await broken(bench) is None


async def unlock(bench: Bench) -> None:
    """Somebody takes the guards away, as anybody with the file can."""
    where = "" if isinstance(bench.store, SqliteStore) else " ON events"
    await bench.force(f"DROP TRIGGER events_stay{where}")
    await bench.force(f"DROP TRIGGER events_remain{where}")
    if where:
        await bench.force(f"DROP TRIGGER events_last{where}")


async def prune(bench: Bench, limit: int = 500) -> int:
    return await bench.write(lambda tx: tx.events.prune(tx.now - timedelta(days=30), limit))


async def beats(bench: Bench, count: int) -> None:
    for _ in range(count):
        await bench.call("heartbeat", task_id="T")


async def test_old_heartbeats_and_events_without_a_task_go_and_the_chains_still_hold(bench: Bench) -> None:
    await a_history(bench)
    for _ in range(2):
        await bench.claim(ANN, "T")
        await beats(bench, 3)
        await bench.call("checkpoint", task_id="T", summary="on the way")
        await beats(bench, 2)
        await bench.call("release_task", task_id="T")
    stays = "SELECT seq FROM events WHERE task_id IS NOT NULL AND kind <> 'task.heartbeat' AND kind <> 'chain.pruned'"
    before = await bench.sql(stays)
    bench.clock.advance(days=31)
    young = await bench.call("context_write", topic="young", content="stays")
    assert young["version"] == 1

    gone: list[int] = []
    while count := await prune(bench, 4):
        gone.append(count)

    assert len(gone) > 2
    assert await bench.sql(stays) == before
    assert await bench.sql("SELECT 1 FROM events WHERE kind = 'task.heartbeat'") == []
    assert len(await bench.sql("SELECT 1 FROM events WHERE kind = 'context.written'")) == 1
    assert (await broken(bench), await broken(bench, None)) == (None, None)
    counts = [
        json.loads(row["data"])["count"]
        for row in await bench.sql("SELECT data FROM events WHERE kind = 'chain.pruned'")
    ]
    assert sum(counts) == sum(gone)


async def test_what_was_pruned_before_stays_checkable_when_more_goes(bench: Bench) -> None:
    await a_history(bench)
    for _ in range(3):
        await bench.claim(ANN, "T")
        await beats(bench, 2)
        await bench.call("release_task", task_id="T")
        await bench.call("context_write", topic="between", content="more")
        bench.clock.advance(days=31)
        assert await prune(bench) > 0
        assert (await broken(bench), await broken(bench, None)) == (None, None)
    assert len(await bench.sql("SELECT 1 FROM events WHERE task_id IS NULL AND kind = 'chain.pruned'")) == 1


async def test_a_pruned_chain_still_shows_an_event_that_somebody_took_out(bench: Bench) -> None:
    await bench.create(a_task("T"))
    await bench.claim(ANN, "T")
    await beats(bench, 2)
    await bench.call("release_task", task_id="T")
    bench.clock.advance(days=31)
    await prune(bench)
    await unlock(bench)
    released = await bench.sql("SELECT seq FROM events WHERE kind = 'task.released'")

    await bench.force(f"DELETE FROM events WHERE seq = {released[0]['seq']}")

    assert await broken(bench) is not None


@pytest.mark.parametrize("table", ["events", "checkpoints", "context_entries"])
@pytest.mark.parametrize("statement", ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}"])
async def test_history_cannot_be_rewritten(bench: Bench, table: str, statement: str) -> None:
    await bench.create(a_task("T"))
    await bench.claim(ANN)
    await bench.call("checkpoint", task_id="T", summary="half of it")
    await bench.call("context_write", topic="t", content="c")
    before = await bench.sql(f"SELECT * FROM {table}")

    with pytest.raises(StoreUnavailable, match="append-only"):
        await bench.force(statement.format(table=table, column="created_at" if table != "events" else "at"))

    assert before
    assert await bench.sql(f"SELECT * FROM {table}") == before


async def test_a_task_cannot_be_deleted(bench: Bench) -> None:
    await bench.create(a_task("T"))

    with pytest.raises(StoreUnavailable, match="never deleted"):
        await bench.force("DELETE FROM tasks")


@pytest.mark.parametrize("column", ["at", "kind", "agent_id", "session_id", "data", "prev_hash", "hash"])
async def test_an_edited_event_breaks_its_chain_there(bench: Bench, column: str) -> None:
    _, second, *_ = await a_history(bench)
    await unlock(bench)

    await bench.force(f"UPDATE events SET {column} = 'other' WHERE seq = ?", second)

    assert await broken(bench) == second


async def test_a_deleted_event_breaks_the_chain_behind_it(bench: Bench) -> None:
    first, second, third, *_ = await a_history(bench)
    await unlock(bench)

    await bench.force("DELETE FROM events WHERE seq = ?", second)
    assert await broken(bench) == third
    await bench.force("DELETE FROM events WHERE seq = ?", first)
    assert await broken(bench) == third


async def test_an_end_that_is_cut_off_is_missed(bench: Bench) -> None:
    *_, before, last = await a_history(bench)
    await unlock(bench)

    await bench.force("DELETE FROM events WHERE seq = ?", last)

    assert await broken(bench) == before + 1


async def test_an_event_that_was_slipped_in_is_found(bench: Bench) -> None:
    *_, last = await a_history(bench)

    await bench.force(
        "INSERT INTO events SELECT seq + 1000, at, kind, task_id, agent_id, session_id, data, prev_hash, hash"
        " FROM events WHERE seq = ?",
        last,
    )

    assert await broken(bench) == last + 1000


async def test_events_that_swapped_places_are_found(bench: Bench) -> None:
    _, second, third, *_ = await a_history(bench)
    await unlock(bench)

    for old, new in ((second, -1), (third, second), (-1, third)):
        await bench.force("UPDATE events SET seq = ? WHERE seq = ?", new, old)

    assert await broken(bench) == second


async def test_an_event_says_who_did_what_when_and_from_which_session(bench: Bench) -> None:
    await bench.create(a_task("T", priority="low"), caller=ANN)
    bench.clock.advance(5)
    await bench.call("update_task", BOB, task_id="T", priority="high")

    made, changed = (await bench.call("events", task_id="T"))["events"]

    assert (made["kind"], made["agent_id"], made["session_id"]) == ("task.created", "ann", "ann/1")
    assert (changed["kind"], changed["agent_id"], changed["session_id"]) == ("task.updated", "bob", "bob/1")
    assert changed["at"] == "2026-03-02T09:00:05.000Z"
    assert changed["data"] == {"before": {"priority": "low"}, "after": {"priority": "high"}}


async def test_the_trail_is_read_in_pages_forward_and_from_its_end(bench: Bench) -> None:
    seqs = await a_history(bench)

    async def pages(limit: int) -> list[int]:
        found: list[int] = []
        more = True
        while more:
            page = await bench.call("events", after=found[-1] if found else 0, task_id="T", limit=limit)
            found += [event["seq"] for event in page["events"]]
            more = page["more"]
        return found

    assert await pages(2) == await pages(3) == await pages(500) == seqs
    last = await bench.call("events", task_id="T", limit=2, last=True)
    assert [event["seq"] for event in last["events"]] == seqs[-2:]
    claims = await bench.call("events", kind="task.claimed", limit=2, last=True)
    assert [event["seq"] for event in claims["events"]] == [seqs[3], seqs[5]]


async def test_of_the_last_events_the_oldest_are_left_out_where_not_all_fit(bench: Bench) -> None:
    for n in range(12):
        await bench.write(lambda tx, n=n: tx.events.append("note.made", None, {"n": n, "text": "x" * 3_000}))
    seen: list[int] = []
    before: dict[str, Any] = {}

    while True:
        page = await bench.call("events", kind="note.made", last=True, limit=12, **before)
        seen = [event["data"]["n"] for event in page["events"]] + seen
        if "older" not in page:
            break
        before = {"before": page["older"]}

    assert seen == list(range(12))


async def test_an_alert_is_open_once_for_each_kind_and_task(bench: Bench) -> None:
    await bench.create(a_task("T"))

    async def twice(tx: Transaction) -> None:
        for _ in range(2):
            await tx.alerts.raise_alert("task_failed", "critical", "T", "it failed")
            await tx.alerts.raise_alert("queue_empty", "info", None, "nothing is left")

    await bench.write(twice)
    assert await bench.alerts() == [("task_failed", "critical", "T"), ("queue_empty", "info", None)]
    await bench.write(lambda tx: tx.alerts.resolve_alert("task_failed", "T"))
    assert await bench.alerts() == [("queue_empty", "info", None)]
    await bench.write(twice)
    assert await bench.alerts() == [("queue_empty", "info", None), ("task_failed", "critical", "T")]
