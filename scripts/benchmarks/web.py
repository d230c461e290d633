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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import httpx2
import psutil

from scripts.bench_front import SERVER
from scripts.benchmarks import seeding
from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.over_stdio import Tool, client
from scripts.benchmarks.timing import in_turns, p50, p99

_TASKS = 10_000
_STREAMS = 200
_AGENTS = 16
_REQUESTS_PER_SECOND = 50
_HEAD = b"GET /stream?page=%2Fevents HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"


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
    """All that a browser loads for a page, compressed as a proxy would."""
    largest = 0
    for address in ("/", "/tasks", "/plan", "/providers", "/events"):
        html = site.get(address)
        if html.status_code != 200:
            continue
        named = re.findall(r'(?:src|href)="(/static/[^"]+)"', html.text)
        parts = [html.content, *(site.get(one.replace("&amp;", "&")).content for one in named)]
        largest = max(largest, sum(len(gzip.compress(part)) for part in parts))
    report.add(Figure("the largest first load of a page, gzipped", "KB", largest / 1000, targets=[Target(100.0)]))


async def _tabs(
    report: Report, site: httpx2.Client, process: psutil.Process, tool: Tool, rounds: int, idle: float
) -> None:
    """Open streams of a page: how soon each is sent what happened, what ten cost idle, and what 200 take of memory."""
    port = int(str(site.base_url).rstrip("/").rpartition(":")[2])
    before = process.memory_info().rss
    tabs = [await _Tab.opened(port) for _ in range(10)]
    await asyncio.sleep(2.0)
    used = process.cpu_times()
    await asyncio.sleep(idle)
    now = process.cpu_times()
    share = 100 * (now.user + now.system - used.user - used.system) / idle
    report.add(Figure("CPU of a server with ten open tabs, idle", "%", share, size=_TASKS, targets=[Target(1.0)]))
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


class _Tab:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def opened(cls, port: int) -> "_Tab":
        tab = cls(*await asyncio.open_connection("127.0.0.1", port, limit=2**22))
        tab._writer.write(_HEAD)
        await tab.until("id: ")
        return tab

    async def until(self, text: str) -> None:
        async with asyncio.timeout(30):
            while text.encode() not in await self._reader.readline():
                pass

    def close(self) -> None:
        self._writer.close()


def _load(report: Report, site: httpx2.Client, workspace: Path, seconds: float) -> None:
    """Reads of pages at a steady rate, beside stdio servers whose agents work without a pause."""
    stop = threading.Event()
    failures: list[str] = []
    with ExitStack() as stack:
        tools = [stack.enter_context(client(SERVER, workspace, WVO_AGENT_ID=f"agent{n}")) for n in range(_AGENTS)]
        workers = [threading.Thread(target=_work, args=(tool, stop, failures)) for tool in tools]
        for worker in workers:
            worker.start()
        taken: list[float] = []
        began = time.perf_counter()
        addresses = ("/index.json", "/events.json", "/alerts.json", "/approvals.json")
        for number in range(int(seconds * _REQUESTS_PER_SECOND)):
            pause = began + number / _REQUESTS_PER_SECOND - time.perf_counter()
            if pause > 0:
                time.sleep(pause)
            asked = time.perf_counter()
            answer = site.get(addresses[number % len(addresses)])
            taken.append((time.perf_counter() - asked) * 1000)
            if answer.status_code != 200:
                failures.append(answer.text)
        stop.set()
        for worker in workers:
            worker.join()
    internal = sum("internal" in one for one in failures)
    report.add(
        Figure(
            f"reads of pages, {_REQUESTS_PER_SECOND} a second beside {_AGENTS} busy stdio servers", "ms", p50(taken),
            size=_TASKS, p99=p99(taken), targets=[Target(100.0)], samples=len(taken),
            note=f"{len(failures)} refused, {internal} of them `internal`",
        )
    )  # fmt: skip


def _work(tool: Tool, stop: threading.Event, failures: list[str]) -> None:
    while not stop.is_set():
        try:
            claim: dict[str, Any] = tool("claim_task")
            if claim.get("task") is not None:
                tool("complete_task", task_id=claim["task"]["id"], summary="done")
        except RuntimeError as error:
            failures.append(str(error))


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
