"""`wvo-mcp orchestrate` in a project of `Flight`, with agents that follow a script.

As a program (`python -m tests.support.goals FOLDER CRASH ARGUMENTS...`) it is that command, and dies by SIGKILL at the write of
that number.
"""

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, cast

from tests.support import forked
from tests.support.flights import REPOSITORY, Flight, Step
from wvo_mcp import app
from wvo_mcp.domain.autopilot import AutopilotOptions
from wvo_mcp.execution.agents.scripted import scripted
from wvo_mcp.faces.cli import main

life = importlib.import_module("wvo_mcp.app.autopilot")
commands = importlib.import_module("wvo_mcp.app.commands")
SECOND = """\
  second:
    kind: openai
    place: cloud
    base_url: http://127.0.0.1:9
    tiers:
      low: {model: second, cost: {input: 1, output: 2}}
      high: {model: second, cost: {input: 1, output: 2}}
"""
READY: list[Sequence[Step]] = [[{"use": {"in": 10, "out": 5}}, {"stop": '{"ready": true}'}]]
TASKS: list[dict[str, Any]] = [
    {"id": "say", "title": "Say how", "part": "design", "complexity": 9, "files": ["say.txt"], "acceptance": ["It is said"]},
    {
        "id": "build", "title": "Build it", "part": "implementation", "complexity": 8, "files": ["build.txt"],
        "depends_on": ["say"], "acceptance": ["It is built", "It is tested"],
    },
    {"id": "look", "title": "Look", "part": "review", "complexity": 3, "depends_on": ["build"], "acceptance": ["It was read"]},
]  # fmt: skip
PLAN: dict[str, Any] = {"summary": "Say how, build it, look at it.", "tasks": TASKS}


def answers(*said: Any) -> list[Step]:
    """One attempt that says these, one after the other."""
    return [
        {"use": {"in": 100, "out": 50}},
        *({"stop": one if isinstance(one, str) else json.dumps(one)} for one in said),
    ]


def works(name: str, *before: Step, evidence: Sequence[str] = ("Seen",), writes: bool = True) -> list[Step]:
    wrote = [{"write": f"{name}.txt", "text": f"work of {name}\n"}] if writes else []
    done = {"call": "complete_task", "with": {"summary": f"{name} is done", "evidence": [*evidence]}}
    return [*before, *wrote, {"use": {"in": 100, "out": 10}}, done]


SCRIPTS: dict[str, list[Sequence[Step]]] = {
    "trial-scripted": READY,
    "trial-second": READY,
    "plan-O-1": [answers(PLAN)],
    "O-1.say": [works("say")],
    "O-1.build": [works("build", evidence=("Seen", "Run"))],
    "O-1.look": [works("look", writes=False)],
}


class Goals(Flight):
    """An application (`faces.cli.session.Application`) whose autopilots have these agents."""

    def begin_goals(self, scripts: Mapping[str, Sequence[Sequence[Step]]], **more: Any) -> None:
        project = {"verify": ["test -f .gitignore"], "target": "main"} | more.pop("project", {})
        self.begin({}, {**SCRIPTS, **scripts}, project=project, **{"providers": SECOND, **more})

    def __getattr__(self, name: str) -> Any:
        return getattr(app, name)

    def run_autopilot(
        self, settings: Any, options: AutopilotOptions, on_news: Any, drivers: Any = None
    ) -> AbstractAsyncContextManager[Any]:
        known = {"openai": scripted(json.loads((self.folder / "plan.json").read_text())["scripts"])}
        return life.run_autopilot(settings, options, on_news, drivers or known)

    def orchestrate(self, *arguments: str) -> int:
        """In this process, whose environment must be `environ`; the exit code."""
        try:
            return main(["orchestrate", *arguments], lambda: cast("Any", self))
        finally:
            gc.enable()

    def process(self, crash: int, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        command = ["tests.support.goals", str(self.folder), str(crash), *arguments]
        return forked.run(command, cwd=REPOSITORY, env=self.environ, timeout=300, input=stdin)

    def goal(self, known: str = "O-1") -> dict[str, Any]:
        [row] = self.sql("SELECT * FROM orchestrations WHERE orchestration_id = ?", known)
        return row


def _crash_at(strike: int) -> None:
    calls = 0

    def hook(_: Any = None) -> None:
        nonlocal calls
        calls += 1
        if calls == strike:
            os.kill(os.getpid(), signal.SIGKILL)

    for module in (life, commands):
        opened = module.backend_of

        def watched(settings: Any, opened: Any = opened) -> Any:
            backend = opened(settings)
            backend.store.writer.on_write = hook
            return backend

        vars(module)["backend_of"] = watched


if __name__ == "__main__":
    if int(sys.argv[2]):
        _crash_at(int(sys.argv[2]))
    sys.exit(Goals(Path(sys.argv[1])).orchestrate(*sys.argv[3:]))
