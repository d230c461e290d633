"""A person's project with a repository, and whole autopilots at work in it: real processes, worktrees and store, and agents
that follow a script.

As a program (`python -m tests.support.flights FOLDER [CRASH]`) it is one autopilot, which prints its news as lines of JSON and
dies by SIGKILL at the write of that number.
"""

import asyncio
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio

from tests.support.databases import looked_at
from tests.support.workspace import REPOSITORY
from wvo_mcp.domain.autopilot import AutopilotOptions
from wvo_mcp.domain.providers.trust import parts_of
from wvo_mcp.execution.agents.local import LocalDriver
from wvo_mcp.execution.agents.scripted import scripted
from wvo_mcp.execution.providers.parse import parse
from wvo_mcp.execution.roadmap.rules import open_differences
from wvo_mcp.execution.trust import PROVIDERS, ROADMAP, Trust
from wvo_mcp.project import Project
from wvo_mcp.settings import settings_of

_PROVIDERS = b"""\
providers:
  scripted:
    kind: openai
    place: cloud
    base_url: http://127.0.0.1:9
    tiers:
      low: {model: script, cost: {input: 1, output: 2}}
      medium: {model: script, cost: {input: 1, output: 2}}
      high: {model: script, cost: {input: 1, output: 2}}
"""
Step = Mapping[str, Any]
SECONDS = 900.0
life = importlib.import_module("wvo_mcp.app.autopilot")  # its package has a function of this name


def does(task_id: str, *before: Step) -> list[Step]:
    """The steps of an honest worker."""
    return [
        *before,
        {"write": f"{task_id}.txt", "text": f"work of {task_id}\n"},
        {"use": {"in": 100, "out": 10}},
        {"call": "complete_task", "with": {"summary": f"{task_id} is written"}},
    ]


class Flight:
    """`scripts`: by task, the steps of each attempt. `url`: of the database; None: a file of its own."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder = folder
        self.url = url
        self.root = folder / "shop"
        self.news: list[Mapping[str, Any]] = []

    @property
    def environ(self) -> dict[str, str]:
        """Nothing of the surrounding environment but the path."""
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        settings = {"ROOT": str(self.root), "WVO_SQLITE_SYNCHRONOUS": "NORMAL"} | self._plan().get("settings", {})
        plain = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8"}
        settings |= {} if self.url is None else {"WVO_DATABASE_URL": self.url}
        return plain | settings | {"PYTHONPATH": str(REPOSITORY), "XDG_CONFIG_HOME": str(home / "config")}

    def begin(
        self, tasks: Mapping[str, Sequence[str]], scripts: Mapping[str, Sequence[Sequence[Step]]], **more: Any
    ) -> None:
        """A repository with one commit; `tasks` with what they need; `more`: `settings` (variables), `options`, `fields`
        of all tasks, `types` of some, `providers` besides, `project` (accepted rules), `files` of the first commit."""
        (self.root / "state").mkdir(parents=True)
        fields = {"type": "generation", "max_attempts": 1} | more.pop("fields", {})
        types = {one: {"type": kind} for one, kind in more.pop("types", {}).items()}
        listed = [
            {"id": one, "title": f"Do {one}", "depends_on": [*needs], **fields, **types.get(one, {})}
            for one, needs in tasks.items()
        ]
        roadmap = {"epics": [{"id": "shop", "title": "Shop", "tasks": listed}], "project": more.pop("project", {})}
        for name, text in more.pop("files", {}).items():
            (self.root / name).write_text(text)
        (self.root / "state/roadmap.yaml").write_text(json.dumps(roadmap))
        providers = _PROVIDERS + str(more.pop("providers", "")).encode()
        (self.root / "state/providers.yaml").write_bytes(providers)
        (self.root / ".gitignore").write_text("/state/\n")
        (self.folder / "plan.json").write_text(json.dumps({"scripts": scripts, **more}))
        self.git("init", "-q", "-b", "main")
        self.git("add", ".")
        self.git("-c", "user.name=Ann", "-c", "user.email=ann@localhost", "commit", "-q", "-m", "begin")
        trust = Trust(self.environ, self.root)
        trust.accept(PROVIDERS, parts_of(parse(providers, "providers.yaml")))
        trust.accept(ROADMAP, open_differences(self.root / "state/roadmap.yaml", trust)[0])

    def _plan(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "plan.json").read_text())
        except FileNotFoundError:
            return {}

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, env={**os.environ, "HOME": "/nonexistent"}, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return done.stdout.strip()

    async def fly(self, on_run: Any = None, **options: Any) -> Mapping[str, Any]:
        """One autopilot in this very process, whose environment must be `environ`; its summary. `on_run` is called with it
        before it works, and awaited."""
        plan = self._plan()
        settings = settings_of(Project(os.environ, str(self.root)))
        drivers = {"openai": scripted(plan["scripts"]), "ollama": LocalDriver()}
        wanted: dict[str, Any] = {"wait": False, **plan.get("options", {}), **options}
        given = AutopilotOptions(**wanted)
        with anyio.fail_after(SECONDS):
            async with life.run_autopilot(settings, given, self.news.append, drivers=drivers) as run:
                if on_run is not None:
                    await on_run(run)
                return await run.work()

    def launched(self, *arguments: str) -> "subprocess.Popen[str]":
        """One autopilot in a process of its own."""
        command = [sys.executable, "-m", "tests.support.flights", str(self.folder), *arguments]
        with (self.folder / "autopilot.log").open("a") as log:
            return subprocess.Popen(
                command, cwd=REPOSITORY, env=self.environ, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def sql(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        with looked_at(self.url or self.root / "state/state.db") as database:
            return database.rows(statement, *params)

    def statuses(self) -> dict[str, str]:
        return {row["id"]: row["status"] for row in self.sql("SELECT id, status FROM tasks ORDER BY id")}

    def completions(self) -> dict[str, int]:
        """How often each task was completed."""
        rows = self.sql("SELECT task_id, count(*) AS n FROM events WHERE kind = 'task.completed' GROUP BY 1")
        return {row["task_id"]: row["n"] for row in rows}

    def pinned(self) -> dict[str, set[str]]:
        """By task, the files of its newest submission."""
        rows = self.sql("SELECT task_id, commit_sha FROM merge_entries ORDER BY number")
        return {
            row["task_id"]: set(self.git("ls-tree", "-r", "--name-only", row["commit_sha"]).split()) for row in rows
        }

    def heard(self, kind: str) -> list[Mapping[str, Any]]:
        return [one for one in self.news if one["event"] == kind]


def main(folder: str, crash_at: str = "0") -> None:
    flight, calls, strike = Flight(Path(folder)), 0, int(crash_at)
    flight.news = _Printed()
    opened = life.backend_of

    def hook(_: Any = None) -> None:
        nonlocal calls
        calls += 1
        if calls == strike:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(settings: Any) -> Any:
        backend = opened(settings)
        backend.store.writer.on_write = hook
        return backend

    if strike:
        vars(life)["backend_of"] = watched

    async def fly() -> None:
        async def on_run(run: Any) -> None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, run.stop)
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, run.drain)

        print(json.dumps({"event": "summary", **await flight.fly(on_run)}), flush=True)  # noqa: T201

    anyio.run(fly)


class _Printed(list[Mapping[str, Any]]):
    def append(self, news: Mapping[str, Any]) -> None:
        print(json.dumps(news, default=str), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
