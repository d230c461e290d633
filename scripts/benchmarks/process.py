"""What a process costs: starting, memory, idling, a shell command, an import; and what a model reads."""

import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

import anyio
import psutil
import yaml

from scripts.bench_front import HELLO, INITIALIZED, SERVER, ask, start_to_reply
from scripts.benchmarks import seeding
from scripts.benchmarks.bare import Bare
from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.product import desk
from scripts.benchmarks.timing import in_turns, p50, p99
from wvo_mcp.operations import Operation, tools

COMMAND = str(Path(sys.executable).parent / "wvo-mcp")


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    """Start, shell, memory, idle CPU, import, full epic, bytes."""
    _start(report, 10 if quick else 30)
    _first_answer(report, folder, 5 if quick else 20)
    _shell(report, folder, 5 if quick else 20)
    _resident(report, folder, 4.0 if quick else 20.0)
    _import(report, folder, 1_000 if quick else 10_000)
    anyio.run(_full_epic, report, folder, 10_000 if quick else 100_000)
    for name, toolsets, bound in (("core", frozenset({"core"}), 12_000), ("all", None, 44_000)):
        shown = [_shown(op) for op in tools(toolsets)]
        size = len(json.dumps(shown, separators=(",", ":"), ensure_ascii=False).encode())
        report.add(
            Figure(
                f"tools/list as a model reads it, {name} ({len(shown)} tools)", "bytes", size, targets=[Target(bound)]
            )
        )


def _shown(op: Operation) -> dict[str, object]:
    return {"name": op.name, "description": op.summary, "inputSchema": op.schema}


def _start(report: Report, runs: int) -> None:
    taken = start_to_reply(runs)
    floor = Floor("python -c pass", taken["floor"]["p50"])
    for name, key in (("process start to first reply", "first_reply"), ("process start to tool list", "tools")):
        targets = [Target(150.0), Target(6.0, "ratio")]
        report.add(
            Figure(name, "ms", taken[key]["p50"], p99=taken[key]["p99"], floors=[floor], targets=targets, samples=runs)
        )


def _first_answer(report: Report, folder: Path, runs: int) -> None:
    workspace = folder / "first"
    seeding.copied(seeding.kept("tasks-1000", lambda: seeding.groups(1_000)), workspace)
    environ = {**os.environ, "ROOT": str(workspace)}
    plan: dict[str, Any] = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "plan_next", "arguments": {}},
    }

    def started(count: int) -> float:
        began = time.perf_counter()
        servers = [
            subprocess.Popen(SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) for _ in range(count)
        ]
        for server in servers:
            cast("IO[bytes]", server.stdin).write(_lines(HELLO, INITIALIZED, plan))
            cast("IO[bytes]", server.stdin).flush()
        for server in servers:
            ask(server)  # the handshake
            ask(server)
        passed = (time.perf_counter() - began) * 1000
        for server in servers:
            server.communicate()  # closes its pipe, and waits until it has ended its session
        return passed

    def nothing() -> None:
        subprocess.run([sys.executable, "-c", "pass"], check=True)

    taken = in_turns(runs, {"one": lambda: started(1), "eight": lambda: started(8), "floor": nothing}, warm_up=1)
    floors = [Floor("python -c pass", p50(taken["floor"]))]
    for name, key, target in (
        ("process start to the answer of a first plan_next", "one", 400.0),
        ("eight servers started at once, until each has answered a first plan_next", "eight", 1_500.0),
    ):
        report.add(
            Figure(
                name, "ms", p50(taken[key]), size=1_000, p99=p99(taken[key]), floors=floors, targets=[Target(target)],
                samples=runs,
            )
        )  # fmt: skip


def _lines(*messages: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def _shell(report: Report, folder: Path, runs: int) -> None:
    workspace = folder / "shell"
    seeding.copied(seeding.kept("tasks-1000", lambda: seeding.groups(1_000)), workspace)
    environ = {**os.environ, "ROOT": str(workspace)}

    def plan() -> None:
        subprocess.run([COMMAND, "plan-next", "--json"], env=environ, check=True, capture_output=True)

    def nothing() -> None:
        subprocess.run([sys.executable, "-c", "pass"], check=True)

    taken = in_turns(runs, {"product": plan, "floor": nothing}, warm_up=1)
    floors = [Floor("python -c pass", p50(taken["floor"]))]
    report.add(
        Figure(
            "wvo-mcp plan-next --json from the shell", "ms", p50(taken["product"]), size=1_000, p99=p99(taken["product"]),
            floors=floors, targets=[Target(400.0)], samples=len(taken["product"]),
        )
    )  # fmt: skip


def _resident(report: Report, folder: Path, seconds: float) -> None:
    workspace = folder / "resident"
    seeding.copied(seeding.kept("tasks-10000", lambda: seeding.groups(10_000)), workspace)
    environ = {**os.environ, "ROOT": str(workspace)}
    with subprocess.Popen(SERVER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as server:
        try:
            ask(server, HELLO, INITIALIZED)
            names = ["plan_next"] * 50 + ["claim_task", "list_tasks", "context_read"]
            for number, name in enumerate(names, 1):
                ask(
                    server,
                    {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": name, "arguments": {}}},
                )
            process = psutil.Process(server.pid)
            report.add(
                Figure(
                    "memory of a server (RSS)",
                    "MiB",
                    process.memory_info().rss / 2**20,
                    size=10_000,
                    targets=[Target(80.0)],
                )
            )
            time.sleep(3.0)  # what the start left to do in the background is done
            before, began = process.cpu_times(), time.monotonic()
            time.sleep(seconds)
            after, passed = process.cpu_times(), time.monotonic() - began
            used = (after.user + after.system - before.user - before.system) / passed * 100
            report.add(
                Figure(
                    "CPU of an idle server that holds a task and leads",
                    "%",
                    used,
                    targets=[Target(0.5)],
                    note=f"over {passed:.0f} s",
                )
            )
        finally:
            server.kill()


def _import(report: Report, folder: Path, size: int) -> None:
    workspace = folder / "import"
    path = workspace / "state" / "roadmap.yaml"
    path.parent.mkdir(parents=True)
    lines = ["epics:"]
    for number in range(size):
        if number % 100 == 0:
            lines += [f"  - id: E{number // 100}", f"    title: Epic {number // 100}", "    tasks:"]
        lines += [
            f"      - id: T{number}",
            f"        title: Task number {number} of a long roadmap",
            "        priority: high",
            "        complexity: 3",
            f"        depends_on: [{', '.join(f'T{n}' for n in {number - 1, number // 2} if 0 <= n < number and number % 7)}]",
            "        labels: [backend, import]",
            '        acceptance: ["unit tests pass", "the page shows it"]',
        ]
    path.write_text("\n".join(lines) + "\n")
    began = time.perf_counter()
    deque(cast("Iterable[Any]", yaml.parse(path.read_bytes(), Loader=yaml.CSafeLoader)), maxlen=0)  # pyright: ignore
    floor = Floor("libyaml's events alone", time.perf_counter() - began)
    began = time.perf_counter()
    subprocess.run(
        [COMMAND, "roadmap-sync"], env={**os.environ, "ROOT": str(workspace)}, check=True, capture_output=True
    )
    passed = time.perf_counter() - began
    report.add(
        Figure(f"import of a roadmap of {size:,} tasks", "s", passed, size=size, floors=[floor], targets=[Target(5.0)])
    )


async def _full_epic(report: Report, folder: Path, size: int) -> None:
    source = seeding.kept(f"full-{size}", lambda: seeding.full_epic(size))
    workspace = folder / "full"
    path = seeding.copied(source, workspace)
    bare = Bare(seeding.copied(source, folder / "full-bare"))
    async with desk(workspace, "bench", wip_limit=1_000_000) as here:
        other = Bare(path)
        other.close_epic("full")
        other.close()
        taken: list[float] = []
        floor: list[float] = []
        for number in range(220):
            began = time.perf_counter()
            claim = await here.call("claim_task", agent_id=f"a{number}")
            taken.append((time.perf_counter() - began) * 1e3)
            if claim["task"] is None or not claim["task"]["id"].startswith("free"):
                raise RuntimeError(f"claimed {claim}")
            began = time.perf_counter()
            bare.claim()
            floor.append((time.perf_counter() - began) * 1e3)
    bare.close()
    taken, floor = taken[20:], floor[20:]
    report.add(
        Figure(
            f"claim behind {size:,} ready tasks of a full epic", "ms", p50(taken), size=size + 2_000, p99=p99(taken),
            floors=[Floor("bare SQL, nothing full", p50(floor))], targets=[Target(2.0)], samples=len(taken),
        )
    )  # fmt: skip
