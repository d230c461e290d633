"""A project whose autopilot is watched from within, on either kind of store: its agents follow a script, its processes and
repository are real."""

import os
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from tests.support.scale import sized
from wvo_mcp.app.autopilot import Autopilot, run_autopilot
from wvo_mcp.domain.agents import AgentEvent
from wvo_mcp.domain.autopilot import AutopilotOptions
from wvo_mcp.domain.lease import Caller, Role
from wvo_mcp.domain.providers.trust import parts_of
from wvo_mcp.domain.task import Task
from wvo_mcp.domain.worker import Worker
from wvo_mcp.execution.agents.scripted import Steps, scripted
from wvo_mcp.execution.providers.parse import parse
from wvo_mcp.execution.trust import PROVIDERS as PROVIDERS_FILE
from wvo_mcp.execution.trust import Trust
from wvo_mcp.ports.agents import AgentRun, Launch
from wvo_mcp.project import Project
from wvo_mcp.settings import settings_of

PROVIDERS = """\
on_limit: wait
providers:
  scripted:
    kind: openai
    place: cloud
    base_url: http://127.0.0.1:9
    tiers:
      low: {model: a script, effort: high, cost: {input: 1, output: 1}}
"""
OTHER = """\
  other:
    kind: openai
    place: cloud
    base_url: http://127.0.0.1:9
    tiers:
      low: {model: another, cost: {input: 9, output: 9}}
"""
OWNER = Caller("owner", "cli:owner", client="cli", durable=True, role=Role.ADMIN)
WRITES: Mapping[str, Any] = {"write": "made.txt", "text": "made\n"}
DONE: Mapping[str, Any] = {"call": "complete_task", "with": {"summary": "made"}}
_PATIENCE = sized(600, 60)


def _attempts(steps: Steps) -> list[Steps]:
    """A new session after a step that says so does what comes behind it."""
    found: list[list[Mapping[str, Any]]] = [[]]
    for step in steps:
        found[-1].append(step)
        if step.get("fail") == "context":
            found.append([])
    return [*found]


class ByModel:
    """`ports.agents.AgentDriver` of two providers: each has scripts of its own."""

    name, asks, answers = "scripted", True, False

    def __init__(self, scripts: Mapping[str, Mapping[str, Steps]]) -> None:
        self._drivers = {
            model: scripted({name: _attempts(steps) for name, steps in each.items()}) for model, each in scripts.items()
        }

    def start(self, launch: Launch) -> AbstractAsyncContextManager[AgentRun]:
        assert launch.effort == {"a script": "high", "another": None}[launch.model or ""]
        return self._drivers[launch.model or ""].start(launch)

    def meaning(self, line: bytes) -> Iterable[AgentEvent]:
        return ()


@dataclass
class Shop:
    """A project, and runs of the autopilot in it."""

    root: Path
    scripts: dict[str, Steps]
    environ: dict[str, str]
    others: dict[str, Steps] = field(default_factory=dict[str, Steps])
    """What the second provider's agents do."""
    news: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    heard: anyio.Event = field(default_factory=anyio.Event)

    def _on_news(self, one: Mapping[str, Any]) -> None:
        self.news.append(one)
        self.heard.set()

    @classmethod
    def begun(cls, root: Path, scripts: dict[str, Steps], environ: dict[str, str]) -> "Shop":
        """With a repository of one commit, and a task for each script."""
        (root / "state").mkdir(parents=True)
        listed = "".join(
            f"      - {{id: {name}, title: Make {name}, complexity: 2, type: generation}}\n" for name in scripts
        )
        (root / "state/roadmap.yaml").write_text(f"epics:\n  - id: E\n    title: E\n    tasks:\n{listed}")
        (root / ".gitignore").write_text("state/\n")
        identity = ("-c", "user.name=Pat", "-c", "user.email=pat@example.org")
        for words in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "begin")):
            subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)
        made = cls(root, scripts, environ)
        made.configure(PROVIDERS)
        return made

    @asynccontextmanager
    async def run(self, agents: int = 3, **options: Any) -> AsyncGenerator[Autopilot]:
        settings = settings_of(Project(self.environ, str(self.root)))
        drivers = {"openai": ByModel({"a script": self.scripts, "another": self.others})}
        chosen = AutopilotOptions(agents=agents, **options)
        with anyio.fail_after(_PATIENCE):
            async with run_autopilot(settings, chosen, self._on_news, drivers) as run:
                yield run

    async def done(self, **options: Any) -> tuple[Mapping[str, Any], list[Worker], Mapping[str, Task]]:
        """The summary of a whole run, the rows of its workers, and the tasks."""
        async with self.run(**options) as run:
            summary = await run.work()
            return summary, await workers(run), await tasks(run, *self.scripts)

    def configure(self, text: str) -> None:
        """providers.yaml, as a person accepts it."""
        (self.root / "state/providers.yaml").write_text(text)
        Trust(os.environ, self.root).accept(PROVIDERS_FILE, parts_of(parse(text.encode(), "providers.yaml")))

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        while not await holds():
            self.heard = anyio.Event()
            with anyio.move_on_after(0.1):
                await self.heard.wait()

    def submitted(self, task_id: str) -> set[str]:
        """The files of the commit that was pinned for the task."""
        words = ("git", "ls-tree", "--name-only", f"refs/wvo/submit/{task_id}/1")
        return set(subprocess.check_output(words, cwd=self.root, text=True).split())

    def files(self, worker: Worker) -> list[Path]:
        return [*Path(str(worker.workspace)).iterdir()]

    def events(self, *kinds: str) -> list[str]:
        return [str(one["event"]) for one in self.news if one["event"] in kinds]


async def workers(run: Autopilot) -> list[Worker]:
    rows = await run.parts.store.read(OWNER, lambda tx: tx.workers.recent(100))
    return sorted(rows, key=lambda one: one.seq)


async def tasks(run: Autopilot, *names: str) -> Mapping[str, Task]:
    return {name: await run.parts.store.read(OWNER, lambda tx, name=name: tx.tasks.get(name)) for name in names}
