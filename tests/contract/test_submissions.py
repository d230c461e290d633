"""What a worker's connection submits (contract, sections 10 and 11), over stdio."""

import json
import sqlite3
from typing import Any, cast

import anyio
import pytest

from tests.support.fixed_rules import FixedRules
from tests.support.stdio_client import StdioClient
from tests.support.stores import a_store
from tests.support.workspace import Workspace
from tests.support.yard import JOURNAL, git
from wvo_mcp.execution.workspaces.places import Worktrees
from wvo_mcp.ports.places import Place, PlaceAsk

pytestmark = [pytest.mark.requirement("MERGE-1"), pytest.mark.sqlite]
KEY = "5e" * 32


async def opened(place: Workspace, task_id: str, token: int) -> Place:
    """As the autopilot does: a worker on record, and its place."""
    store = a_store(place.root / "state", place.url)
    await store.open()
    worker = {"task_id": task_id, "lease_token": token, "agent_id": "ann", "run_id": "r", "host": "here"}
    model = {"provider": "claude", "tier": "high", "model": "opus"}
    await store.write(JOURNAL, lambda tx: tx.workers.add({**worker, **model}, KEY))
    state = place.root / "state"
    places = Worktrees(
        root=place.root,
        folder=state / "worktrees",
        logs=state / "workers",
        store=cast("Any", store),
        caller=JOURNAL,
        rules=FixedRules(),
    )
    made = await places.open(PlaceAsk(task_id=task_id, lease_token=token, slot=0))
    await store.close()
    return made


def test_the_work_of_a_worker_is_pinned_when_its_task_is_done(place: Workspace, server: StdioClient) -> None:
    git(place.root, "init", "-q", "-b", "main")
    (place.root / ".gitignore").write_text("state/\n")
    git(place.root, "add", ".gitignore")
    git(place.root, "-c", "user.name=P", "-c", "user.email=p@example.org", "commit", "-q", "-m", "begin")
    server.call("create_tasks", {"tasks": [{"id": "W1", "title": "Work", "files": ["src/**"], "type": "generation"}]})
    token = server.call("claim_task", {"task_id": "W1"})["lease"]["token"]
    made = anyio.run(opened, place, "W1", token)
    worker = place.server("bob", WVO_WORKER_KEY=KEY)
    asked = worker.answer("complete_task", {"task_id": "W1", "summary": "done", "lease_token": token})
    assert "conflict: Nothing in the workspace of W1 differs" in asked["content"][0]["text"]
    (made.path / "new.py").write_text("b = 2\n")

    done = worker.call("complete_task", {"task_id": "W1", "summary": "done", "lease_token": token})

    commit = git(place.root, "rev-parse", "refs/wvo/submit/W1/1")
    assert done["submission"] == {"entry_id": "m-1", "state": "queued", "commit": commit}
    assert git(place.root, "show", f"{commit}:new.py") == "b = 2"
    shown = server.call("get_task", {"task_id": "W1"})["submission"]
    assert (shown["commit"], shown["target"], shown["drift"]) == (commit, "main", ["new.py"])
    with sqlite3.connect(f"file:{place.database}?mode=ro", uri=True) as database:
        query = "SELECT task_id, target, commit_sha, base_sha, state, drift FROM merge_entries"
        (row,) = database.execute(query).fetchall()
    database.close()
    assert row[:5] == ("W1", "main", commit, git(place.root, "rev-parse", "main"), "queued")
    assert json.loads(row[5]) == ["new.py"]


def test_without_a_workspace_an_attached_agent_submits_nothing(server: StdioClient) -> None:
    server.call("create_tasks", {"tasks": [{"id": "W2", "title": "Work"}]})
    server.call("claim_task", {"task_id": "W2"})

    done = server.call("complete_task", {"task_id": "W2", "summary": "done"})

    assert done["submission"] is None
    assert "no_changes" not in done
    assert "submission" not in server.call("get_task", {"task_id": "W2"})
