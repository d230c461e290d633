"""Workers whose program fails for no fault of their task, in a whole autopilot."""

import json

import pytest

from tests.support.flights import Flight, does

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-5")]


async def test_a_program_that_crashes_goes_on_in_its_session_and_its_use_is_not_forgotten(flight: Flight) -> None:
    flight.begin({"A": []}, {"A": [does("A", {"use": {"in": 50, "out": 5}}, {"exit": 139})]})

    await flight.fly()

    assert flight.statuses() == {"A": "done"}, flight.news
    [worker] = flight.sql("SELECT outcome, tokens_in, tokens_out, exit_code FROM workers")
    assert worker == {"outcome": "completed", "tokens_in": 150, "tokens_out": 15, "exit_code": 139}
    assert flight.sql("SELECT attempts FROM tasks") == [{"attempts": 0}]
    [event] = flight.sql("SELECT data FROM events WHERE kind = 'worker.recovery'")
    assert '"crashed"' in event["data"]


async def test_a_program_that_crashes_again_and_again_is_a_persons_to_look_at(flight: Flight) -> None:
    flight.begin({"A": []}, {"A": [[{"exit": 139}] * 20]})

    await flight.fly()

    assert flight.statuses() == {"A": "blocked"}
    recoveries = flight.sql("SELECT data FROM events WHERE kind = 'worker.recovery' ORDER BY seq")
    acts = [json.loads(one["data"])["act"] for one in recoveries]
    assert acts == ["relaunch", "fresh", "relaunch", "give_up"]
    alerts = flight.sql("SELECT severity, message FROM alerts WHERE resolved_at IS NULL AND task_id = 'A'")
    assert [one["severity"] for one in alerts] == ["critical"]
    assert "launched again 3 times" in alerts[0]["message"]


@pytest.mark.requirement("WORK-9")
async def test_a_program_that_prints_too_much_is_killed_and_the_reason_names_the_limit(
    flight: Flight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WVO_WORKER_OUTPUT_MB", "1")
    flight.begin({"A": []}, {"A": [[*[{"print": "x" * 600_000}] * 2, {"wait": 300}]]})

    await flight.fly()

    assert flight.statuses() == {"A": "failed"}, flight.news
    [worker] = flight.sql("SELECT outcome, reason, exit_code FROM workers")
    reason = "it printed more than 1 MB (WVO_WORKER_OUTPUT_MB)"
    assert worker == {"outcome": "killed", "reason": reason, "exit_code": None}
