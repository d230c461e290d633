"""Autopilots that start at once, one beside agents that claim by hand, and one that dies as its worker completes."""

import json
import random
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.races.scripted_autopilot import GO, LEDGER, made, started
from tests.support.databases import looked_at
from tests.support.flights import Flight
from tests.support.history import Limits
from tests.support.invariants import verify
from tests.support.scale import sized
from tests.support.waiting import eventually
from tests.support.workspace import Workspace

SECONDS = 120.0
WIP = 3


@pytest.fixture
def url(store_kind: str, request: pytest.FixtureRequest) -> str | None:
    """Of the database to work on; without one it is a file."""
    return request.getfixturevalue("store_url") if store_kind == "postgres" else None


def plan(workspace: Workspace, tasks: Sequence[str]) -> None:
    planner = workspace.server("planner")
    listed = [{"id": one, "title": f"Do {one}", "type": "generation"} for one in tasks]
    planner.call("create_tasks", {"tasks": listed})
    planner.end()


def finish(process: "subprocess.Popen[str]") -> int:
    try:
        return process.wait(SECONDS)
    finally:
        process.kill()
        process.wait()


def said(flight: Flight, name: str) -> str:
    return (flight.folder / f"{name}.log").read_text()


def check_done_once(workspace: Workspace, tasks: Sequence[str], limits: Limits) -> None:
    history = verify(workspace.source, limits)
    assert history.completions == dict.fromkeys(tasks, 1)
    with looked_at(workspace.source) as database:
        ended = database.rows("SELECT status, attempts, expiries FROM tasks GROUP BY 1, 2, 3")
        assert ended == [{"status": "done", "attempts": 0, "expiries": 0}]
        assert database.column("SELECT DISTINCT state FROM workers") == ["ended"]


def over(pilots: Mapping[str, "subprocess.Popen[str]"]) -> list[str]:
    return [name for name, one in pilots.items() if one.poll() is not None]


@pytest.mark.full_on_postgres
@pytest.mark.requirement("WORK-1", "CLAIM-1")
def test_of_autopilots_that_start_together_one_works_and_the_others_name_it(tmp_path: Path, url: str | None) -> None:
    for place in range(sized(full=8, short=1) if url is None else 1):
        folder = tmp_path / str(place)
        folder.mkdir()
        flight, workspace = made(folder, url, WVO_AUTOPILOT_WIP_LIMIT=str(WIP))
        tasks = [f"held-{place}{number}" for number in range(3)]
        plan(workspace, tasks)

        pilots = {name: started(flight, name) for name in ("first", "second", "third")[: sized(full=3, short=2)]}
        eventually(lambda these=pilots: len(over(these)) >= len(these) - 1)
        losers = over(pilots)
        (folder / GO).touch()
        (winner,) = pilots.keys() - set(losers)
        assert finish(pilots[winner]) == 0

        for name in losers:
            assert pilots[name].returncode == 1
            assert f"Another autopilot runs on this host (process {pilots[winner].pid})" in said(flight, name)
        check_done_once(workspace, tasks, Limits(store=WIP, agent=1))
        with looked_at(workspace.source) as database:
            assert database.value("SELECT count(*) FROM workers") == len(tasks)
            assert database.value("SELECT count(DISTINCT run_id) FROM workers") == 1
        workspace.close()


def launched(workspace: Workspace) -> int:
    with looked_at(workspace.source) as database:
        return database.value("SELECT count(*) FROM workers")


class ByHand(threading.Thread):
    """An attached agent that works until nothing is left."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.done: list[str] = []
        self._server = workspace.server(name)

    def run(self) -> None:
        chance, empty = random.Random(self.name), 0
        while empty < 20:
            claim = self._server.call("claim_task")
            if claim["task"] is None:
                empty += claim["reason"] == "no_ready_tasks"
                threading.Event().wait(0.05)
                continue
            threading.Event().wait(chance.uniform(0, 0.2))
            task_id = claim["task"]["id"]
            self._server.call("complete_task", {"task_id": task_id, "summary": f"{task_id} by {self.name}"})
            self.done.append(task_id)
        self._server.end()


@pytest.mark.full_on_postgres
@pytest.mark.requirement("WORK-1", "CLAIM-1", "SCHED-2")
def test_an_autopilot_and_agents_that_claim_by_hand_share_tasks_and_the_wip_limit(
    tmp_path: Path, url: str | None
) -> None:
    flight, workspace = made(tmp_path, url, WVO_AUTOPILOT_WIP_LIMIT=str(WIP))
    tasks = ["held-100", "held-101", *(f"plain-{number}" for number in range(sized(full=60, short=7)))]
    people = [ByHand(workspace, f"hand-{number}") for number in range(2)]
    plan(workspace, tasks)
    pilot = started(flight, "autopilot", "--agents", "2")
    eventually(lambda: launched(workspace) == 2)  # those that are held: nobody ends them yet

    for one in people:
        one.start()
    eventually(lambda: any(one.done for one in people))
    (tmp_path / GO).touch()
    for one in people:
        one.join(SECONDS)
    assert finish(pilot) == 0

    check_done_once(workspace, tasks, Limits(store=WIP, agent=1))
    by_hand = [task_id for one in people for task_id in one.done]
    with looked_at(workspace.source) as database:
        worked = database.column("SELECT task_id FROM workers WHERE outcome = 'completed'")
    assert sorted([*by_hand, *worked]) == sorted(tasks)
    assert {"held-100", "held-101"} <= set(worked)
    workspace.close()


@pytest.mark.full_on_postgres
@pytest.mark.requirement("WORK-5", "CLAIM-1")
def test_an_autopilot_that_dies_as_its_worker_completes_has_the_task_done_once(tmp_path: Path, url: str | None) -> None:
    flight, workspace = made(tmp_path, url)
    chance, tasks = random.Random(7), list[str]()
    for place in range(sized(full=12, short=1)):
        task_id = f"plain-{place}"
        tasks.append(task_id)
        plan(workspace, [task_id])
        pilot = started(flight, "autopilot")
        # The second line of a session's ledger is the last act before it completes.
        eventually(lambda name=task_id: _spent(flight, name) >= 2, seconds=SECONDS, every=0.002)
        threading.Event().wait(chance.uniform(0, 0.25))
        pilot.kill()
        pilot.wait()
        assert finish(started(flight, "autopilot")) == 0

        check_done_once(workspace, tasks, Limits(store=WIP, agent=1))
        with looked_at(workspace.source) as database:
            entries = database.column("SELECT commit_sha FROM merge_entries WHERE task_id = ?", task_id)
        assert len(entries) == 1
        assert f"{task_id}.txt" in flight.git("ls-tree", "--name-only", entries[0])
        assert list((flight.root / "state/workers/tasks").iterdir()) == []
        assert flight.git("worktree", "list").count("\n") == 0
    workspace.close()


def _spent(flight: Flight, task_id: str) -> int:
    try:
        lines = (flight.folder / LEDGER).read_text().splitlines()
    except FileNotFoundError:
        return 0
    return sum(json.loads(line)["task_id"] == task_id for line in lines)
