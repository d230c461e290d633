"""A command that only reads leaves the store and every file as they were."""

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faces.cli.shell import Shell
from tests.support.databases import written
from wvo_mcp.operations import ALL, Effect

NEEDED = {
    "get_task": {"task_id": "T1"},
    "worker_log": {"worker_id": "w-1"},
    "approval_status": {"task_id": "T1"},
    "approval_show": {"approval_id": "A-9"},
    "review_status": {"task_id": "T1"},
    "command_check": {"command": "ls"},
    "workspace_checkpoints": {"task_id": "T1"},
    "workspace_diff": {"task_id": "T1"},
    "plan_show": {"id": "O-1"},
    "why": {"task_id": "T1"},
    "messages": {"task_id": "T1"},
    "submissions": {"task_id": "T1"},
    "worker_show": {"worker_id": "w-1"},
    "review_file": {"review_id": "R-1"},
    "merge_show": {"entry_id": "m-1"},
    "pattern_search": {"text": "ImportError: no module named x"},
}
"""Arguments, where a read cannot do without."""
REFUSED = {"workspace_diff", "plan_show", "approval_show", "review_file", "merge_show"}
"""Here is neither a worktree of the task nor a plan, nor this approval, nor a review, nor an entry of the merge queue."""


def state_of(root: Path) -> tuple[dict[str, str], list[str]]:
    """The digest of every file but the store's own, and all that the store holds."""
    files = {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.parts and not path.name.startswith("state.db")
    }
    with closing(sqlite3.connect(root / "state" / "state.db")) as database:
        return files, list(database.iterdump())


@pytest.mark.requirement("CORE-6")
def test_what_is_declared_a_read_writes_neither_the_store_nor_a_file(shell: Shell) -> None:
    assert shell("init", "--yes").code == 0
    assert shell("add", "Do it", "--id", "T1").code == 0
    log = shell.root / "state" / "workers" / "w-1.jsonl"
    log.parent.mkdir()
    log.write_text('{"a": 1}\n')
    with written(shell.root / "state" / "state.db") as execute:
        execute(
            "INSERT INTO workers (worker_id, seq, task_id, lease_token, agent_id, run_id, provider, tier, model, host, state,"
            " since, started_at, log) VALUES ('w-1', 1, 'T1', 1, 'a', 'r', 'claude', 'high', 'm', 'h', 'working',"
            f" '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', '{log}')"
        )
    before = state_of(shell.root)

    for name, op in ALL.items():
        if op.effect is Effect.READ:
            asked = json.dumps(NEEDED.get(name, {}))
            ran = shell(name.replace("_", "-"), "--json", "--input", asked)
            assert (ran.code != 0) == (name in REFUSED), (name, ran)
            assert state_of(shell.root) == before, name


@pytest.mark.requirement("SCHED-1")
def test_writing_commands_refresh_marked_scores_and_reading_ones_do_not(shell: Shell) -> None:
    shell("create-tasks", "--tasks", '[{"id": "T1", "title": "one"}]')
    with written(shell.root / "state" / "state.db") as execute:
        execute("UPDATE tasks SET unlock_stale = 1, score = 0")

    shell("plan-next")
    assert shell("get-task", "T1").json["task"].get("score", 0) == 0
    shell("context-write", "--topic", "t", "--content", "c")
    assert shell("get-task", "T1").json["task"]["score"] > 0
