"""Every page whole, as the server sends it, beside its reads alone: 100,000 tasks, a million events, months of work."""

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl

import httpx2
from anyio.from_thread import BlockingPortal, start_blocking_portal

from scripts.benchmarks import history, seeding
from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.http import FLOOR, PRODUCT, served
from scripts.benchmarks.product import desk
from scripts.benchmarks.timing import in_turns, p50, p99, percentile
from wvo_mcp.domain.access import LOOPBACK_READER
from wvo_mcp.domain.lease import Role
from wvo_mcp.execution.agents.logs import WorkerLogFiles
from wvo_mcp.execution.reviews import CommitsOfRoot
from wvo_mcp.faces.http.pages import PAGES, Page
from wvo_mcp.faces.http.pages.page import Visit
from wvo_mcp.ports.reviews import Commits
from wvo_mcp.ports.workers import WorkerLogs

CASES = {
    "/": ("",),
    "/tasks": ("", "view=epic", "status=pending", "status=done", "epic_id=e5", "query=part"),
    "/tasks/{task_id}": ("", "before={middle}"),
    "/tasks/{task_id}/files": ("",),
    "/workers": ("", "task_id={task_id}"),
    "/workers/{worker_id}": ("",),
    "/merge": ("", "ended=100"),
    "/merge/{entry_id}": ("",),
    "/approvals": ("", "state=all"),
    "/reviews": ("", "task_id={task_id}"),
    "/reviews/{review_id}": ("",),
    "/alerts": ("",),
    "/recoveries": ("", "task_id={task_id}"),
    "/providers": ("",),
    "/plan": ("", "days=84"),
    "/plan/graph": ("",),
    "/plan/forecast": ("",),
    "/events": (
        "",
        "before={middle}",
        "task_id={task_id}",
        "kind=task.completed",
        "kind=task.cancelled",
        "task_id={task_id}&kind=task.cancelled",
    ),
}
"""Addresses, and what is asked of each."""
_NO_FLOOR = ("/plan/graph", "/plan/forecast", "/tasks/{task_id}/files", "/reviews/{review_id}")
"""What they show is worked out in the background, or is in a repository."""
_TROUBLES = 20
_EVENTS = 10
_SETTLED_SECONDS = 180.0


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    size = 10_000 if quick else 100_000
    workspace = folder / "http-pages"
    database = seeding.copied(seeding.kept(f"tasks-{size}-events", lambda: seeding.groups(size), _EVENTS), workspace)
    names = {**history.write(database), "middle": str(size * _EVENTS // 2)}
    environ = {**os.environ, "ROOT": str(workspace)}
    with (
        served([*PRODUCT, "--no-run"], environ) as (client, pid),
        served(FLOOR, environ) as (floor, _),
        _reader(workspace) as reads,
    ):
        _trouble(client)
        _settle(client)
        cases = {
            f"{page.address}?{asked}".rstrip("?"): (page, asked) for page in PAGES for asked in CASES[page.address]
        }
        works: dict[str, Callable[[], object]] = {"floor": lambda: floor.get("/").raise_for_status()}
        used: dict[str, list[float]] = {}
        sizes: dict[str, int] = {}
        for name, (page, asked) in cases.items():
            address = name.format(**names)
            sizes[name] = len(client.get(address).raise_for_status().content)
            works[name] = partial(_shown, client, address, pid, used.setdefault(name, []))
            if page.address not in _NO_FLOOR:
                path = {part: value for part, value in names.items() if f"{{{part}}}" in page.address}
                works[f"reads of {name}"] = partial(reads, page, path, dict(parse_qsl(asked.format(**names))))
        taken = in_turns(10 if quick else 60, works, seconds=300.0)
    nothing = Floor("a route that does nothing", p50(taken["floor"]))
    for name in cases:
        samples, alone = taken[name], taken.get(f"reads of {name}")
        floors = [nothing] if alone is None else [Floor("its reads alone", p50(alone)), nothing]
        report.add(
            Figure(
                f"page {name}", "ms", p50(samples), size=size, p99=p99(samples), floors=floors, targets=[Target(500.0)],
                samples=len(samples),
                note=f"p95 {percentile(samples, 0.95):.0f} ms; {p50(used[name]):.0f} ms of CPU; {sizes[name]:,} bytes",
            )
        )  # fmt: skip


def _shown(client: httpx2.Client, address: str, pid: int, used: list[float]) -> float:
    """Milliseconds; adds those that the server's processors worked meanwhile, which other programs lengthen little."""
    before, began = _worked(pid), time.perf_counter()
    client.get(address).raise_for_status()
    taken = (time.perf_counter() - began) * 1000
    used.append(_worked(pid) - before)
    return taken


def _worked(pid: int) -> float:
    """Milliseconds of processor time of another process: `clock_getcpuclockid` of Linux, which Python does not have."""
    return time.clock_gettime((~pid << 3) | 2) * 1000


Reads = Callable[[Page, dict[str, str], dict[str, str]], float]


@contextmanager
def _reader(workspace: Path) -> Generator[Reads]:
    """What a page reads, within this process: neither HTTP nor HTML. In milliseconds."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(desk(workspace, "reader")) as one:
        parts: dict[type | str, object] = {
            Commits: CommitsOfRoot(workspace, workspace / "state"),
            WorkerLogs: WorkerLogFiles(workspace / "state" / "workers"),
        }
        services = one.services.having(parts)
        caller = replace(one.caller, role=Role.VIEWER)
        yield partial(_read, portal, partial(Visit, services, caller, LOOPBACK_READER))


def _read(
    portal: BlockingPortal, visit: Callable[..., Visit], page: Page, path: dict[str, str], query: dict[str, str]
) -> float:
    async def reading() -> float:
        began = time.perf_counter()
        await page.read(visit(path, query))
        return (time.perf_counter() - began) * 1000

    return portal.call(reading)


def _settle(client: httpx2.Client) -> None:
    """The leader has walked over the whole plan, and the graph is there: else every page is measured beside that."""
    until = time.monotonic() + _SETTLED_SECONDS
    while "pending" in client.get("/plan/graph.json").raise_for_status().json():
        if time.monotonic() > until:
            raise RuntimeError(f"the graph of the plan is not there after {_SETTLED_SECONDS:.0f} s")
        time.sleep(1.0)


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
