"""One operation, three faces: the same lists, the same results, the same errors, from real processes on one store."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from typing import IO, Any, cast

import httpx2
import pytest

from tests.support.databases import looked_at
from tests.support.stdio_client import StdioClient
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks, workspace

__all__ = ["workspace"]

pytestmark = pytest.mark.requirement("CORE-5")

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("plan_next", {"limit": 2}),
    ("get_task", {"task_id": "A"}),
    ("context_write", {"topic": "prices", "content": "again", "request_id": "same"}),
    ("plan_next", {"lmit": 3}),
    ("complete_task", {"task_id": "A", "lease_token": 99, "summary": "not mine"}),
]
MORE: list[tuple[str, dict[str, Any]]] = [
    ("list_tasks", {"status": "pending", "limit": 1}),
    ("context_read", {"topic": "prices"}),
    ("alerts", {"state": "all"}),
    ("events", {"limit": 5, "kind": "task.created"}),
    ("plan_next", {"limit": 0}),
    ("get_task", {"task_id": "NO"}),
    ("list_tasks", {"cursor": "x"}),
    ("claim_task", {"task_id": "B"}),
    ("update_task", {"task_id": "B", "depends_on": ["B"]}),
    ("alert_ack", {"alert_id": 12_345}),
    ("create_tasks", {"tasks": [{"id": "A", "title": "there already"}]}),
]
"""Results and errors; what is written is written once, for its request_id is the same."""
VOLATILE = {"expires_at", "lease_expires_at", "last_call_at", "hash", "prev_hash", "ref"}


@pytest.fixture(scope="module")
def site(place: Workspace, server: StdioClient) -> Generator[httpx2.Client]:
    """The HTTP server beside the stdio server, which has some work to tell of."""
    tasks = [
        {"id": "A", "title": "First"},
        {"id": "B", "title": "Then", "depends_on": ["A"]},
        {"id": "C", "title": "Else"},
    ]
    server.call("create_tasks", {"tasks": tasks})
    server.call("claim_task", {"task_id": "A"})
    server.call("context_write", {"topic": "prices", "content": "decimals"})
    server.call("context_write", {"topic": "prices", "content": "again", "request_id": "same"})
    with serving(place) as (process, url):
        with httpx2.Client(base_url=url, headers={"WVO-Agent-Id": "ann"}, timeout=90) as client:
            yield client
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 0


class serving:
    """`wvo-mcp serve --http` in a workspace; its process and its address."""

    def __init__(self, workspace: Workspace) -> None:
        self.log = workspace.logs / "http.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wvo_mcp", "serve", "--http", "--port", "0"],
                env=workspace.environ(),
                cwd=workspace.root,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def __enter__(self) -> tuple[subprocess.Popen[bytes], str]:
        line = cast("IO[bytes]", self.process.stdout).readline().decode().strip()
        assert line.startswith("http://127.0.0.1:"), self.log.read_text()
        return self.process, line

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(10)
        cast("IO[bytes]", self.process.stdout).close()


def by_command(place: Workspace, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-m", "wvo_mcp", tool.replace("_", "-"), "--json", "--input", json.dumps(arguments)],
        env=place.environ(WVO_AGENT_ID="ann"),
        cwd=place.root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr
    return json.loads(ran.stdout)


def steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: steady(part) for name, part in value.items() if name not in VOLATILE}
    return [steady(part) for part in value] if isinstance(value, list) else value


@pytest.mark.full_on_postgres
def test_the_three_lists_are_equal(place: Workspace, server: StdioClient, site: httpx2.Client) -> None:
    listed = [tool["name"] for tool in server.result("tools/list")["tools"]]
    routes = site.get("/api").json()["tools"]
    helped = subprocess.run(
        [sys.executable, "-m", "wvo_mcp", "--help"],
        env=place.environ(),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    commands = {line.split()[0] for line in helped.splitlines() if line.startswith("  ") and line.strip()}

    assert sorted(listed) == sorted(route["tool"] for route in routes)
    assert {name.replace("_", "-") for name in listed} <= commands
    annotated = {tool["name"]: tool["annotations"]["readOnlyHint"] for tool in server.result("tools/list")["tools"]}
    assert {route["tool"]: "GET" in route["methods"] for route in routes} == annotated
    for route in routes:
        assert site.put(route["path"]).status_code == 405


@pytest.mark.full_on_postgres
@pytest.mark.full_on_postgres
@pytest.mark.parametrize(
    ("tool", "arguments"), [*CALLS, *(pytest.param(*call, marks=pytest.mark.full) for call in MORE)]
)
def test_the_same_call_gives_the_same_through_all_three(
    place: Workspace, server: StdioClient, site: httpx2.Client, tool: str, arguments: dict[str, Any]
) -> None:
    over_mcp = server.answer(tool, arguments)["structuredContent"]
    over_http = site.post(f"/api/{tool}", json=arguments)
    by_hand = by_command(place, tool, arguments)

    assert steady(over_http.json()) == steady(over_mcp) == steady(by_hand)
    assert (over_http.status_code == 200) == ("error" not in over_mcp)


@pytest.mark.full_on_postgres
@pytest.mark.requirement("HEALTH-1")
def test_a_lone_http_server_leads_and_ends_its_session_on_sigterm(workspace: Workspace) -> None:
    workspace.server("first").call("create_tasks", some_tasks("A"))  # where nothing has begun nobody leads
    workspace.started[0].end()
    with serving(workspace) as (process, url), httpx2.Client(base_url=url, timeout=90) as client:
        leader = eventually(lambda: client.get("/api/status").json()["leader"])
        assert leader["alive"]

        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 0
        with looked_at(workspace.source) as database:
            assert database.column("SELECT session_id FROM sessions WHERE ended_at IS NULL AND durable = 0") == []
            assert database.column("SELECT session_id FROM leaders") == [None], "the post is free at once"
        successor = workspace.server("next", WVO_TOOLSETS="all")

        def followed() -> bool:
            now = successor.call("status")["leader"]
            return now is not None and now["session_id"] != leader["session_id"]

        eventually(followed)
    assert "Traceback" not in (workspace.logs / "http.log").read_text()


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "no authentication"),  # noqa: S104
        pytest.param(["--host", "192.168.1.1"], "no authentication", marks=pytest.mark.full),
        pytest.param(["--host", "example.com"], "no authentication", marks=pytest.mark.full),
    ],
)
def test_a_host_that_others_can_reach_is_refused_with_the_reason(
    workspace: Workspace, arguments: list[str], said: str
) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "wvo_mcp", "serve", "--http", *arguments],
        env={**os.environ, **workspace.environ()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ran.returncode == 1
    assert said in ran.stderr
    assert not workspace.database.exists()
