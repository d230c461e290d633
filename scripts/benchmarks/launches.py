"""What lies between a claim and a worker's first event, less the start of its program: in a plain folder, without setup."""

import json
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio

from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.timing import p50, p99
from wvo_mcp.app.autopilot import run_autopilot
from wvo_mcp.domain.agents import AgentEvent
from wvo_mcp.domain.autopilot import AutopilotOptions
from wvo_mcp.domain.providers.trust import parts_of
from wvo_mcp.execution.agents.lines import LineDriver, LineRun
from wvo_mcp.execution.agents.scripted import scripted
from wvo_mcp.execution.providers.parse import parse
from wvo_mcp.execution.trust import PROVIDERS, Trust
from wvo_mcp.orchestration.pool import launching
from wvo_mcp.ports.agents import Launch
from wvo_mcp.project import Project
from wvo_mcp.settings import settings_of

_PROVIDERS = """\
providers:
  scripted:
    kind: openai
    place: cloud
    base_url: http://127.0.0.1:9
    tiers:
      low: {model: a script, cost: {input: 3, output: 15}}
"""


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    times = 5 if quick else 40
    root = folder / "launches"
    (root / "state").mkdir(parents=True)
    tasks = [{"id": f"T{number}", "title": "A task", "complexity": 2} for number in range(times)]
    (root / "state/roadmap.yaml").write_text(json.dumps({"epics": [{"id": "E", "title": "E", "tasks": tasks}]}))
    (root / "state/providers.yaml").write_text(_PROVIDERS)
    environ = {"HOME": str(folder), "PATH": os.environ["PATH"], "ROOT": str(root)}
    before = dict(os.environ)
    os.environ.clear()
    os.environ |= {**environ, "XDG_CONFIG_HOME": str(folder / "config")}
    try:
        Trust(os.environ, root).accept(PROVIDERS, parts_of(parse(_PROVIDERS.encode(), "providers.yaml")))
        ours, starts = anyio.run(_launches, root, [str(task["id"]) for task in tasks])
    finally:
        os.environ.clear()
        os.environ |= before
    floors = [Floor("the program's own start, not counted", p50(starts))]
    report.add(
        Figure(
            "claim to a worker's first event, our share",
            "ms",
            p50(ours),
            p99=p99(ours),
            floors=floors,
            targets=[Target(300)],
            samples=times,
        )
    )


async def _launches(root: Path, tasks: list[str]) -> tuple[list[float], list[float]]:
    """Milliseconds of each launch: ours, and those of the program, from its start to its first event."""
    done = [{"call": "complete_task", "with": {"summary": "Done."}}] * 2
    driver = _Timed(scripted({task: [done] for task in tasks}))
    settings = settings_of(Project(os.environ, str(root)))
    options = AutopilotOptions(agents=1, wait=False)
    claim = launching.claims.claim

    async def timed(*given: Any, **more: Any) -> Any:
        driver.claimed = time.perf_counter()
        return await claim(*given, **more)

    launching.claims.claim = timed
    try:
        async with run_autopilot(settings, options, lambda _: None, {"openai": cast("Any", driver)}) as run:
            await run.work()
    finally:
        launching.claims.claim = claim
    return driver.ours, driver.starts


class _Timed:
    """A driver that notes when it is asked to start, and when the first event came."""

    def __init__(self, driver: LineDriver) -> None:
        self.name, self.asks, self.answers, self.meaning = driver.name, driver.asks, driver.answers, driver.meaning
        self._driver = driver
        self.claimed = 0.0
        self.ours: list[float] = []
        self.starts: list[float] = []

    @asynccontextmanager
    async def start(self, launch: Launch) -> AsyncGenerator[LineRun]:
        self.ours.append((time.perf_counter() - self.claimed) * 1_000)
        begun = time.perf_counter()
        async with self._driver.start(launch) as run:
            events = run.events

            async def noted() -> AsyncIterator[AgentEvent]:
                first = True
                async for event in events():
                    if first:
                        first = False
                        self.starts.append((time.perf_counter() - begun) * 1_000)
                    yield event

            run.events = noted
            yield run
