"""An export tells what became of it in the workspace's history."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task
from wvo_mcp.execution.roadmap.history import RoadmapCommits

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DR-3")]

ROADMAP = "epics:\n  - id: E\n    title: Epic\n    tasks:\n      - {id: T1, title: one}\n"


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Pat", "-c", "user.email=pat@example.org")
    return subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
async def kept(bench: Bench) -> Bench:
    """A bench whose roadmap is committed and has changed in the store since."""
    bench.roadmap.parent.mkdir(exist_ok=True)
    bench.roadmap.write_text(ROADMAP)
    root = bench.roadmap.parent.parent
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "state/roadmap.yaml")
    git(root, "commit", "-q", "-m", "begin")
    bench.services = replace(bench.services, history=RoadmapCommits(bench.roadmap))
    await bench.call("roadmap_sync")
    await bench.call("update_task", ANN, task_id="T1", title="better")
    await bench.create(a_task("N", epic_id="E"))
    return bench


async def test_an_export_is_one_commit_that_names_its_tasks(kept: Bench) -> None:
    root = kept.roadmap.parent.parent

    answer = await kept.call("roadmap_export", OWNER)

    assert answer["commit"] == git(root, "rev-parse", "HEAD").strip()
    assert answer["note"] is None
    assert git(root, "show", "HEAD:state/roadmap.yaml") == kept.roadmap.read_text()
    message = git(root, "log", "-1", "--format=%B")
    assert message.startswith("Export the roadmap: 1 task changed, 1 task added\n\nChanged: T1\n\nAdded: N\n")
    again = await kept.call("roadmap_export", OWNER)
    assert (again["written"], again["commit"]) == (False, None)


async def test_a_dry_run_commits_nothing(kept: Bench) -> None:
    answer = await kept.call("roadmap_export", OWNER, dry_run=True)

    assert (answer["written"], answer["commit"], answer["changed"]) == (False, None, ["T1"])
    assert git(kept.roadmap.parent.parent, "rev-list", "--count", "HEAD") == "1\n"


async def test_an_export_that_cannot_be_committed_is_written_all_the_same_and_says_why(kept: Bench) -> None:
    git(kept.roadmap.parent.parent, "checkout", "-q", "--detach")

    answer = await kept.call("roadmap_export", OWNER)

    assert (answer["written"], answer["commit"]) == (True, None)
    assert "no branch is checked out" in answer["note"]
    assert "title: better" in kept.roadmap.read_text()
