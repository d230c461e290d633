"""The same commands on PostgreSQL."""

import psycopg
import pytest

from tests.faces.cli.shell import Shell
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks, workspace
from wvo_mcp.store.postgres.presence import Presence, connected

__all__ = ["workspace"]


@pytest.fixture
def on_postgres(shell: Shell, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("WVO_DATABASE_URL", database_url)
    return shell


def titles(shell: Shell) -> list[str]:
    return sorted(task["title"] for task in shell("list-tasks").json["tasks"])


@pytest.mark.requirement("DR-1", "DR-2", "SCALE-1")
def test_a_dump_is_made_listed_restored_and_undone(on_postgres: Shell) -> None:
    on_postgres("add", "One")
    made = on_postgres("backup-create").json
    assert made["name"].endswith(".dump")
    assert [backup["name"] for backup in on_postgres("backup-list").json["backups"]] == [made["name"]]
    on_postgres("add", "Two")

    done = on_postgres("backup", "restore", "--latest").json

    assert done["restored"] == made["name"]
    assert titles(on_postgres) == ["One"]
    assert on_postgres("backup", "restore", done["safety"]).code == 0
    assert titles(on_postgres) == ["One", "Two"]
    found = {check["check"]: check for check in on_postgres("doctor").json["checks"]}
    assert f"the newest, {made['name']}, is " in found["backups"]["found"]
    refused = on_postgres("doctor", "--repair").error
    assert "backup restore" in refused["message"]


@pytest.mark.sqlite  # the kind that the workspace would choose by itself
@pytest.mark.requirement("DR-2", "SCALE-1")
def test_a_restore_is_refused_beside_live_servers_unless_forced_and_they_see_it(
    on_postgres: Shell, workspace: Workspace, database_url: str
) -> None:
    on_postgres("add", "One")
    on_postgres("backup-create")
    client = workspace.server("ann", WVO_DATABASE_URL=database_url)
    client.call("create_tasks", some_tasks("A"))

    refused = on_postgres("backup", "restore", "--latest").error
    assert refused["code"] == "conflict"
    assert "--while-live" in refused["hint"]
    assert on_postgres("backup", "restore", "--latest", "--while-live").code == 0

    assert client.call("list_tasks")["total"] == 1
    client.call("create_tasks", some_tasks("B"))
    assert client.call("list_tasks")["total"] == 2


@pytest.mark.sqlite  # the kind that the workspace would choose by itself
@pytest.mark.requirement("DR-2", "SCALE-1")
@pytest.mark.parametrize("lost", ["events", pytest.param("sessions", marks=pytest.mark.full)])
def test_a_store_that_lacks_a_part_is_restored_and_its_servers_are_seen(
    on_postgres: Shell, database_url: str, lost: str
) -> None:
    on_postgres("add", "One")
    on_postgres("backup-create")
    with psycopg.connect(database_url, autocommit=True) as raw:
        raw.execute(
            "INSERT INTO sessions (session_id, agent_id, host, started_at, durable)"
            " SELECT 'here', agent_id, host, started_at, 0 FROM sessions LIMIT 1"
        )
        raw.execute(f"DROP TABLE {lost} CASCADE".encode())
    assert on_postgres("add", "Two").code == 1
    with Presence(database_url, "here"):
        refused = on_postgres("backup", "restore", "--latest").error
        assert refused["details"]["living"] == ["here"]

    eventually(lambda: not connected(database_url))  # the server sees a moment later that it has gone
    assert on_postgres("backup", "restore", "--latest").code == 0

    assert titles(on_postgres) == ["One"]
