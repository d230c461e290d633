"""Databases that cannot be used: each is told from the others, in one line at the start and in a typed error later."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.databases import written
from tests.support.postgres import Cluster
from tests.support.stdio_client import Refused
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks

pytestmark = pytest.mark.requirement("SCALE-1", "CORE-7", "DR-4")


@pytest.fixture
def workspace(database_url: str, tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(tmp_path / "workspace", tmp_path / "logs", database_url)
    yield made
    made.close()


def name_of(url: str) -> str:
    return str(conninfo_to_dict(url)["dbname"])


def one_line(workspace: Workspace) -> str:
    """What a server that does not start says, and a command after it."""
    refused = workspace.spawn("second")
    assert refused.wait(120) != 0
    lines = refused.log.read_text().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("wvo-mcp: ")
    assert "Traceback" not in lines[0]
    assert "secret" not in lines[0]
    return lines[0]


def made(workspace: Workspace) -> None:
    first = workspace.server("first")
    first.call("create_tasks", some_tasks("A"))
    assert first.end() == 0


def test_a_database_that_does_not_exist(workspace: Workspace) -> None:
    assert workspace.url is not None
    workspace.url += "_not"

    assert f'database "{name_of(workspace.url)}" does not exist' in one_line(workspace)


def test_a_wrong_password(own_postgres: Cluster, workspace: Workspace) -> None:
    access = own_postgres.folder / "data" / "pg_hba.conf"
    access.write_text(access.read_text().replace("127.0.0.1/32            trust", "127.0.0.1/32 scram-sha-256"))
    own_postgres.sql("SELECT pg_reload_conf()")
    with own_postgres.database() as url:
        workspace.url = url
        eventually(lambda: refuses(url.replace("secret", "other-secret")))
        made(workspace)

        workspace.url = url.replace("wvo:secret", "wvo:other-secret")

        assert 'password authentication failed for user "wvo"' in one_line(workspace)


def refuses(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return True
    return False


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ("postgresql://wvo:secret@127.0.0.1:http/there", "port"),
        ("postgresql://wvo:secret@[127.0.0.1/there", "WVO_DATABASE_URL"),
        ("postgresql://wvo:secret@127.0.0.1/there?colour=red", "WVO_DATABASE_URL"),
    ],
)
def test_a_url_that_cannot_be_understood(workspace: Workspace, wrong: str, what: str) -> None:
    workspace.url = wrong

    assert what in one_line(workspace)


def test_more_connections_than_the_server_has(workspace: Workspace, postgres: Cluster) -> None:
    assert workspace.url is not None
    made(workspace)
    postgres.sql(f"ALTER DATABASE {name_of(workspace.url)} CONNECTION LIMIT 0")

    assert "too many connections" in one_line(workspace)

    # Those of the servers that have ended are noticed in a moment.
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
    eventually(lambda: postgres.sql(count, name_of(workspace.url or "")) == [(0,)])
    postgres.sql(f"ALTER DATABASE {name_of(workspace.url)} CONNECTION LIMIT 3")
    assert workspace.server("few").call("claim_task")["task"]["id"] == "A"


def test_a_database_that_must_not_be_written(workspace: Workspace, postgres: Cluster) -> None:
    assert workspace.url is not None
    made(workspace)
    client = workspace.server("ann")
    postgres.sql(f"ALTER DATABASE {name_of(workspace.url)} SET default_transaction_read_only = on")
    cut_off(postgres, workspace)

    with pytest.raises(Refused, match="read-only") as refused:
        client.call("claim_task")

    assert (refused.value.code, refused.value.retryable) == ("store_unavailable", True)
    assert "standby" in refused.value.hint
    assert client.call("plan_next")["ready"] == 1
    postgres.sql(f"ALTER DATABASE {name_of(workspace.url)} RESET default_transaction_read_only")
    cut_off(postgres, workspace)
    assert client.call("claim_task")["task"]["id"] == "A"


def cut_off(postgres: Cluster, workspace: Workspace) -> None:
    """End all connections, as a restart would."""
    assert workspace.url is not None
    postgres.sql(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s", name_of(workspace.url)
    )


def foreign(execute: Callable[..., object]) -> None:
    execute("CREATE TABLE tasks (id INT, chore TEXT)")
    execute("INSERT INTO tasks VALUES (1, 'wash up')")


def test_tables_of_another_program_are_left_alone_and_a_schema_of_our_own_is_advised(workspace: Workspace) -> None:
    with written(workspace.source) as execute:
        foreign(execute)

        assert "search_path" in one_line(workspace)

        assert execute("SELECT * FROM tasks").fetchall() == [(1, "wash up")]
        assert execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchall() == [(1,)]
        execute("CREATE SCHEMA ours")
        workspace.url = f"{workspace.url}?options=-csearch_path%3Dours"
        made(workspace)
        assert execute("SELECT id FROM ours.tasks").fetchall() == [("A",)]
        assert execute("SELECT * FROM tasks").fetchall() == [(1, "wash up")]


def test_a_database_of_a_newer_program(workspace: Workspace) -> None:
    made(workspace)
    client = workspace.server("old")
    client.call("claim_task")
    with written(workspace.source) as execute:
        execute("UPDATE store SET schema = 99")

    assert "schema 99" in one_line(workspace)

    for tool, asked in {"plan_next": {}, "claim_task": {}, "complete_task": {"task_id": "A", "summary": "x"}}.items():
        with pytest.raises(Refused, match="incompatible_store") as refused:
            client.call(tool, asked)
        assert not refused.value.retryable
        assert "Restart" in refused.value.hint


@contextmanager
def without(execute: Callable[..., object], table: str) -> Generator[None]:
    execute(f"ALTER TABLE {table} RENAME TO elsewhere")
    yield
    execute(f"ALTER TABLE elsewhere RENAME TO {table}")


def test_a_database_that_has_lost_a_table(workspace: Workspace) -> None:
    made(workspace)
    client = workspace.server("ann")
    with written(workspace.source) as execute, without(execute, "context_entries"):
        with pytest.raises(Refused, match="incompatible_store") as refused:
            client.call("context_write", {"topic": "t", "content": "c"})
        assert "context_entries" in str(refused.value)
        assert "backup" in refused.value.hint
    assert client.call("claim_task")["task"]["id"] == "A"
