"""The HTTP face over a real store, asked without a socket in between."""

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.sessions import an_agent
from wvo_mcp import errors
from wvo_mcp.domain.access import Principal
from wvo_mcp.domain.health import Thresholds
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.faces.http import build_site, routes
from wvo_mcp.faces.http.guard import BODY_BYTES, MCP_BODY_BYTES, STATUS, is_loopback
from wvo_mcp.operations import ALL, Audience, Effect
from wvo_mcp.orchestration.health.loop import HealthLoop
from wvo_mcp.orchestration.leader import Candidate
from wvo_mcp.ports.providers import Spent

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CORE-5")]


def identify(principal: Principal, agent_id: str | None, ports: tuple[int, int] | None) -> Caller:
    name = agent_id or principal.name
    return an_agent(name, f"http:{name}", durable=True)


@asynccontextmanager
async def asking(bench: Bench, host: str = "127.0.0.1:8737") -> AsyncGenerator[httpx2.AsyncClient]:
    watched = replace(bench.services, health=HealthLoop(Thresholds(), Policy(), bench.clock, None))
    site = build_site(watched, identify)
    transport = httpx2.ASGITransport(site)
    async with httpx2.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
        yield client


@pytest.fixture
async def client(bench: Bench) -> AsyncGenerator[httpx2.AsyncClient]:
    async with asking(bench) as made:
        yield made


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "retryable", "hint", "details"}
    return error


def test_every_tool_is_a_route_and_its_method_follows_from_its_effect() -> None:
    served = {route["tool"]: route["methods"] for route in routes()}

    assert set(served) == {name for name, op in ALL.items() if op.audience is Audience.AGENTS}
    for name, methods in served.items():
        assert methods == (["GET", "POST"] if ALL[name].effect is Effect.READ else ["POST"])


def test_every_code_of_an_error_has_a_status() -> None:
    codes = {
        kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.WvoError)
    }

    assert codes == set(STATUS)


@pytest.mark.requirement("DASH-3")
async def test_an_agent_without_a_token_is_refused_what_is_for_people(client: httpx2.AsyncClient) -> None:
    for name, op in ALL.items():
        if op.audience is Audience.PEOPLE:
            refused = await client.post(f"/api/{name}", json={})
            assert (refused.status_code, error_of(refused)["code"]) == (403, "forbidden")


async def test_a_read_takes_its_arguments_from_the_query_or_the_body(bench: Bench, client: httpx2.AsyncClient) -> None:
    await bench.create(*(a_task(f"T{number}", labels=["x y&z"]) for number in range(3)))
    asked: dict[str, Any] = {"label": "x y&z", "limit": 2}

    got = await client.get("/api/list_tasks", params=asked)
    posted = await client.post("/api/list_tasks", json=asked)

    assert got.status_code == posted.status_code == 200
    assert got.json() == posted.json() == await bench.call("list_tasks", **asked)
    assert [task["id"] for task in got.json()["tasks"]] == ["T0", "T1"]


async def test_work_is_done_in_the_name_that_the_header_gives(bench: Bench, client: httpx2.AsyncClient) -> None:
    await bench.create(a_task("A"), a_task("B"))
    named = await client.post("/api/claim_task", json={"task_id": "A"}, headers={"WVO-Agent-Id": "zoe"})
    unnamed = await client.post("/api/claim_task", json={"task_id": "B"})
    assert named.status_code == unnamed.status_code == 200
    rows = await bench.sql("SELECT assigned_to, session_id FROM tasks ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [("zoe", "http:zoe"), ("http", "http:http")]

    done = await client.post(
        "/api/complete_task", json={"task_id": "A", "summary": "done"}, headers={"WVO-Agent-Id": "zoe"}
    )
    stale = await client.post(
        "/api/complete_task", json={"task_id": "B", "summary": "x"}, headers={"wvo-agent-id": "y"}
    )
    wrong = await client.get("/api/plan_next", headers={"WVO-Agent-Id": "no spaces"})

    assert done.json()["task"]["status"] == "done"
    assert (stale.status_code, error_of(stale)["code"]) == (409, "stale_lease")
    assert (wrong.status_code, error_of(wrong)["details"]["field"]) == (400, "WVO-Agent-Id")


@pytest.mark.requirement("CORE-8")
async def test_an_agent_that_repeats_its_checkpoint_keeps_its_task(bench: Bench, client: httpx2.AsyncClient) -> None:
    await bench.create(a_task("A"))
    claim = (await client.post("/api/claim_task", json={"lease_seconds": 600})).json()
    saved = {"task_id": "A", "lease_token": claim["lease"]["token"], "summary": "working"}
    first = (await client.post("/api/checkpoint", json=saved)).json()

    for _ in range(3):
        bench.clock.advance(599)
        again = (await client.post("/api/checkpoint", json=saved)).json()
        assert again["checkpoint"] == first["checkpoint"]
        assert (await bench.claim(BOB))["task"] is None

    done = await client.post("/api/complete_task", json={**saved, "summary": "done"})
    assert done.json()["task"]["status"] == "done"


async def test_what_is_asked_wrongly_is_refused_with_a_status_and_a_typed_error(client: httpx2.AsyncClient) -> None:
    json_type = {"content-type": "application/json"}
    wrong = [
        (await client.get("/api/create_tasks"), 405, "invalid_input", "method"),
        (await client.put("/api/plan_next"), 405, "invalid_input", "method"),
        (await client.request("OPTIONS", "/api/plan_next"), 405, "invalid_input", "method"),
        (await client.post("/health"), 405, "invalid_input", "method"),
        (await client.get("/api/plan_nxt"), 404, "not_found", None),
        (await client.put("/api/create_tasks"), 405, "invalid_input", "method"),
        (await client.delete("/api/plan_nxt"), 404, "not_found", None),
        (await client.get("/somewhere"), 404, "not_found", None),
        (await client.get("/api/get_task", params={"task_id": "NO"}), 404, "not_found", "task_id"),
        (await client.get("/api/plan_next", params={"limit": "0"}), 400, "invalid_input", "limit"),
        (await client.get("/api/plan_next", params={"lmit": "3"}), 400, "invalid_input", "lmit"),
        (await client.get("/api/plan_next?limit=1&limit=2"), 400, "invalid_input", "limit"),
        (await client.post("/api/plan_next?limit=1", json={}), 400, "invalid_input", "query"),
        (await client.post("/api/plan_next", content=b"{}"), 415, "invalid_input", "Content-Type"),
        (await client.post("/api/plan_next", data={"limit": "1"}), 415, "invalid_input", "Content-Type"),
        (await client.post("/api/plan_next", content=b"[]", headers=json_type), 400, "invalid_input", "body"),
        (await client.post("/api/plan_next", content=b'{"a": NaN}', headers=json_type), 400, "invalid_input", "body"),
        (await client.post("/api/plan_next", content=b"\xff", headers=json_type), 400, "invalid_input", "body"),
        (await client.post("/api/plan_next", content=b"[" * 99_999, headers=json_type), 400, "invalid_input", "body"),
        (await client.post("/api/plan_next", content=b"x" * (BODY_BYTES + 1), headers=json_type), 413, "invalid_input", "body"),
    ]  # fmt: skip
    for answer, status, code, field in wrong:
        error = error_of(answer)
        assert (answer.status_code, error["code"], error["details"].get("field")) == (status, code, field), error
    assert wrong[0][0].headers["allow"] == "POST"
    assert wrong[5][0].headers["allow"] == "POST"
    assert "plan_next" in error_of(wrong[4][0])["details"]["near"]


@pytest.mark.requirement("DASH-5")
@pytest.mark.parametrize("path", ["/mcp", "/p/shop/mcp"])
async def test_a_body_for_mcp_has_a_limit_of_its_own(client: httpx2.AsyncClient, path: str) -> None:
    async def parts() -> AsyncGenerator[bytes]:
        for _ in range(5):
            yield b" " * (1 << 20)

    small = await client.post(path, content=b" " * MCP_BODY_BYTES)
    for content in (b" " * (MCP_BODY_BYTES + 1), parts()):
        large = await client.post(path, content=content)
        error = error_of(large)
        assert (large.status_code, error["code"], error["details"]["field"]) == (413, "invalid_input", "body")
        assert str(MCP_BODY_BYTES) in error["message"]
    assert small.status_code == 404, "it came through to where nothing is served here"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8737", "127.8.8.8", "LOCALHOST:1"])
async def test_this_machine_s_names_are_answered(bench: Bench, host: str) -> None:
    async with asking(bench, host) as client:
        assert (await client.get("/health", headers={"Origin": f"http://{host.lower()}"})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example:8737"},
        {"Host": "192.168.0.7"},
        {"Host": "0.0.0.0"},  # noqa: S104
        {"Host": "[::ffff:8.8.8.8]"},
        {"Host": ""},
        {"Host": "user@evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "https://127.0.0.1:8737"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_foreign_page_or_a_name_that_was_made_to_point_here_is_refused(
    bench: Bench, client: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    for path in ("/", "/api/plan_next", "/health", "/metrics"):
        refused = await client.get(path, headers=headers)
        assert (refused.status_code, error_of(refused)["code"]) == (403, "forbidden")
    await client.post("/api/create_tasks", json={"tasks": [a_task("X")]}, headers=headers)
    assert await bench.sql("SELECT id FROM tasks") == []


def test_only_what_never_leaves_the_machine_is_loopback() -> None:
    others = ["0.0.0.0", "::", "", "example.com", "10.0.0.1", "localhost.example", "127.0.0.1x"]  # noqa: S104

    assert not any(map(is_loopback, others))


@pytest.mark.requirement("HEALTH-4")
async def test_health_is_what_the_tool_tells_and_its_status_says_whether_it_is_well(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asking(bench) as client:
        answer = await client.get("/health")
        tool = await client.get("/api/health_check")
        assert answer.json() == tool.json()
        assert (answer.status_code, answer.json()["checks"]["database"]) == (200, "ok")

        await bench.write(lambda tx: tx.alerts.raise_alert("database", "critical", None, "a page is damaged"))
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
        assert answer.json()["checks"]["database"] == "a page is damaged"

        async def lost(*_: object) -> None:
            raise errors.StoreUnavailable("The disk is gone.")

        monkeypatch.setattr(bench.store, "read", lost)
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
        assert answer.json()["checks"]["database"] == "The disk is gone."
        metrics = await client.get("/metrics")
        assert (metrics.status_code, error_of(metrics)["code"]) == (503, "store_unavailable")


@pytest.mark.requirement("OBS-1")
async def test_metrics_agree_with_the_database_in_the_format_that_prometheus_reads(
    bench: Bench, client: httpx2.AsyncClient
) -> None:
    await Candidate(bench.store, lambda: ANN, bench.clock).seek()
    await bench.create(*(a_task(f"T{number}") for number in range(6)), a_task("LATER", depends_on=["T5"]))
    await bench.done("T0", "T1")
    await bench.claim(BOB, "T2")
    bench.clock.advance(minutes=20)
    await bench.call("claim_task", ANN)  # finds the lease of T2 run out
    await bench.write(lambda tx: tx.alerts.raise_alert('odd "kind"\\\n', "warning", None, "m"))
    await bench.write(lambda tx: tx.routing.record(Spent("ann", "claude", "low", "m", 700, cost=0.5)))
    await client.get("/api/plan_next")
    await client.get("/api/plan_next", params={"limit": 0})
    await client.get("/api/no_such_tool")

    answer = await client.get("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    for row in await bench.sql("SELECT status, count(*) AS n FROM tasks GROUP BY status"):
        assert found["wvo_tasks", ("status", row["status"])] == row["n"]
    assert found["wvo_tasks", ("status", "failed")] == 0
    (ready,) = await bench.sql("SELECT count(*) AS n FROM ready_tasks")
    assert found["wvo_queue_depth",] == ready["n"]
    assert found["wvo_wip_utilization_ratio",] == pytest.approx(1 / 3)
    assert found["wvo_tasks_completed_last_hour",] == 2
    assert found["wvo_tasks_created_last_hour",] == 7
    assert found["wvo_lease_expiries_total",] == 1
    assert found["wvo_leader_alive",] == 1
    model = (("provider", "claude"), ("tier", "low"))
    assert found["wvo_model_tokens", *model, ("window", "day")] == 700
    assert found["wvo_model_cost_dollars", *model] == 0.5
    assert found["wvo_alerts_open", ("kind", 'odd "kind"\\\n'), ("severity", "warning")] == 1
    calls = {
        labels: value
        for (name, *labels), value in ((key, found[key]) for key in found)
        if name.endswith("_count")
        for labels in [tuple(labels)]
    }
    assert calls == {
        (("result", "ok"), ("tool", "plan_next")): 1,
        (("result", "invalid_input"), ("tool", "plan_next")): 1,
        (("result", "not_found"), ("tool", "unknown")): 1,
    }


async def test_the_log_has_a_line_a_request_and_nothing_that_was_asked(
    client: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "wvo_mcp.http"):
        await client.get("/api/context_read", params={"query": "hidden"}, headers={"WVO-Agent-Id": "hidden"})
        await client.get("/api/ghp_0123456789abcdefghijABCDEFGHIJ012345%0Aforged")

    lines = [record.getMessage() for record in caplog.records if record.name == "wvo_mcp.http"]
    assert len(lines) == 2
    assert lines[0].startswith("GET /api/context_read 200 ")
    assert not any("hidden" in line or "ghp_" in line or "\n" in line for line in lines)


async def test_a_defect_is_answered_with_a_reference(
    bench: Bench, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.store, "read", None)

    answer = await client.get("/api/plan_next")

    assert (answer.status_code, error_of(answer)["code"]) == (500, "internal")
    assert "NoneType" not in answer.text


async def test_texts_that_json_can_hardly_hold_are_answered(bench: Bench, client: httpx2.AsyncClient) -> None:
    body = json.dumps({"task_id": "\ud800"}).encode()

    answer = await client.post("/api/get_task", content=body, headers={"content-type": "application/json"})

    assert error_of(answer)["code"] == "invalid_input"
