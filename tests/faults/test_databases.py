"""Databases that this program must not touch: newer ones, foreign ones, damaged ones."""

import hashlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.databases import sqlite
from tests.support.stdio_client import Refused
from tests.support.workspace import Workspace, some_tasks

pytestmark = pytest.mark.sqlite


def change(database: Path, *statements: str) -> None:
    with closing(sqlite.connect(str(database), timeout=30, isolation_level=None)) as opened:
        for statement in statements:
            opened.execute(statement)


def newer(database: Path) -> None:
    change(database, "PRAGMA user_version = 99", "UPDATE store SET schema = 99")


def of_another_program(database: Path) -> None:
    database.unlink()
    change(database, "CREATE TABLE recipes (name TEXT)")


def no_database(database: Path) -> None:
    database.write_text("Dear diary, today I was mistaken for a database.\n" * 100)


def damaged(database: Path) -> None:
    change(database, "PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(database.read_bytes())
    content[4096 : len(content) // 2] = b"\xa5" * (len(content) // 2 - 4096)
    database.write_bytes(content)


@pytest.mark.requirement("DR-4", "CORE-7")
@pytest.mark.parametrize(
    ("spoil", "advice"),
    [
        (newer, "schema 99"),
        (of_another_program, "another program"),
        (no_database, "not a SQLite database"),
        (damaged, "wvo-mcp doctor"),
    ],
    ids=["newer", "another program's", "no database", "damaged"],
)
def test_a_foreign_database_ends_the_start_with_one_line_and_is_not_changed(
    workspace: Workspace, spoil: Callable[[Path], None], advice: str
) -> None:
    first = workspace.server("first")
    first.call("create_tasks", some_tasks("A", "B"))
    assert first.end() == 0
    spoil(workspace.database)
    before = hashlib.sha256(workspace.database.read_bytes()).hexdigest()

    refused = workspace.spawn("second")

    assert refused.wait(120) != 0
    lines = refused.log.read_text().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("wvo-mcp: ")
    assert advice in lines[0]
    assert "Traceback" not in lines[0]
    assert hashlib.sha256(workspace.database.read_bytes()).hexdigest() == before


@pytest.mark.requirement("DR-4")
def test_a_running_server_refuses_a_store_that_a_newer_program_has_moved_on(workspace: Workspace) -> None:
    client = workspace.server("old")
    client.call("create_tasks", some_tasks("A"))
    client.call("claim_task")

    newer(workspace.database)

    for tool, asked in {
        "plan_next": {},
        "claim_task": {},
        "complete_task": {"task_id": "A", "summary": "done"},
    }.items():
        with pytest.raises(Refused, match="incompatible_store") as refused:
            client.call(tool, asked)
        assert not refused.value.retryable
        assert "Restart" in refused.value.hint
    assert client.end() == 0
    with closing(sqlite.connect(str(workspace.database))) as opened:
        assert opened.execute("SELECT status FROM tasks").fetchall() == [("in_progress",)]
