"""Which folder is the workspace? Decided by real git, seen from real servers."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.support import forked
from tests.support.invariants import looked_at
from tests.support.workspace import REPOSITORY, Workspace, some_tasks


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org", "-c", "protocol.file.allow=always")
    subprocess.run(("git", *who, *arguments), cwd=folder, check=True, capture_output=True, timeout=120)


def repository(folder: Path) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "--initial-branch=main")
    git(folder, "commit", "--allow-empty", "-m", "begin")
    return folder


def add_task(cwd: Path, home: Path, **environ: str) -> None:
    """`wvo-mcp add`, started in a folder."""
    plain = {"PATH": "/usr/bin:/bin", "HOME": str(home), "PYTHONPATH": str(REPOSITORY), **environ}
    told = forked.run(["wvo_mcp", "add", "A thing", "--json"], cwd=cwd, env=plain)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["task"]["title"] == "A thing"


def stores(folder: Path) -> list[str]:
    """Where databases are below a folder."""
    return sorted(str(found.parent.relative_to(folder)) for found in folder.rglob("state.db"))


@pytest.mark.requirement("CORE-14", "CORE-1")
def test_servers_in_two_worktrees_of_a_repository_work_on_one_store(tmp_path: Path) -> None:
    main = repository(tmp_path / "project")
    git(main, "worktree", "add", str(tmp_path / "feature"), "-b", "feature")
    (main / "deep" / "down").mkdir(parents=True)
    workspace = Workspace(tmp_path / "unused", tmp_path / "logs", ROOT="")
    try:
        here = workspace.server("here", cwd=main / "deep" / "down")
        there = workspace.server("there", cwd=tmp_path / "feature")
        called = workspace.server("called", cwd=tmp_path, CLAUDE_PROJECT_DIR=str(tmp_path / "feature"))

        here.call("create_tasks", some_tasks("A", "B", "C"))
        claims = [client.call("claim_task")["task"]["id"] for client in (here, there, called)]

        assert claims == ["A", "B", "C"]
        assert stores(tmp_path) == ["project/state"]
    finally:
        workspace.close()


@pytest.mark.requirement("CORE-14", "CORE-1")
def test_a_submodule_is_a_repository_of_its_own(tmp_path: Path) -> None:
    part = repository(tmp_path / "part")
    whole = repository(tmp_path / "whole")
    git(whole, "submodule", "add", str(part), "sub")

    add_task(whole / "sub", tmp_path)
    add_task(whole, tmp_path)

    assert stores(tmp_path) == ["whole/state", "whole/sub/state"]


@pytest.mark.requirement("CORE-14", "CORE-1")
def test_worktrees_of_a_bare_repository_meet_in_the_folder_of_the_repository(tmp_path: Path) -> None:
    origin = repository(tmp_path / "origin")
    git(tmp_path, "clone", "--bare", str(origin), "bare.git")
    for name in ("one", "two"):
        git(tmp_path / "bare.git", "worktree", "add", str(tmp_path / name), "-b", name)
        add_task(tmp_path / name, tmp_path)

    assert stores(tmp_path) == ["bare.git/state"]
    with looked_at(tmp_path / "bare.git" / "state" / "state.db") as database:
        assert database.value("SELECT count(*) FROM tasks") == 2


@pytest.mark.requirement("CORE-1")
def test_root_counts_more_than_the_project_folder_and_that_more_than_the_current_one(tmp_path: Path) -> None:
    for name in ("root", "project", "current"):
        repository(tmp_path / name)

    add_task(tmp_path / "current", tmp_path, ROOT=str(tmp_path / "root"), CLAUDE_PROJECT_DIR=str(tmp_path / "project"))
    assert stores(tmp_path) == ["root/state"]
    add_task(tmp_path / "current", tmp_path, CLAUDE_PROJECT_DIR=str(tmp_path / "project"))
    assert stores(tmp_path) == ["project/state", "root/state"]
    add_task(tmp_path / "current", tmp_path)
    assert stores(tmp_path) == ["current/state", "project/state", "root/state"]


@pytest.mark.requirement("CORE-1")
def test_without_git_the_project_is_the_nearest_folder_with_a_store_or_this_one(tmp_path: Path) -> None:
    below = tmp_path / "project" / "src" / "deep"
    below.mkdir(parents=True)
    add_task(tmp_path / "project", tmp_path)

    add_task(below, tmp_path)
    assert stores(tmp_path) == ["project/state"]

    (tmp_path / "elsewhere").mkdir()
    add_task(tmp_path / "elsewhere", tmp_path, WVO_STATE_DIR="kept/here")
    assert stores(tmp_path) == ["elsewhere/kept/here", "project/state"]
