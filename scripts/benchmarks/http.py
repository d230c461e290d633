"""Calls over HTTP beside a route that does nothing, both on loopback with kept connections."""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import httpx2

from scripts.benchmarks import seeding
from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.timing import in_turns, p50, p99

NOTHING = """
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
FLOOR = [sys.executable, "-c", NOTHING]
PRODUCT = [sys.executable, "-m", "wvo_mcp", "serve", "--http", "--port", "0"]


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    """Reads, a write, /health and /metrics; the store has 10,000 tasks."""
    workspace = folder / "http"
    seeding.copied(seeding.kept("tasks-10000", lambda: seeding.groups(10_000)), workspace)
    environ = {**os.environ, "ROOT": str(workspace)}
    with served(PRODUCT, environ) as (client, _), served(FLOOR, environ) as (floor, _):

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


@contextmanager
def served(command: list[str], environ: dict[str, str]) -> Generator[tuple[httpx2.Client, int]]:
    """A client of the server, and the server's pid."""
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            url = cast("IO[bytes]", process.stdout).readline().decode().strip()
            with httpx2.Client(base_url=url, timeout=30) as client:
                yield client, process.pid
        finally:
            process.terminate()
            process.wait(30)
