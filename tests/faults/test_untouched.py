"""Where there is neither a roadmap nor a store, a server writes nothing until a client does."""

from pathlib import Path

import pytest

from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks

pytestmark = pytest.mark.sqlite


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.requirement("CORE-12")
def test_a_server_that_only_answers_leaves_the_folder_as_it_was(workspace: Workspace) -> None:
    server = workspace.server("ann", OTEL_ENABLED="1", WVO_TOOLSETS="all")
    server.call("plan_next")
    server.call("list_tasks")
    server.call("health_check")
    server.call("backup_list")
    server.call("create_tasks", {**some_tasks("A"), "dry_run": True})
    assert server.answer("get_task", {"task_id": "A"})["isError"]
    assert server.answer("update_task", {"task_id": "A", "title": "B"})["isError"]
    assert server.call("claim_task")["reason"] == "no_ready_tasks"
    assert server.end() == 0

    assert below(workspace.root) == set()


@pytest.mark.requirement("CORE-12")
def test_the_first_write_makes_the_store_for_all_servers_that_wait(workspace: Workspace) -> None:
    ann, bob = workspace.server("ann"), workspace.server("bob")
    assert bob.call("list_tasks")["tasks"] == []

    ann.call("create_tasks", some_tasks("A", "B"))

    assert [task["id"] for task in bob.call("list_tasks")["tasks"]] == ["A", "B"]
    assert ann.call("claim_task")["task"]["id"] == "A"
    assert bob.call("claim_task")["task"]["id"] == "B"
    assert len(list((workspace.root / "state" / "sessions").glob("*.lock"))) == 2


@pytest.mark.requirement("CORE-12")
def test_a_roadmap_that_comes_later_is_taken_over(workspace: Workspace) -> None:
    server = workspace.server("ann")
    (workspace.root / "state").mkdir()
    (workspace.root / "state" / "roadmap.yaml").write_text(
        "epics:\n  - id: E\n    title: Later\n    tasks:\n      - {id: T, title: Do it}\n"
    )

    assert eventually(lambda: server.call("list_tasks")["tasks"])[0]["id"] == "T"
