"""Servers of one store that make worktrees in one repository at the same time."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.stdio_client import StdioClient
from tests.support.workspace import Workspace, some_tasks
from tests.support.yard import git

pytestmark = [pytest.mark.requirement("WS-1"), pytest.mark.sqlite]


def test_servers_that_open_workspaces_at_once_each_get_their_own(workspace: Workspace) -> None:
    git(workspace.root, "init", "-q", "-b", "main")
    (workspace.root / ".gitignore").write_text("state/\n")
    git(workspace.root, "add", ".gitignore")
    git(workspace.root, "-c", "user.name=P", "-c", "user.email=p@example.org", "commit", "-q", "-m", "begin")
    workspace.settings |= {"WVO_TOOLSETS": "core,workspaces", "WVO_AUTOPILOT_WIP_LIMIT": "9"}
    servers = [workspace.server(f"agent-{number}") for number in range(2)]
    tasks = [f"W{number}" for number in range(2)]
    servers[0].call("create_tasks", some_tasks(*tasks))
    for one, task_id in zip(servers, tasks, strict=True):
        one.call("claim_task", {"task_id": task_id})

    def opened(one: StdioClient, task_id: str) -> Path:
        return Path(one.call("workspace_open", {"task_id": task_id})["path"])

    with ThreadPoolExecutor(2) as threads:
        paths = list(threads.map(opened, servers, tasks))

    assert [path.name for path in paths] == tasks
    for one, path, task_id in zip(servers, paths, tasks, strict=True):
        assert git(path, "symbolic-ref", "--short", "HEAD") == f"wvo/{task_id}"
        (path / f"{task_id}.py").write_text("b = 2\n")
        done = one.call("complete_task", {"task_id": task_id, "summary": "done"})
        assert (done["task"]["status"], done["submission"]["state"]) == ("in_review", "queued")
        assert git(workspace.root, "show", f"{done['submission']['commit']}:{task_id}.py") == "b = 2"


@pytest.mark.full
def test_commands_that_open_one_workspace_at_once_all_get_it(workspace: Workspace) -> None:
    git(workspace.root, "init", "-q", "-b", "main")
    (workspace.root / ".gitignore").write_text("state/\n")
    git(workspace.root, "add", ".gitignore")
    git(workspace.root, "-c", "user.name=P", "-c", "user.email=p@example.org", "commit", "-q", "-m", "begin")

    def ran(*command: str) -> dict[str, Any]:
        argv = [sys.executable, "-m", "wvo_mcp", *command]
        environ = workspace.environ()
        done = subprocess.run(argv, env=environ, cwd=workspace.root, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    ran("add", "Work", "--id", "W1")
    ran("claim-task", "W1")
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(ran, ["workspace-open"] * 4, ["W1"] * 4))

    assert len({one["workspace_id"] for one in found}) == 1
    assert [one.get("reused", False) for one in found].count(False) == 1
    assert git(workspace.root, "worktree", "list").count("\n") == 1
