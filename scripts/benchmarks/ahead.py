"""What lies ahead: the critical path, the forecast and an import, and how long others wait meanwhile."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import anyio

from scripts.benchmarks.figures import Figure, Floor, Report
from scripts.benchmarks.product import Desk, desk
from scripts.benchmarks.seeding import copied, groups, kept
from wvo_mcp.store.sqlite.connection import sqlite


def measure(report: Report, *, sizes: list[int], quick: bool, folder: Path) -> None:
    for size in [size for size in sizes if size <= 100_000]:
        workspace = folder / f"ahead-{size}"
        copied(kept(f"groups-{size}", lambda size=size: groups(size)), workspace)
        asyncio.run(_looks_ahead(report, size, workspace))
    asyncio.run(_import(report, 1_000 if quick else 10_000, folder / "imported"))


async def _looks_ahead(report: Report, size: int, workspace: Path) -> None:
    floor = _read_all(workspace / "state" / "state.db")
    async with desk(workspace, "bench") as here:
        alone = await _waited(here, anyio.sleep, 1.0)
        began = time.perf_counter()
        path, worst = await _beside(here, "critical_path")
        report.add(
            Figure(
                "critical_path",
                "s",
                time.perf_counter() - began,
                size,
                floors=[Floor("reading the rows alone", floor)],
                note=f"{path['length']} of {path['tasks']} tasks; longest plan_next beside it {worst * 1000:.0f} ms",
            )
        )
        began = time.perf_counter()
        found, worst = await _beside(here, "forecast")
        report.add(
            Figure(
                "forecast",
                "s",
                time.perf_counter() - began,
                size,
                note=f"{found['runs']} runs of {found['open']} tasks; longest plan_next beside it {worst * 1000:.0f} ms,"
                f" beside nothing {alone * 1000:.0f} ms",
            )
        )


def _read_all(path: Path) -> float:
    began = time.perf_counter()
    raw = sqlite.connect(str(path))
    for statement in (
        "SELECT id, parent_id, epic_id, milestone_id, status, priority, complexity, business_value, not_before, started_at"
        " FROM tasks WHERE status NOT IN ('done', 'cancelled') ORDER BY score DESC, seq",
        "SELECT task_id, depends_on_task_id FROM task_dependencies",
    ):
        raw.execute(statement).fetchall()
    raw.close()
    return time.perf_counter() - began


async def _beside(here: Desk, name: str) -> tuple[dict[str, Any], float]:
    """What the operation gives, and the longest `plan_next` that somebody asked for meanwhile."""
    found: dict[str, Any] = {}

    async def work() -> None:
        found.update(await here.call(name))

    return found, await _waited(here, work)


async def _waited(here: Desk, work: Any, *arguments: Any) -> float:
    longest = 0.0
    async with anyio.create_task_group() as tasks:
        ended = anyio.Event()

        async def watched() -> None:
            await work(*arguments)
            ended.set()

        tasks.start_soon(watched)
        while not ended.is_set():
            began = time.perf_counter()
            await here.call("plan_next", limit=1)
            longest = max(longest, time.perf_counter() - began)
            await anyio.sleep(0.01)
    return longest


async def _import(report: Report, size: int, workspace: Path) -> None:
    lines = [
        json.dumps(
            {"id": f"i{n}", "title": f"Do {n}", "epic_id": f"e{n // 500}", "depends_on": [f"i{n - 1}"] if n % 5 else []}
        )
        for n in range(size)
    ]
    (workspace / "state").mkdir(parents=True)
    async with desk(workspace, "bench") as here:
        began = time.perf_counter()
        found: dict[str, Any] = {}

        async def work() -> None:
            found.update(await here.call("import_tasks", text="\n".join(lines)))

        longest = await _waited(here, work)
        took = time.perf_counter() - began
        report.add(
            Figure(
                "import_tasks, lines of JSONL",
                "s",
                took,
                size,
                note=f"{found['created_count']} created, {size / took:,.0f} a second; longest plan_next beside it"
                f" {longest * 1000:.0f} ms",
            )
        )
        began = time.perf_counter()
        again = await here.call("import_tasks", text="\n".join(lines))
        report.add(
            Figure(
                "the same again",
                "s",
                time.perf_counter() - began,
                size,
                note=f"{again['existing_count']} there already",
            )
        )
