"""Spans and metrics say what SQL says of the same store, on either kind of it."""

import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from starlette.requests import Request

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from tests.support.providers import FixedProviders
from wvo_mcp.domain.access import LOOPBACK
from wvo_mcp.domain.instant import instant
from wvo_mcp.errors import WvoError
from wvo_mcp.faces.http.site import Api
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.orchestration.workspaces.timing import Timing
from wvo_mcp.store.sqlite.store import SqliteStore
from wvo_mcp.telemetry.setup import Telemetry, begin

pytestmark = [pytest.mark.requirement("OBS-1"), pytest.mark.anyio]


class Written:
    """What was written to the files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.spans = _lines(folder / "traces.jsonl")
        self.metrics = _lines(folder / "metrics.jsonl")

    def named(self, name: str) -> list[dict[str, Any]]:
        return [span for span in self.spans if span["name"] == name]

    def last(self, name: str) -> dict[str, Any]:
        """Value by attributes."""
        return {
            json.dumps(m["attributes"], sort_keys=True): m.get("value", m.get("count"))
            for m in self.metrics
            if m["name"] == name
        }


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir(exist_ok=True)
    return tmp_path / "state" / "telemetry"


@pytest.fixture
def telemetry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Telemetry:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
    begun = begin(folder, "mcp", "test")
    assert begun is not None
    return begun


@pytest.fixture
def watched(bench: Bench, telemetry: Telemetry) -> Bench:
    system = "sqlite" if isinstance(bench.store, SqliteStore) else "postgresql"
    store = telemetry.watch(bench.store, system)
    bench.services = replace(bench.services, store=store, tracer=telemetry.tracer)
    return bench


async def written(telemetry: Telemetry, folder: Path) -> Written:
    await anyio.to_thread.run_sync(telemetry.end)
    return Written(folder)


async def test_spans_and_metrics_agree_with_sql(watched: Bench, telemetry: Telemetry, folder: Path) -> None:
    chance = random.Random(7)
    watched.limits(wip_limit=6, agent_wip_limit=6)
    names = [f"T{n}" for n in range(12)]
    await watched.create(*(a_task(name) for name in names))
    calls = 1

    async def call(tool: str, **arguments: Any) -> None:
        nonlocal calls
        calls += 1
        with suppress(WvoError):
            await watched.call(tool, chance.choice([ANN, BOB]), **arguments)

    ends: list[Callable[[str], Awaitable[None]]] = [
        lambda name: call("complete_task", task_id=name, summary="x"),
        lambda name: call("fail_task", task_id=name, error="x"),
        lambda name: call("fail_task", task_id=name, error="x", retry=False),
        lambda name: call("release_task", task_id=name),
        lambda name: call("block_task", task_id=name, reason="x"),
        lambda name: call("update_task", task_id=name, status="pending", reason="x"),
        lambda name: call("checkpoint", task_id=name, summary="x"),
    ]
    for step in range(150):
        if chance.random() < 0.4:
            await call("claim_task")
        else:
            await chance.choice(ends)(chance.choice(names))
        watched.clock.advance(chance.choice([0.02, 1, 30]))
        if step % 40 == 39:  # what the leader does
            watched.clock.advance(700)
            await watched.services.store.write(OWNER, lambda tx: claims.reap(tx, watched.policy))
    await telemetry.look(watched.services.store, OWNER, watched.policy.wip_limit)
    seen = await written(telemetry, folder)

    rows = await watched.sql("SELECT seq, at, kind, task_id, data FROM events ORDER BY seq")
    ended: Counter[str] = Counter()
    claimed_at: dict[str, str] = {}
    executions: set[tuple[str, str, float]] = set()
    for row in rows:
        data = json.loads(row["data"])
        if row["kind"] == "task.claimed":
            claimed_at[row["task_id"]] = row["at"]
        elif data.get("from") == "in_progress":
            outcome = row["kind"].split(".")[1]
            ended[outcome] += 1
            length = (instant(row["at"]) - instant(claimed_at[row["task_id"]])).total_seconds()
            executions.add((row["task_id"], outcome, round(length * 1000, 3)))
    assert {"completed", "failed", "failed_attempt", "released", "blocked", "expired"} <= set(ended)
    spans = seen.named("task.execution")
    shown = [(s["attributes"]["wvo.task.id"], s["attributes"]["wvo.task.outcome"], s["duration_ms"]) for s in spans]
    assert Counter(outcome for _, outcome, _ in shown) == ended
    assert set(shown) == executions
    assert seen.last("wvo.tasks.ended") == {json.dumps({"outcome": kind}): n for kind, n in ended.items()}
    assert sum(seen.last("wvo.task.duration").values()) == len(spans)
    assert seen.last("wvo.tasks.claimed") == {"{}": sum(row["kind"] == "task.claimed" for row in rows)}
    assert seen.last("wvo.lease.expiries") == {"{}": ended["expired"]}
    alerts = await watched.sql("SELECT count(*) AS n FROM alerts")
    assert sum(seen.last("wvo.alerts.raised").values()) == alerts[0]["n"]

    # The life of a task until it is settled is one trace; each execution is a span of its own.
    assert len({span["span_id"] for span in spans}) == len(spans)
    by_id = {span["span_id"]: span for span in seen.spans}
    for span in spans:
        parent = by_id[span["parent_span_id"]]
        assert parent["attributes"]["gen_ai.tool.name"] == "claim_task" and parent["trace_id"] == span["trace_id"]

    # Every call is one span with one transaction below it, and counted once.
    tools = seen.named("mcp.tool")
    assert len(tools) == calls == sum(seen.last("mcp.server.operation.duration").values())
    below = Counter(span["parent_span_id"] for span in seen.named("store.transaction"))
    assert all(below[span["span_id"]] == 1 for span in tools)

    # The gauges are the kept counters, and those are what stands in the table.
    statuses = {
        row["status"]: row["n"] for row in await watched.sql("SELECT status, count(*) AS n FROM tasks GROUP BY status")
    }
    gauges = {json.loads(key)["status"]: value for key, value in seen.last("wvo.tasks").items()}
    assert {status: n for status, n in gauges.items() if n} == statuses
    claimable = await watched.sql(
        "SELECT count(*) AS n FROM tasks WHERE status = 'pending' AND unmet_deps = 0 AND gates = 0"
    )
    assert seen.last("wvo.queue.depth") == {"{}": claimable[0]["n"]}
    wip = statuses.get("in_progress", 0)
    assert seen.last("wvo.wip") == {"{}": wip}
    assert seen.last("wvo.wip.utilization") == {"{}": wip / 6}


async def test_what_is_not_committed_is_not_reported(watched: Bench, telemetry: Telemetry, folder: Path) -> None:
    await watched.create(a_task("A"))
    with pytest.raises(RuntimeError, match="defect"):

        async def broken(tx: Any) -> None:
            await claims.claim(tx, watched.policy, "ann", "A", None)
            raise RuntimeError("a defect")

        await watched.services.store.write(ANN, broken)
    await watched.services.store.write(ANN, lambda tx: claims.claim(tx, watched.policy, "ann", "A", None), keep=False)
    assert await watched.sql("SELECT * FROM task_traces") == []
    with pytest.raises(WvoError):
        await watched.complete("A")
    seen = await written(telemetry, folder)
    assert seen.named("task.execution") == [] and seen.last("wvo.tasks.claimed") == {}
    (refused,) = [span for span in seen.named("mcp.tool") if span["status"] == "error"]
    assert refused["attributes"]["error.type"] == "tool_error"
    assert refused["attributes"]["wvo.error.code"] == "illegal_transition"
    outcomes = Counter(span["attributes"]["wvo.store.outcome"] for span in seen.named("store.transaction"))
    assert outcomes == {"committed": 1, "failed": 1, "rolled_back": 1}


async def test_a_claim_that_was_not_traced_ends_without_a_span(
    bench: Bench, telemetry: Telemetry, folder: Path
) -> None:
    await bench.create(a_task("A"))
    await bench.claim(ANN, "A")  # by a server whose telemetry is off
    store = telemetry.watch(bench.store, "sqlite")
    bench.services = replace(bench.services, store=store, tracer=telemetry.tracer)
    await bench.complete("A")
    seen = await written(telemetry, folder)
    assert seen.named("task.execution") == []
    assert seen.last("wvo.tasks.ended") == {'{"outcome": "completed"}': 1}


async def test_a_call_over_http_has_a_span_with_its_face_and_its_trace(
    watched: Bench, telemetry: Telemetry, folder: Path
) -> None:
    api = Api(watched.services, lambda principal, agent, ends: ANN, lambda tool, outcome, seconds: None)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = [(b"traceparent", f"00-{trace}-00f067aa0ba902b7-01".encode())]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/plan_next",
        "query_string": b"",
        "headers": headers,
        "path_params": {"tool": "plan_next"},
        "state": {"principal": LOOPBACK},
    }
    assert (await api.call(Request(scope))).status_code == 200
    (span,) = (await written(telemetry, folder)).named("mcp.tool")
    assert (span["trace_id"], span["attributes"]["wvo.face"]) == (trace, "http")
    assert span["attributes"]["http.request.method"] == "GET"


@pytest.mark.requirement("PROV-3")
async def test_what_is_reported_is_recorded_once_however_often_it_is_repeated(
    watched: Bench, telemetry: Telemetry, folder: Path
) -> None:
    watched.services = replace(watched.services, providers=FixedProviders())
    report = {"provider": "claude", "tier": "low", "tokens_in": 900, "tokens_cached": 300, "tokens_out": 50}
    for _ in range(2):
        await ALL["provider_report"](watched.services, ANN, {**report, "request_id": "once"})
    with suppress(WvoError):
        await ALL["provider_report"](watched.services, ANN, {**report, "task_id": "unknown"})
    seen = await written(telemetry, folder)
    lines = [line for line in seen.metrics if line["name"] == "gen_ai.client.token.usage"]
    assert {line["attributes"]["gen_ai.token.type"]: line["sum"] for line in lines} == {"input": 1200, "output": 50}
    assert {line["attributes"]["gen_ai.request.model"] for line in lines} == {"claude-low"}


async def test_how_long_work_on_workspaces_takes_is_measured(telemetry: Telemetry, folder: Path) -> None:
    timing = Timing(telemetry.tracer)
    timing.noticed(7.0)
    timing.noticed(9.0)
    timing.failed("interval", 2_000.0)
    seen = await written(telemetry, folder)
    assert seen.last("wvo.workspace.noticing.delay") == {"{}": 2}
    attributes = {"wvo.checkpoint.trigger": "interval", "wvo.outcome": "failed"}
    assert seen.last("wvo.workspace.checkpoint.duration") == {json.dumps(attributes): 1}
