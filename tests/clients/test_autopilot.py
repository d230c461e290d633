"""The autopilot drives the real programs through a roadmap, each task in a worktree of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.clients.autopilots import VENDORS, Project
from tests.clients.programs import why_missing
from tests.support.scale import FULL

pytestmark = [pytest.mark.clients, pytest.mark.requirement("WORK-1", "WORK-3", "WORK-8", "MERGE-1")]

FEW: Mapping[str, tuple[str, Sequence[str]]] = {
    "A": ("claude", []),
    "B": ("codex", []),
    "C": ("gemini", []),
    "D": ("claude", ["A", "B", "C"]),
}
MANY: Mapping[str, tuple[str, Sequence[str]]] = {
    **{f"{vendor[:2]}1": (vendor, []) for vendor in VENDORS},
    **{f"{vendor[:2]}2": (vendor, ["cl1", "co1"]) for vendor in VENDORS},
    **{f"{vendor[:2]}3": (vendor, ["cl2", "ge2"]) for vendor in VENDORS},
    **{f"{vendor[:2]}4": (vendor, ["co3"]) for vendor in VENDORS},
}
"""Twelve tasks in four layers."""


@pytest.fixture(autouse=True)
def _programs() -> None:
    for vendor in VENDORS:
        if reason := why_missing(vendor):
            pytest.fail(reason)


def test_agents_of_three_vendors_finish_a_roadmap_that_is_left_to_them(tmp_path: Path) -> None:
    tasks: Mapping[str, tuple[str, Sequence[str]]] = MANY if FULL else FEW
    with Project(tmp_path, tasks) as project:
        before = project.belongings()
        summary, done = project.autopilot("--no-wait", "--strict")

        assert sorted(one["task_id"] for one in summary["done"]) == sorted(tasks), done.report()
        assert (summary["failed"], summary["waiting"]) == ([], [])
        told = "SELECT id, status, attempts, expiries FROM tasks ORDER BY id"
        assert project.rows(told) == [(task, "done", 0, 0) for task in sorted(tasks)]
        launches = "SELECT task_id, provider, state, outcome FROM workers ORDER BY task_id"
        assert project.rows(launches) == [
            (task, vendor, "ended", "completed") for task, (vendor, _) in sorted(tasks.items())
        ]
        checkpoints = "SELECT task_id, summary FROM checkpoints ORDER BY task_id"
        assert project.rows(checkpoints) == [(task, f"{task} is begun") for task in sorted(tasks)]
        assert all(used > 0 for (used,) in project.rows("SELECT tokens_in FROM workers"))
        for task, (_, needed) in tasks.items():
            files = project.git("ls-tree", "-r", "--name-only", f"refs/wvo/submit/{task}/1").split()
            assert {f"{one}.txt" for one in (task, *needed)} <= set(files)
            assert "notes.txt" not in files
        assert project.belongings() == before
        assert project.git("status", "--short") == "?? notes.txt\n"
        assert project.git("worktree", "list").count("\n") == 1, "what is submitted needs no worktree"
        assert project.processes() == []
