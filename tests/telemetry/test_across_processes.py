"""Real servers, a real collector: a task that one process claims and another one completes is one trace."""

import json
import secrets
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.invariants import looked_at
from tests.support.stdio_client import Refused
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks
from tests.telemetry.receiver import receiving

pytestmark = pytest.mark.requirement("OBS-1")

PATIENT = """
import sys
from wvo_mcp.__main__ import main
from wvo_mcp.telemetry import setup
setup.END_SECONDS = 120.0
sys.exit(main())
"""
"""The command line, that ends only when all is told."""
TRACE, ASKING = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.requirement("SAFE-3")
@pytest.mark.sqlite
def test_a_task_that_outlives_its_server_is_one_trace(workspace: Workspace) -> None:
    secret = "ghp_" + secrets.token_hex(18)
    folder = workspace.root / "state" / "telemetry"
    with receiving() as collector:
        workspace.settings = {
            "OTEL_ENABLED": "1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
            "WVO_LEASE_GRACE_SECONDS": "0",
        }
        ann = workspace.server("ann")
        ann.call("create_tasks", some_tasks("A"))
        ann.result(
            "tools/call",
            {"name": "claim_task", "arguments": {}, "_meta": {"traceparent": f"00-{TRACE}-{ASKING}-01"}},
        )
        with pytest.raises(Refused):
            ann.call("get_task", {"task_id": secret})
        eventually(lambda: collector.named("mcp.tool", **{"wvo.task.id": "[redacted]"}))
        eventually(lambda: {"wvo.queue.depth", "wvo.wip.utilization"} <= written(folder, "metrics"))  # it leads
        ann.kill()

        bob = workspace.server("bob")
        claim = eventually(lambda: bob.call("claim_task")["task"])
        assert claim["id"] == "A"
        bob.call("checkpoint", {"task_id": "A", "summary": "half of it"})
        # A server that ends waits only so long for what it has not told yet.
        eventually(lambda: collector.named("mcp.tool", **{"gen_ai.tool.name": "checkpoint"}))
        eventually(lambda: {"task.execution", "mcp.tool"} <= written(folder, "traces"))
        eventually(lambda: "wvo.tasks.claimed" in {metric["name"] for metric in collector.metrics})
        assert bob.end() == 0
        environ = workspace.environ(WVO_AGENT_ID="bob")
        command = [sys.executable, "-c", PATIENT, "complete-task", "A", "--summary", "all of it", "--json"]
        done = subprocess.run(
            [*command, "--lease-token", str(2)], env=environ, cwd=workspace.root, capture_output=True, check=False
        )
        assert json.loads(done.stdout)["task"]["status"] == "done", done

        eventually(lambda: len(collector.named("task.execution")) == 2)
        executions = collector.named("task.execution")
        claimed = collector.named("mcp.tool", **{"gen_ai.tool.name": "claim_task"})
        (asked,) = (span for span in claimed if span["trace_id"] == TRACE)
        (kept,) = collector.named("mcp.tool", **{"gen_ai.tool.name": "checkpoint"})
        (completed,) = collector.named("mcp.tool", **{"gen_ai.tool.name": "complete_task"})

    # The caller's trace, and in it both executions below the first claim.
    assert asked["parent_span_id"] == ASKING and asked["attributes"]["wvo.task.id"] == "A"
    assert {span["trace_id"] for span in executions} == {TRACE}
    assert {span["parent_span_id"] for span in executions} == {asked["span_id"]}
    by_outcome = {span["attributes"]["wvo.task.outcome"]: span for span in executions}
    assert set(by_outcome) == {"expired", "completed"}
    last = by_outcome["completed"]
    assert (kept["trace_id"], kept["parent_span_id"]) == (TRACE, last["span_id"])
    assert last["span_id"] in completed["links"] and completed["attributes"]["wvo.face"] == "cli"
    assert len({span["resource"]["process.pid"] for span in (asked, kept, completed)}) == 3
    assert asked["resource"]["deployment.environment.name"] == "test"
    assert asked["resource"]["service.name"] == "wvo-mcp"
    assert asked["attributes"]["mcp.method.name"] == "tools/call"

    # The same times as in the audit trail.
    with looked_at(workspace.source) as database:
        rows = database.rows("SELECT kind, at FROM events WHERE task_id = 'A' ORDER BY seq")
        assert database.rows("SELECT * FROM task_traces") == []
    at = {kind: [_nanoseconds(row["at"]) for row in rows if row["kind"] == kind] for kind in {r["kind"] for r in rows}}
    assert (last["start"], last["end"]) == (at["task.claimed"][-1], at["task.completed"][0])
    assert (by_outcome["expired"]["start"], by_outcome["expired"]["end"]) == (
        at["task.claimed"][0],
        at["lease.expired"][0],
    )

    # The files say what the collector heard, and nobody heard the secret.
    lines = [json.loads(line) for line in (folder / "traces.jsonl").read_text().splitlines()]
    assert {span["span_id"] for span in executions} <= {line["span_id"] for line in lines}
    names = {json.loads(line)["name"] for line in (folder / "metrics.jsonl").read_text().splitlines()}
    assert {"mcp.server.operation.duration", "wvo.tasks.ended", "wvo.queue.depth", "wvo.wip.utilization"} <= names
    assert "wvo.tasks.claimed" in {metric["name"] for metric in collector.metrics}
    told = collector.raw + b"".join(file.read_bytes() for file in folder.glob("*.jsonl"))
    assert secret.encode() not in told and b"[redacted]" in told
    assert "telemetry" not in workspace.logged()


def written(folder: Path, kind: str) -> set[str]:
    """Names in one of the files; its last line may still be written."""
    file = folder / f"{kind}.jsonl"
    whole = file.read_bytes().rpartition(b"\n")[0] if file.exists() else b""
    return {json.loads(line)["name"] for line in whole.splitlines()}


def _nanoseconds(at: str) -> int:
    moment = datetime.fromisoformat(at).astimezone(UTC)
    return round(moment.timestamp() * 1000) * 1_000_000
