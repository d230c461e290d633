"""Calls over HTTP beside a route that does nothing, both on loopback with kept connections."""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, cast

import httpx2

from scripts.benchmarks import seeding
from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.timing import in_turns, p50, p99

_FLOOR = """
import socket, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def nothing(request):
    return JSONResponse({})

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
listener.bind(("127.0.0.1", 0))
listener.listen(128)
print("http://127.0.0.1:%d" % listener.getsockname()[1], flush=True)
site = Starlette(routes=[Route("/", nothing)])
uvicorn.Server(uvicorn.Config(site, log_level="error", access_log=False, lifespan="off")).run(sockets=[listener])
"""


PAGES = (
    "/",
    "/tasks",
    "/tasks?view=epic",
    "/tasks?status=pending",
    "/tasks?status=done",
    "/tasks?epic_id=e50",
    "/tasks?query=part",
    "/approvals",
    "/approvals?state=all",
    "/alerts",
)
_TROUBLES = 20
_EVENTS = 10


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    _calls(report, quick=quick, folder=folder)
    _pages(report, quick=quick, folder=folder)


def _calls(report: Report, *, quick: bool, folder: Path) -> None:
    """Reads, a write, /health and /metrics; the store has 10,000 tasks."""
    workspace = folder / "http"
    seeding.copied(seeding.kept("tasks-10000", lambda: seeding.groups(10_000)), workspace)
    environ = {**os.environ, "ROOT": str(workspace)}
    product = [sys.executable, "-m", "wvo_mcp", "serve", "--http", "--port", "0"]
    with _client(product, environ) as client, _client([sys.executable, "-c", _FLOOR], environ) as floor:

        def call(tool: str, **arguments: object) -> None:
            client.post(f"/api/{tool}", json=arguments).raise_for_status()

        task_id = client.get("/api/plan_next").json()["tasks"][0]["id"]
        taken = in_turns(
            50 if quick else 400,
            {
                "floor": lambda: floor.get("/").raise_for_status(),
                "plan_next": lambda: client.get("/api/plan_next").raise_for_status(),
                "get_task": lambda: call("get_task", task_id=task_id),
                "context_write": lambda: call("context_write", topic="bench", content="a line"),
                "/health": lambda: client.get("/health").raise_for_status(),
                "/metrics": lambda: client.get("/metrics").raise_for_status(),
            },
        )
    nothing = Floor("a route that does nothing", p50(taken.pop("floor")))
    for name, samples in taken.items():
        report.add(
            Figure(
                f"{name} over HTTP", "ms", p50(samples), size=10_000, p99=p99(samples), floors=[nothing],
                targets=[Target(50.0)], samples=len(samples),
            )
        )  # fmt: skip


def _pages(report: Report, *, quick: bool, folder: Path) -> None:
    """Pages whole, as the server sends them: 100,000 tasks with ten events each, and much that waits for people."""
    size = 10_000 if quick else 100_000
    workspace = folder / "http-pages"
    seeding.copied(seeding.kept(f"tasks-{size}-events", lambda: seeding.groups(size), _EVENTS), workspace)
    environ = {**os.environ, "ROOT": str(workspace)}
    product = [sys.executable, "-m", "wvo_mcp", "serve", "--http", "--port", "0"]
    with _client(product, environ) as client, _client([sys.executable, "-c", _FLOOR], environ) as floor:
        _trouble(client)
        works = {path: partial(_shown, client, path) for path in PAGES}
        taken = in_turns(10 if quick else 60, {"floor": lambda: floor.get("/").raise_for_status(), **works})
        sizes = {path: len(client.get(path).content) for path in PAGES}
    nothing = Floor("a route that does nothing", p50(taken.pop("floor")))
    for path, samples in taken.items():
        report.add(
            Figure(
                f"page {path}", "ms", p50(samples), size=size, p99=p99(samples), floors=[nothing],
                targets=[Target(500.0)], samples=len(samples), note=f"{sizes[path]:,} bytes",
            )
        )  # fmt: skip


def _shown(client: httpx2.Client, path: str) -> None:
    client.get(path).raise_for_status()


def _trouble(client: httpx2.Client) -> None:
    """Failed and blocked tasks, questions about tasks and others; and two tasks in progress."""

    def call(tool: str, **arguments: object) -> None:
        client.post(f"/api/{tool}", json=arguments, headers={"WVO-Agent-Id": "ann"}).raise_for_status()

    for number in range(_TROUBLES):
        for tool, more in (
            ("fail_task", {"error": "the build is red", "retry": False}),
            ("block_task", {"reason": "needs a key"}),
            ("approval_request", {"question": "Which of the two? " * 20}),
        ):
            claim = client.post("/api/claim_task", json={}, headers={"WVO-Agent-Id": "ann"}).json()
            call(tool, task_id=claim["task"]["id"], **more)
        call("message_send", to="person", body=f"Question {number}?", kind="question")
    for agent in ("bob", "eve"):
        client.post("/api/claim_task", json={}, headers={"WVO-Agent-Id": agent}).raise_for_status()


@contextmanager
def _client(command: list[str], environ: dict[str, str]) -> Generator[httpx2.Client]:
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            url = cast("IO[bytes]", process.stdout).readline().decode().strip()
            with httpx2.Client(base_url=url, timeout=30) as client:
                yield client
        finally:
            process.terminate()
            process.wait(30)
