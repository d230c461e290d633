"""Moving a store by command: real processes, killed ones as well."""

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.faces.cli.shell import Shell
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, workspace
from wvo_mcp.store.postgres.presence import connected
from wvo_mcp.store.sqlite.connection import sqlite

__all__ = ["workspace"]

pytestmark = pytest.mark.requirement("SCALE-1")

MANY = 30_000


@pytest.fixture
def origin(shell: Shell) -> Path:
    """A store with a task, and with so many rows that a copy takes a while."""
    assert shell("add", "The only task", "--json").code == 0
    path = shell.root / "state" / "state.db"
    raw = sqlite.connect(str(path), isolation_level=None)
    for into in (
        "checkpoints (id, task_id, seq, summary, created_at) SELECT 'c' || n, 'x', n, 'text', '2027'",
        "context_entries (topic, version, content, created_at) SELECT 't' || n, 1, 'text', '2027'",
        "roadmap_entries (task_id, entry) SELECT 'r' || n, '{}'",
    ):
        numbers = f"WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {MANY})"
        raw.execute(f"{numbers} INSERT INTO {into} FROM numbers")
    raw.close()
    return path


HALTED = """
import sys
from wvo_mcp.faces.cli import store_copy
from wvo_mcp.__main__ import main
progress = store_copy._progress
def halting():
    told = progress()
    def tell(step):
        told(step)
        if (step.doing, step.table) == ("copying", "context_entries") and step.done == step.total:
            sys.stdin.read()
    return tell
store_copy._progress = halting
main()
"""
"""The command, but that it stops in the middle, to be killed there."""


def test_a_killed_copy_leaves_the_target_as_it_was_and_starts_over(
    shell: Shell, origin: Path, database_url: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HALTED, "store", "copy", str(origin), database_url],
        cwd=shell.root,
        env=shell.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("copying context_entries"):
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGKILL)
    with psycopg.connect(database_url) as raw:
        assert raw.execute("SELECT 1 FROM pg_tables WHERE schemaname = current_schema()").fetchone() is None

    done = shell.process("store", "copy", str(origin), database_url).json

    assert done["rows"] == sum(table["rows"] for table in done["tables"])
    assert done["rows_per_second"] > 0
    kept = {table["table"]: table["rows"] for table in done["tables"]}
    assert (kept["tasks"], kept["checkpoints"], kept["roadmap_entries"]) == (1, MANY, MANY)
    assert shell.process("status", "--json", WVO_DATABASE_URL=database_url).json["counts"]["pending"] == 1
    again = shell.process("store", "copy", str(origin), database_url)
    assert again.error["code"] == "conflict"
    assert "has a store already" in again.error["message"]


def test_progress_is_shown_and_the_password_is_not(shell: Shell, origin: Path, database_url: str) -> None:
    done = shell("store", "copy", str(origin), database_url)

    assert done.code == 0, done.err
    assert f"copying checkpoints: {MANY:,} of {MANY:,} rows" in done.err
    assert "secret" not in done.out + done.err
    assert done.json["to"].startswith("127.0.0.1:")


def test_a_source_with_a_running_server_is_refused_unless_told(workspace: Workspace, shell: Shell) -> None:
    server = workspace.server("ann")
    server.call("create_tasks", {"tasks": [{"id": "T", "title": "t"}]})
    origin = str(workspace.source)

    refused = shell("store", "copy", origin, "copy.db")

    assert refused.error["code"] == "conflict"
    assert "1 servers work on" in refused.error["message"]
    assert refused.error["details"]["living"] == ["ann"]
    assert shell("store", "copy", origin, "copy.db", "--while-live").code == 0
    assert server.end() == 0
    if workspace.url is not None:
        eventually(lambda: not connected(workspace.url or ""))  # the database sees a moment later that it has gone
    assert shell("store", "copy", origin, "another.db").json["rows"] > 0


@pytest.mark.parametrize(
    ("origin_at", "target_at", "code", "said"),
    [
        ("none.db", "new.db", "invalid_input", "there is no file"),
        ("mysql://x/y", "new.db", "invalid_input", "FROM: a path, or postgresql://"),
        ("STORE", "mysql://x/y", "invalid_input", "TO: a path, or postgresql://"),
        ("STORE", "postgresql://u:hush@127.0.0.1:1/none", "store_unavailable", "127.0.0.1:1/none cannot be reached"),
        ("STORE", "postgresql://u:hush@[::1/none", "invalid_input", "TO: no URL of a database"),
        ("STORE", "STORE", "invalid_input", "where the copy comes from"),
        ("STORE", "state/../state/state.db", "invalid_input", "where the copy comes from"),
    ],
)
def test_wrong_places_are_named(shell: Shell, origin_at: str, target_at: str, code: str, said: str) -> None:
    assert shell("add", "A task").code == 0
    store = str(shell.root / "state" / "state.db")

    refused = shell("store", "copy", origin_at.replace("STORE", store), target_at.replace("STORE", store))

    assert refused.error["code"] == code
    assert said in refused.error["message"]
    assert "hush" not in refused.out + refused.err
    assert not (shell.root / "new.db").exists()


def test_on_a_terminal_the_tables_and_the_speed_are_shown(shell: Shell) -> None:
    assert shell("add", "A task").code == 0

    shown = shell.on_terminal("store", "copy", "state/state.db", "moved.db")

    assert "all " in shown.text and "tables are equal on both sides" in shown.text
    assert "a second)" in shown.text
