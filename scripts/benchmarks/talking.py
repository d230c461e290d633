"""What messages and reservations of others cost a call that has nothing to do with them."""

import os
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio

from scripts.bench_front import SERVER
from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.over_stdio import client
from scripts.benchmarks.product import Desk, desk
from scripts.benchmarks.timing import in_turns, p50, p99
from wvo_mcp.operations import notices
from wvo_mcp.ports import Transaction

RESERVATIONS, MESSAGES = 1_000, 10_000
_TASKS = 400


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    """On SQLite, and on PostgreSQL where `WVO_BENCH_DATABASES` names two empty databases of its own, with a comma between."""
    rounds = 60 if quick else 1_500
    call = _over_stdio(rounds, folder / "talking-stdio")
    anyio.run(_measure, report, rounds, folder / "talking", "SQLite", (None, None), call)
    if urls := os.environ.get("WVO_BENCH_DATABASES"):
        busy, plain = urls.split(",")
        anyio.run(_measure, report, rounds, folder / "talking-postgres", "PostgreSQL", (busy, plain), call)


def _over_stdio(rounds: int, workspace: Path) -> float:
    """A heartbeat as a client waits for it, in milliseconds."""
    (workspace / "state").mkdir(parents=True)
    with client(SERVER, workspace) as tool:
        tool("create_tasks", tasks=[{"title": "t"}])
        task_id = tool("claim_task")["task"]["id"]
        return p50(in_turns(rounds, {"beat": lambda: tool("heartbeat", task_id=task_id)})["beat"])


async def _measure(
    report: Report, rounds: int, folder: Path, kind: str, urls: tuple[str | None, str | None], call: float
) -> None:
    async with AsyncExitStack() as stack:
        desks: dict[str, Desk] = {}
        for name, url in zip(("busy", "plain"), urls, strict=True):
            desks[name] = await stack.enter_async_context(_working(folder / name, url))
        await desks["busy"].services.store.write(desks["busy"].caller, _fill)
        claims, beats = await _claims(desks, rounds)
        silent = await _without_notices(desks["busy"], rounds)
    report.add(
        Figure(
            f"claim_task of a task with files, {RESERVATIONS:,} reservations of others, {kind}",
            "ms",
            p50(claims["busy"]),
            p99=p99(claims["busy"]),
            floors=[Floor("the same without any", p50(claims["plain"]))],
            targets=[Target(1.2, "ratio")],
            samples=rounds,
        )
    )
    report.add(
        Figure(
            f"heartbeat, {MESSAGES:,} messages open for others, {kind}",
            "ms",
            p50(beats["busy"]),
            p99=p99(beats["busy"]),
            floors=[Floor("the same without any", p50(beats["plain"]))],
            targets=[Target(1.05, "ratio")],
            samples=rounds,
        )
    )
    cost = p50(silent["told"]) - p50(silent["silent"])
    report.add(
        Figure(
            f"heartbeat over stdio with the look for notices, {kind}",
            "ms",
            call,
            floors=[Floor("without that look", call - cost)],
            targets=[Target(1.05, "ratio")],
            samples=rounds,
            note=f"the look: {cost * 1000:.0f} us of {p50(silent['told']) * 1000:.0f} us within the process",
        )
    )


@asynccontextmanager
async def _working(folder: Path, url: str | None) -> AsyncGenerator[Desk]:
    (folder / "state").mkdir(parents=True)
    async with desk(folder, "ann", url=url) as one:
        tasks = [{"title": f"t{n}", "files": [f"src/part{n % 40}/**"]} for n in range(_TASKS)]
        await one.call("create_tasks", tasks=tasks)
        yield one


async def _fill(tx: Transaction) -> None:
    until = {"expires_at": "2100-01-01T00:00:00.000Z", "mode": "exclusive"}
    for number in range(RESERVATIONS):
        await tx.reservations.add({"agent_id": f"eve.{number % 20}", "pattern": f"lib/area{number}/**", **until})
    for number in range(MESSAGES):
        await tx.messages.add({"to_agent": f"eve.{number % 20}", "kind": "note", "body": "look at this"})


async def _claims(desks: dict[str, Desk], rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    claims: dict[str, list[float]] = {name: [] for name in desks}
    beats: dict[str, list[float]] = {name: [] for name in desks}
    order = list(desks.items())
    for _ in range(rounds):
        for name, one in order:
            began = time.perf_counter()
            claim = await one.call("claim_task")
            claims[name].append((time.perf_counter() - began) * 1000)
            task_id = claim["task"]["id"]
            began = time.perf_counter()
            await one.call("heartbeat", task_id=task_id)
            beats[name].append((time.perf_counter() - began) * 1000)
            await one.call("release_task", task_id=task_id)
        order.reverse()
    return claims, beats


async def _without_notices(one: Desk, rounds: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {"told": [], "silent": []}
    is_told = notices.is_told
    task_id = (await one.call("claim_task"))["task"]["id"]
    try:
        for number in range(2 * rounds):
            name = "told" if number % 2 else "silent"
            notices.is_told = is_told if name == "told" else lambda _: False
            began = time.perf_counter()
            await one.call("heartbeat", task_id=task_id)
            taken[name].append((time.perf_counter() - began) * 1000)
    finally:
        notices.is_told = is_told
    return taken
