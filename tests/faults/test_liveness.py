"""Who is alive? Sessions that are quiet, silent, closed, killed or frozen, on the real clock."""

from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.clock import seconds_between
from tests.support.databases import sqlite, written
from tests.support.invariants import Database, looked_at, verify
from tests.support.stdio_client import Refused, StdioClient
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks
from wvo_mcp.domain.instant import iso
from wvo_mcp.execution.session_lock import SessionLocks
from wvo_mcp.store.postgres.presence import Presence

HOUR = "3600"


def claimed(client: StdioClient, **arguments: Any) -> tuple[str, int]:
    """Task and token; waits until there is something to claim."""
    claim = eventually(lambda: given_task(client.call("claim_task", arguments)))
    return claim["task"]["id"], claim["lease"]["token"]


def given_task(claim: dict[str, Any]) -> dict[str, Any] | None:
    return claim if claim["task"] is not None else None


def row(workspace: Workspace, task_id: str) -> dict[str, Any]:
    with looked_at(workspace.source) as database:
        return database.one("SELECT * FROM tasks WHERE id = ?", task_id)


def told(database: Database, task_id: str) -> list[dict[str, Any]]:
    return [
        *database.rows("SELECT * FROM tasks WHERE id = ?", task_id),
        *database.rows("SELECT * FROM events WHERE task_id = ? ORDER BY seq", task_id),
        *database.rows("SELECT * FROM checkpoints WHERE task_id = ?", task_id),
    ]


@pytest.mark.full_on_postgres
@pytest.mark.requirement("CLAIM-3")
def test_a_session_that_is_connected_and_quiet_keeps_its_task_for_many_lease_lengths(workspace: Workspace) -> None:
    other = workspace.server("other")
    other.call("create_tasks", some_tasks("A"))
    # A busy machine may let a short lease run out, and nobody is to make use of that.
    with leading_elsewhere(workspace):
        holder = workspace.server("holder", WVO_LEASE_SECONDS="2")
        assert claimed(holder) == ("A", 1)
        first = row(workspace, "A")["lease_expires_at"]

        eventually(lambda: seconds_between(first, row(workspace, "A")["lease_expires_at"]) > 6)

        with written(workspace.source) as execute:
            execute("UPDATE tasks SET lease_seconds = 3600 WHERE id = 'A'")
        eventually(lambda: seconds_between(first, row(workspace, "A")["lease_expires_at"]) > 3_000)
        assert other.call("claim_task")["task"] is None

    assert row(workspace, "A")["lease_token"] == 1
    assert holder.call("complete_task", {"task_id": "A", "summary": "done"})["task"]["status"] == "done"
    assert verify(workspace.source).kinds["lease.expired"] == 0


@pytest.mark.full_on_postgres
@pytest.mark.requirement("CLAIM-3")
def test_a_connected_session_that_is_silent_for_too_long_loses_its_task(workspace: Workspace) -> None:
    holder = workspace.server("holder", WVO_LEASE_SECONDS="2", WVO_QUIET_MAX_SECONDS="3")
    other = workspace.server("other")
    holder.call("create_tasks", some_tasks("A"))
    assert claimed(holder) == ("A", 1)

    assert claimed(other) == ("A", 2)

    with pytest.raises(Refused, match="stale_lease"):
        holder.call("complete_task", {"task_id": "A", "lease_token": 1, "summary": "done"})
    assert verify(workspace.source).kinds["session.ended"] == 0


@pytest.mark.full_on_postgres
@pytest.mark.requirement("CLAIM-3", "CLAIM-5", "CORE-11")
def test_a_closed_pipe_leaves_the_task_its_grace_period_and_checkpoint(workspace: Workspace) -> None:
    workspace.settings = {"WVO_LEASE_SECONDS": HOUR, "WVO_LEASE_GRACE_SECONDS": "2"}
    holder, other = workspace.server("holder"), workspace.server("other")
    holder.call("create_tasks", some_tasks("A"))
    claimed(holder)
    saved = {"summary": "half", "next_steps": "the rest", "progress": 50, "files": ["a.py"]}
    holder.call("checkpoint", {"task_id": "A", **saved})

    with leading_elsewhere(workspace):  # or the task may be back before this looks
        assert holder.end() == 0

        with looked_at(workspace.source) as database:
            ended = database.value("SELECT ended_at FROM sessions WHERE agent_id = 'holder'")
            cut = database.value("SELECT lease_expires_at FROM tasks WHERE id = 'A'")
    assert ended is not None
    assert 0 <= seconds_between(ended, cut) <= 2.01
    claim = eventually(lambda: given_task(other.call("claim_task")))
    assert claim["lease"]["token"] == 2
    assert {name: claim["resume"][name] for name in saved} == saved
    assert verify(workspace.source).taken_by_others == 1


@pytest.mark.requirement("CLAIM-1", "CLAIM-3", "CLAIM-5", "CORE-11")
def test_the_task_of_a_killed_server_goes_to_the_next_who_asks(workspace: Workspace) -> None:
    workspace.settings = {"WVO_LEASE_SECONDS": HOUR, "WVO_LEASE_GRACE_SECONDS": "1"}
    holder, other = workspace.server("holder"), workspace.server("other")
    holder.call("create_tasks", some_tasks("A"))
    claimed(holder)
    holder.call("checkpoint", {"task_id": "A", "summary": "half"})
    with leading_elsewhere(workspace):  # or the task may be back before this looks
        holder.kill()
        holder.wait()
        assert row(workspace, "A")["status"] == "in_progress"

        claim = eventually(lambda: given_task(other.call("claim_task")))

    assert (claim["task"]["id"], claim["lease"]["token"], claim["resume"]["summary"]) == ("A", 2, "half")
    history = verify(workspace.source)
    assert history.kinds["session.ended"] == 1
    assert history.kinds["lease.expired"] == 1
    assert row(workspace, "A")["attempts"] == 0


@pytest.mark.requirement("CLAIM-2", "CLAIM-1")
def test_a_server_that_wakes_after_its_task_was_taken_over_can_change_nothing(workspace: Workspace) -> None:
    holder = workspace.server("holder", WVO_LEASE_SECONDS="2")
    other = workspace.server("other", WVO_LEASE_SECONDS=HOUR)
    holder.call("create_tasks", some_tasks("A"))
    claimed(holder)
    held = {"task_id": "A", "lease_token": 1}
    freeze_between_writes(workspace, holder)
    early = holder.post("tools/call", {"name": "complete_task", "arguments": {**held, "summary": "I was first"}})
    assert claimed(other) == ("A", 2)
    with looked_at(workspace.source) as database:
        before = told(database, "A")

    holder.thaw()

    assert holder.receive(early)["result"]["structuredContent"]["error"]["code"] == "stale_lease"
    for tool, asked in {
        "heartbeat": {},
        "checkpoint": {"summary": "mine"},
        "complete_task": {"summary": "mine"},
        "fail_task": {"error": "mine"},
        "release_task": {},
        "block_task": {"reason": "mine"},
    }.items():
        for given in ({"task_id": "A"}, held):
            with pytest.raises(Refused, match="stale_lease") as refused:
                holder.call(tool, {**given, **asked})
            assert refused.value.details["holder"] == "other"
    with looked_at(workspace.source) as database:
        assert told(database, "A") == before
    assert (
        other.call("complete_task", {"task_id": "A", "lease_token": 2, "summary": "done"})["task"]["status"] == "done"
    )
    verify(workspace.source)


@pytest.mark.requirement("CLAIM-2")
def test_a_late_holder_whom_nobody_overtook_is_honoured_and_renewed(workspace: Workspace) -> None:
    planner = workspace.server("planner")
    planner.call("create_tasks", some_tasks("A"))
    assert planner.end() == 0
    with leading_elsewhere(workspace):
        holder = workspace.server("holder", WVO_LEASE_SECONDS="1")
        claimed(holder)
        holder.freeze()
        expired = eventually(lambda: ran_out(workspace))
        holder.thaw()

        renewed = holder.call("heartbeat", {"task_id": "A", "lease_token": 1})

    assert renewed["lease"]["token"] == 1
    assert renewed["lease"]["expires_at"] > expired
    assert verify(workspace.source).kinds["lease.expired"] == 0


@contextmanager
def leading_elsewhere(workspace: Workspace) -> Generator[None]:
    """The leader, who returns to the queue what has run out, is somebody who does nothing."""
    idle = SessionLocks(workspace.root / "state" / "sessions").lock("idle-leader")
    with Presence(workspace.url, "idle-leader") if workspace.url else idle:
        with written(workspace.source) as execute:
            # Raised, so that whoever leads now finds itself overtaken; made, in case that nobody has led yet.
            execute(
                "INSERT INTO leaders (role, session_id, token, expires_at)"
                " VALUES ('background', 'idle-leader', 1, '2999-01-01T00:00:00.000Z')"
                " ON CONFLICT (role) DO UPDATE"
                " SET session_id = excluded.session_id, token = leaders.token + 1, expires_at = excluded.expires_at"
            )
        yield
        with written(workspace.source) as execute:
            execute("UPDATE leaders SET session_id = NULL WHERE session_id = 'idle-leader'")


def freeze_between_writes(workspace: Workspace, client: StdioClient) -> None:
    """A server that stands still within a write keeps the file locked against all others, until it is woken or killed.
    PostgreSQL cuts it off."""
    client.freeze()
    while workspace.url is None and is_locked(workspace):
        client.thaw()
        client.freeze()


def is_locked(workspace: Workspace) -> bool:
    with closing(sqlite.connect(str(workspace.database), timeout=1, isolation_level=None)) as raw:
        try:
            raw.execute("BEGIN IMMEDIATE")
        except sqlite.OperationalError:
            return True
        raw.execute("ROLLBACK")
        return False


def ran_out(workspace: Workspace) -> str | None:
    """When the lease ended, if it has."""
    with looked_at(workspace.source) as database:
        ended = database.column(
            "SELECT lease_expires_at FROM tasks WHERE status = 'in_progress' AND lease_expires_at < ?",
            iso(datetime.now(UTC)),
        )
    return ended[0] if ended else None
