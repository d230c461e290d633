"""The health loop of real servers: who keeps a task, who loses it, who leads on, and what is left in the report."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import seconds_between
from tests.support.databases import looked_at
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks
from wvo_mcp.domain.instant import iso

GRACE = 1.0
SOON = 60.0
"""Seconds that are promised; the lease would have lasted an hour."""


def rows(workspace: Workspace, sql: str, *params: Any) -> list[dict[str, Any]]:
    with looked_at(workspace.source) as database:
        return database.rows(sql, *params)


def last_sample(workspace: Workspace) -> int:
    return rows(workspace, "SELECT max(seq) AS n FROM health_samples")[0]["n"] or 0


@pytest.mark.full_on_postgres
@pytest.mark.requirement("HEALTH-1", "HEALTH-2", "HEALTH-4", "CLAIM-3")
def test_a_killed_agents_task_returns_and_a_quiet_agent_keeps_its_own(
    workspace: Workspace,
) -> None:
    workspace.settings = {
        "WVO_LEASE_SECONDS": "3600",
        "WVO_LEASE_GRACE_SECONDS": f"{GRACE:.0f}",
        "WVO_AUTOPILOT_STALE_TASK_MINUTES": "0.02",
        "WVO_AUTOPILOT_HEALTH_INTERVAL_MS": "200",
    }
    killed = workspace.server("killed")
    killed.call("create_tasks", some_tasks("A", "B", "C"))
    killed.call("claim_task", {"task_id": "A"})
    eventually(lambda: last_sample(workspace) > 0)
    quiet = workspace.server("quiet")
    quiet.call("claim_task", {"task_id": "B"})

    killed.kill()
    killed.wait()
    died = iso(datetime.now(UTC))

    eventually(lambda: rows(workspace, "SELECT 1 AS x FROM tasks WHERE id = 'A' AND status = 'pending'"))
    back = rows(workspace, "SELECT at FROM events WHERE task_id = 'A' AND kind = 'lease.expired'")[0]["at"]
    assert seconds_between(died, back) <= SOON
    seen = last_sample(workspace)
    assert eventually(lambda: last_sample(workspace) > seen + 10), "the other server watches on"
    held = rows(workspace, "SELECT status, lease_token, assigned_to FROM tasks WHERE id = 'B'")
    assert held == [{"status": "in_progress", "lease_token": 1, "assigned_to": "quiet"}]
    assert rows(workspace, "SELECT count(*) AS n FROM events WHERE kind = 'task.claimed'") == [{"n": 2}]

    report: Path = workspace.root / "state" / "analytics" / "autopilot_health_report.json"
    running = eventually(lambda: json.loads(report.read_text()) if report.exists() else None)
    assert running["running"]
    quiet.call("complete_task", {"task_id": "B", "summary": "done"})
    asked = time.monotonic()
    eventually(lambda: last_sample(workspace) > seen + 15)
    assert quiet.end() == 0

    left = json.loads(report.read_text())
    assert report.stat().st_mode & 0o777 == 0o644
    assert not left["running"], time.monotonic() - asked
    kept = rows(workspace, "SELECT metrics FROM health_samples ORDER BY seq DESC LIMIT 1")[0]
    assert left["metricsHistory"][-1] == json.loads(kept["metrics"])
    assert left["lastCycle"] == left["metricsHistory"][-1]["timestamp"]
    last = left["metricsHistory"][-1]
    assert (last["doneCount"], last["throughputLastHour"], last["throughputLast5Min"]) == (1, 1, 1)
