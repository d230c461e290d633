"""A person reads the database with its own program while the server runs (contract, section 2)."""

import subprocess

import pytest

from tests.support.postgres import programs_folder
from tests.support.stdio_client import StdioClient
from tests.support.workspace import Workspace

pytestmark = pytest.mark.requirement("TASK-1")

COLUMNS = {
    "tasks": "id epic_id milestone_id parent_id title description status priority complexity business_value score"
    " unmet_deps assigned_to session_id lease_token lease_expires_at attempts expiries max_attempts origin metadata version"
    " created_at updated_at started_at finished_at",
    "task_dependencies": "task_id depends_on_task_id",
    "agent_pool": "agent_id provider status current_task_id assigned_at last_seen_at",
    "epics": "id",
    "milestones": "due_at",
    "checkpoints": "task_id seq parent_id agent_id summary next_steps progress created_at",
    "context_entries": "topic version content tags scope task_id created_at",
    "events": "seq at kind task_id agent_id session_id data",
    "sessions": "session_id agent_id pid host started_at last_call_at ended_at",
}


def run(place: Workspace, sql: str) -> subprocess.CompletedProcess[str]:
    """What sqlite3 or psql makes of a statement."""
    if place.url is None:
        command = ["sqlite3", str(place.database), sql]
    else:
        folder = programs_folder()
        assert folder is not None
        command = [str(folder / "psql"), "--no-psqlrc", "--no-align", "--tuples-only", "--command", sql, place.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def asked(place: Workspace, sql: str) -> list[str]:
    """What the program prints, a row a line."""
    shown = run(place, sql)
    assert shown.returncode == 0, shown.stderr
    return shown.stdout.splitlines()


@pytest.mark.parametrize("table", COLUMNS)
def test_a_table_has_the_columns_of_the_contract(place: Workspace, server: StdioClient, table: str) -> None:
    server.call("context_write", {"topic": "first", "content": "the first write makes the store"})

    if place.url is None:
        present = set(asked(place, f"SELECT name FROM pragma_table_info('{table}')"))
    else:
        present = set(asked(place, f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass"))

    assert set(COLUMNS[table].split()) <= present


def test_what_the_server_did_is_there_at_once(place: Workspace, server: StdioClient) -> None:
    tasks = [{"id": "D1", "title": "one", "priority": "critical"}, {"id": "D2", "title": "two", "depends_on": ["D1"]}]
    server.call("create_tasks", {"tasks": tasks})
    server.call("claim_task", {"task_id": "D1"})

    assert asked(place, "SELECT id, status, unmet_deps, assigned_to, lease_token FROM tasks WHERE id LIKE 'D%'") == [
        "D1|in_progress|0|ann|1",
        "D2|pending|1||0",
    ]
    assert asked(place, "SELECT task_id, depends_on_task_id FROM task_dependencies WHERE task_id = 'D2'") == ["D2|D1"]
    assert asked(place, "SELECT status, current_task_id FROM agent_pool WHERE agent_id = 'ann'") == ["busy|D1"]
    assert asked(place, "SELECT count(*) FROM sessions WHERE agent_id = 'ann' AND ended_at IS NULL") == ["1"]


def test_the_ready_view_holds_what_may_be_claimed_best_first(place: Workspace, server: StdioClient) -> None:
    tasks = [
        {"id": "V1", "title": "low", "priority": "low"},
        {"id": "V2", "title": "high", "priority": "high"},
        {"id": "V3", "title": "waits", "depends_on": ["V2"]},
        {"id": "V4", "title": "later", "not_before": "2199-01-01T00:00:00Z"},
        {"id": "V5", "title": "approval", "requires_approval": True},
        {"id": "V6", "title": "past", "not_before": "2001-01-01T00:00:00Z"},
    ]
    server.call("create_tasks", {"tasks": tasks})

    assert asked(place, "SELECT id FROM ready_tasks WHERE id LIKE 'V%'") == ["V2", "V6", "V1"]


@pytest.mark.sqlite
def test_the_log_is_in_wal(place: Workspace, server: StdioClient) -> None:
    server.call("context_write", {"topic": "first", "content": "the first write makes the store"})

    assert asked(place, "PRAGMA journal_mode") == ["wal"]


def test_an_event_cannot_be_changed_and_nothing_be_deleted(place: Workspace, server: StdioClient) -> None:
    server.call("create_tasks", {"tasks": [{"id": "E1", "title": "one"}]})
    server.call("context_write", {"topic": "kept", "content": "for good"})

    for sql in (
        "UPDATE events SET kind = 'x'",
        "DELETE FROM events",
        "DELETE FROM tasks",
        "DELETE FROM context_entries",
    ):
        assert run(place, f"{sql};").returncode != 0
    assert asked(place, "SELECT kind FROM events WHERE task_id = 'E1'") == ["task.created"]
