"""Autopilots that are killed, stopped and drained while their workers work; the next one goes on."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.flights import SECONDS, Flight, does
from tests.support.waiting import eventually

pytestmark = [pytest.mark.full_on_postgres]

TASKS = {"A": [], "B": ["A"], "C": []}
CRASHES = 60
"""More writes than one autopilot makes for these tasks."""


@pytest.fixture
def flight(tmp_path: Path, store_kind: str, request: pytest.FixtureRequest) -> Iterator[Flight]:
    """Nothing of it may live on."""
    yield (made := Flight(tmp_path, request.getfixturevalue("store_url") if store_kind == "postgres" else None))
    assert alive(made) == []


def alive(flight: Flight) -> list[str]:
    """Command lines of the processes that work below its folder."""
    found: list[str] = []
    for process in psutil.process_iter():
        try:
            if str(flight.folder) in " ".join([process.cwd(), *process.cmdline()]):
                found.append(f"{process.pid} {process.cmdline()}")
        except psutil.Error:
            continue
    return found


def gone(flight: Flight) -> bool:
    return not alive(flight)


def ended(flight: Flight, *arguments: str) -> tuple[int, dict[str, Any]]:
    """One whole autopilot: its exit code, and its summary if it came to one."""
    process = flight.launched(*arguments)
    told, _ = process.communicate(timeout=SECONDS)
    news = [json.loads(line) for line in told.splitlines()]
    summaries = [one for one in news if one["event"] == "summary"]
    return process.returncode, summaries[0] if summaries else {}


def holds(flight: Flight, *tasks: str) -> bool:
    """Do workers of these tasks wait in their programs?"""
    try:
        rows = flight.sql("SELECT task_id FROM workers WHERE client_session IS NOT NULL AND pid IS NOT NULL")
    except Exception:  # there is no store yet
        return False
    return {row["task_id"] for row in rows} >= set(tasks)


def steps(task_id: str, flight: Flight) -> list[Any]:
    """It waits until a person makes a file; the rest is done when it goes on."""
    return does(task_id, {"until": str(flight.folder / "go")})


@pytest.mark.requirement("WORK-5")
def test_a_killed_autopilot_leaves_no_process_and_its_sessions_go_on(flight: Flight) -> None:
    flight.begin(TASKS, {one: [steps(one, flight)] for one in TASKS})
    process = flight.launched()
    eventually(lambda: holds(flight, "A", "C"))

    process.kill()
    process.communicate(timeout=SECONDS)

    eventually(lambda: gone(flight))
    sessions = {row["client_session"] for row in flight.sql("SELECT client_session FROM workers")}
    (flight.folder / "go").touch()
    code, summary = ended(flight)
    assert code == 0
    assert {one["task_id"] for one in summary["done"]} == {"A", "B", "C"}
    assert flight.completions() == {"A": 1, "B": 1, "C": 1}
    after = {row["client_session"] for row in flight.sql("SELECT client_session FROM workers WHERE task_id <> 'B'")}
    assert after == sessions
    assert flight.sql("SELECT sum(attempts) AS n, sum(expiries) AS m FROM tasks") == [{"n": 0, "m": 0}]


@pytest.mark.full
def test_the_first_interrupt_finishes_what_runs_and_the_second_keeps_it_for_later(flight: Flight) -> None:
    flight.begin(TASKS, {one: [steps(one, flight)] for one in TASKS})
    process = flight.launched()
    eventually(lambda: holds(flight, "A", "C"))

    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=SECONDS)

    summary = json.loads(told.splitlines()[-1])
    assert (process.returncode, {one["task_id"] for one in summary["waiting"]}) == (0, {"A", "B", "C"})
    assert {row["state"] for row in flight.sql("SELECT state FROM workers")} == {"paused"}
    assert flight.statuses() == {"A": "pending", "B": "pending", "C": "pending"}
    eventually(lambda: gone(flight))
    (flight.folder / "go").touch()
    assert {one["task_id"] for one in ended(flight)[1]["done"]} == {"A", "B", "C"}


@pytest.mark.full
def test_a_drained_autopilot_begins_nothing_more(flight: Flight) -> None:
    flight.begin(TASKS, {one: [steps(one, flight)] for one in TASKS})
    process = flight.launched()
    eventually(lambda: holds(flight, "A", "C"))

    process.send_signal(signal.SIGINT)
    (flight.folder / "go").touch()
    process.communicate(timeout=SECONDS)

    assert process.returncode == 0
    assert flight.statuses() == {"A": "done", "B": "pending", "C": "done"}


@pytest.mark.full
@pytest.mark.sqlite
@pytest.mark.parametrize("crash_at", range(1, CRASHES, 2))
def test_whatever_write_is_its_last_each_task_is_done_once_by_the_next(flight: Flight, crash_at: int) -> None:
    flight.begin({"A": [], "B": ["A"]}, {"A": [does("A")], "B": [does("B")]}, fields={"max_attempts": 3})

    code, _ = ended(flight, str(crash_at))

    assert code in (0, -signal.SIGKILL)
    eventually(lambda: gone(flight))
    ended(flight)
    assert flight.statuses() == {"A": "done", "B": "done"}
    assert flight.completions() == {"A": 1, "B": 1}
    assert set(flight.pinned()) == {"A", "B"}
    assert {row["state"] for row in flight.sql("SELECT state FROM workers")} == {"ended"}
    assert flight.git("worktree", "list").count("\n") == 0
    assert list((flight.root / "state/workers/tasks").iterdir()) == []
