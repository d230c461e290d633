"""Worktrees of a whole autopilot: what a worker changed of the repository itself ends the run."""

import anyio
import pytest

from tests.support.flights import Flight, does

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SAFE-1")]

HOOK = {"write": "../../../.git/hooks/pre-commit", "text": "#!/bin/sh\ntouch ran\n"}


async def test_a_worker_that_changes_hooks_submits_nothing_and_ends_the_run(flight: Flight) -> None:
    flight.begin({"T1": [], "T2": ["T1"], "T3": []}, {"T1": [does("T1", HOOK)], "T3": [does("T3")]})

    first = await flight.fly(agents=1)
    again = await flight.fly(agents=1)

    assert "wvo-mcp trust" in str(first["ended"])
    assert "wvo-mcp trust" in str(again["ended"])
    assert flight.statuses() == {"T1": "blocked", "T2": "pending", "T3": "pending"}
    assert flight.git("for-each-ref", "refs/wvo") == ""
    alerts = flight.sql("SELECT message FROM alerts WHERE kind = 'violation' AND resolved_at IS NULL")
    (message,) = [row["message"] for row in alerts]
    assert '"hooks/pre-commit" was added' in message
    rows = flight.sql("SELECT kind, task_id FROM violations WHERE kind = 'repository'")
    assert {row["task_id"] for row in rows} == {"T1", "T3"}
    assert not await anyio.Path(flight.root / "ran").exists()
    assert flight.sql("SELECT attempts FROM tasks WHERE id = 'T3'") == [{"attempts": 0}]
