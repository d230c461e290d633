"""The autopilot's whole life: real processes, worktrees and store; agents that follow a script."""

import os
from pathlib import Path

import pytest

from tests.support.flights import Flight, does

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite]


@pytest.fixture
def flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Flight:
    """In its own environment; `begin` is the test's."""
    made = Flight(tmp_path)
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.mark.requirement("WORK-1")
async def test_tasks_are_done_in_worktrees_and_pinned(flight: Flight) -> None:
    flight.begin({"A": [], "B": ["A"]}, {"A": [does("A")], "B": [does("B")]})

    summary = await flight.fly()

    assert flight.statuses() == {"A": "done", "B": "done"}
    assert flight.pinned() == {"A": {".gitignore", "A.txt"}, "B": {".gitignore", "A.txt", "B.txt"}}
    assert {one["task_id"] for one in summary["done"] if one["commit"]} == {"A", "B"}
    rows = flight.sql("SELECT state, outcome, tokens_in, tokens_out FROM workers")
    assert rows == [{"state": "ended", "outcome": "completed", "tokens_in": 100, "tokens_out": 10}] * 2
    assert flight.git("status", "--porcelain") == ""
    assert flight.git("worktree", "list").count("\n") == 0
