"""The page: its data beside the same over stdio, how soon open tabs see what happened, and what they cost meanwhile."""

import asyncio
import gzip
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import quote

import httpx2
import psutil

from scripts.bench_front import SERVER
from scripts.benchmarks import seeding
from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.over_stdio import Tool, client
from scripts.benchmarks.timing import in_turns, p50, p99
from wvo_mcp.faces.http.pages import PAGES

_TASKS = 10_000
_STREAMS = 200
_AGENTS = 16
_REQUESTS_PER_SECOND = 50
_READ = ("/index.json", "/events.json", "/alerts.json", "/approvals.json", "/tasks")
_LOADED = re.compile(r'<(?:script|link|img|div)\b[^>]*?\b(?:src|href|data-layout)="(/[^"]+)"')
_LIBRARY = re.compile(r'\bdata-library="([^"]+)"')
"""Of the worker that lays out the graph."""
_ENDED = "an agent has ended"
_INTERNAL = re.compile(rf"code\W+internal\b|{_ENDED}")
_HEAD = "GET /stream?page={page} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"
_SHOWN = ("/", "/tasks", "/workers", "/merge", "/approvals", "/reviews", "/alerts", "/providers", "/plan", "/events")


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    """On a store of 10,000 tasks in SQLite."""
    workspace = folder / "web"
    seeding.copied(seeding.kept(f"tasks-{_TASKS}", lambda: seeding.groups(_TASKS)), workspace)
    with _served(workspace) as (site, process), client(SERVER, workspace, WVO_TOOLSETS="all") as tool:
        _beside_stdio(report, site, tool, 50 if quick else 400)
        _first_load(report, site)
        asyncio.run(_tabs(report, site, process, tool, 10 if quick else 100, 2.0 if quick else 20.0))
        _load(report, site, workspace, 3.0 if quick else 20.0)


def _beside_stdio(report: Report, site: httpx2.Client, tool: Tool, rounds: int) -> None:
    taken = in_turns(
        rounds,
        {
            "stdio": lambda: tool("events", last=True, limit=50),
            "page": lambda: site.get("/events.json").raise_for_status(),
        },
    )
    report.add(
        Figure(
            "/events.json", "ms", p50(taken["page"]), size=_TASKS, p99=p99(taken["page"]),
            floors=[Floor("the operation over stdio", p50(taken["stdio"]))], targets=[Target(1.5, "ratio")],
            samples=rounds,
        )
    )  # fmt: skip


def _first_load(report: Report, site: httpx2.Client) -> None:
    """All that a browser loads for a page, compressed as a proxy would; what scripts load by themselves too."""
    loads: dict[str, float] = {}
    for page in PAGES:
        if "{" in page.address:
            continue
        html = site.get(page.address).raise_for_status()
        named = {*_LOADED.findall(html.text), *_LIBRARY.findall(html.text)}
        parts = [html.content, *(site.get(one).raise_for_status().content for one in named)]
        loads[page.address] = sum(len(gzip.compress(part)) for part in parts) / 1000
    largest = max(loads, key=lambda address: loads[address])
    report.add(
        *(
            Figure(f"first load of {name}, gzipped", "KB", loads[address], targets=[Target(100.0)])
            for name, address in (
                ("/", "/"),
                ("/plan, with its graph", "/plan"),
                (f"the largest page, {largest}", largest),
            )
        )
    )


async def _tabs(
    report: Report, site: httpx2.Client, process: psutil.Process, tool: Tool, rounds: int, idle: float
) -> None:
    """Open streams of a page: how soon each is sent what happened, what ten cost idle, and what 200 take of memory."""
    port = int(str(site.base_url).rstrip("/").rpartition(":")[2])
    before = process.memory_info().rss
    tabs = [await _Tab.opened(port) for _ in range(10)]
    await asyncio.sleep(2.0)
    share = await _worked(process, idle)
    report.add(
        Figure("CPU of a server with ten open tabs of one page, idle", "%", share, size=_TASKS, targets=[Target(1.0)])
    )
    others = [await _Tab.opened(port, page) for page in _SHOWN]
    await asyncio.sleep(2.0)
    share = await _worked(process, idle)
    report.add(Figure("the same with a tab of each of ten pages more", "%", share, size=_TASKS, note="20 tabs"))
    for tab in others:
        tab.close()
    waits: list[float] = []
    for number in range(rounds):
        began = time.perf_counter()
        await asyncio.to_thread(tool, "create_tasks", tasks=[{"title": f"seen {number}"}])
        await asyncio.gather(*(tab.until(f"seen {number}") for tab in tabs))
        waits.append((time.perf_counter() - began) * 1000)
    report.add(
        Figure(
            "from a call over stdio until ten tabs were sent it", "ms", p50(waits), size=_TASKS, p99=p99(waits),
            targets=[Target(1000.0)], samples=rounds,
        )
    )  # fmt: skip
    tabs += [await _Tab.opened(port) for _ in range(_STREAMS - len(tabs))]
    await asyncio.sleep(1.0)
    grown = (process.memory_info().rss - before) / 2**20
    report.add(
        Figure(
            f"memory of {_STREAMS} open streams",
            "MiB",
            grown,
            size=_TASKS,
            note=f"{grown / _STREAMS * 1024:.0f} KiB each",
        )
    )
    for tab in tabs:
        tab.close()


async def _worked(process: psutil.Process, seconds: float) -> float:
    """Percent of one core."""
    before = process.cpu_times()
    await asyncio.sleep(seconds)
    now = process.cpu_times()
    return 100 * (now.user + now.system - before.user - before.system) / seconds


class _Tab:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def opened(cls, port: int, page: str = "/events") -> "_Tab":
        tab = cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**22))
        tab._writer.write(_HEAD.format(page=quote(page, safe="")).encode())
        await tab.until("id: ")
        return tab

    async def until(self, text: str) -> None:
        async with asyncio.timeout(30):
            while text.encode() not in await self._reader.readline():
                pass

    def close(self) -> None:
        self._writer.close()


def _load(report: Report, site: httpx2.Client, workspace: Path, seconds: float) -> None:
    """Pages read and notes written at a steady rate, beside stdio servers whose agents work without a pause. Each is timed
    from when it was due, so that one that is late delays none of the others' figures. Raises RuntimeError for any `internal`.
    """
    stop = threading.Event()
    failures: list[str] = []
    taken: dict[str, list[float]] = {"reads": [], "writes": []}
    with ExitStack() as stack:
        tools = [stack.enter_context(client(SERVER, workspace, WVO_AGENT_ID=f"agent{n}")) for n in range(_AGENTS)]
        workers = [threading.Thread(target=_work, args=(tool, stop, failures)) for tool in tools]
        requests = stack.enter_context(ThreadPoolExecutor(_REQUESTS_PER_SECOND))
        for worker in workers:
            worker.start()
        began = time.perf_counter()
        for number in range(int(seconds * _REQUESTS_PER_SECOND)):
            due = began + number / _REQUESTS_PER_SECOND
            time.sleep(max(0.0, due - time.perf_counter()))
            requests.submit(_request, site, number, due, taken, failures)
        requests.shutdown()
        stop.set()
        for worker in workers:
            worker.join()
    internal = [one for one in failures if _INTERNAL.search(one)]
    if internal:
        raise RuntimeError(f"{len(internal)} answers are `internal`, the first one: {internal[0]}")
    for kind, samples in taken.items():
        report.add(
            Figure(
                f"{kind}, of {_REQUESTS_PER_SECOND} requests a second beside {_AGENTS} busy stdio servers", "ms", p50(samples),
                size=_TASKS, p99=p99(samples), targets=[Target(100.0, "p99")] if kind == "reads" else [],
                samples=len(samples), note=f"{len(failures)} of all calls refused, none of them `internal`",
            )
        )  # fmt: skip


def _request(site: httpx2.Client, number: int, due: float, taken: dict[str, list[float]], failures: list[str]) -> None:
    """Every fifth one writes."""
    try:
        if number % 5 == 0:
            answer = site.post("/api/context_write", json={"topic": f"bench{number % 50}", "content": f"note {number}"})
        else:
            answer = site.get(_READ[number % len(_READ)])
        text = None if answer.status_code == 200 else answer.text
    except httpx2.HTTPError as error:
        text = repr(error)
    taken["writes" if number % 5 == 0 else "reads"].append((time.perf_counter() - due) * 1000)
    if text is not None:
        failures.append(text)


def _work(tool: Tool, stop: threading.Event, failures: list[str]) -> None:
    """Whatever ends it is seen: an agent that no longer works would make the load lighter than it is said to be."""
    while not stop.is_set():
        try:
            claim: dict[str, Any] = tool("claim_task")
            if claim.get("task") is not None:
                tool("complete_task", task_id=claim["task"]["id"], summary="done")
        except Exception as error:
            failures.append(str(error))
            if not isinstance(error, RuntimeError):
                failures.append(f"{_ENDED}: {error!r}")
                return


@contextmanager
def _served(workspace: Path) -> Generator[tuple[httpx2.Client, psutil.Process]]:
    command = [sys.executable, "-m", "wvo_mcp", "serve", "--http", "--port", "0", "--no-run"]
    environ = {**os.environ, "ROOT": str(workspace)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            shown = cast("IO[bytes]", process.stdout).readline().decode()
            found = re.search(r"http://[^/\s]+", shown)
            if found is None:
                raise RuntimeError(f"the server said {json.dumps(shown)}")
            with httpx2.Client(base_url=found[0], timeout=30) as site:
                yield site, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(30)
