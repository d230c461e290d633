"""Four agents, each with a real `wvo-mcp` server on stdio, drain the example roadmap; one is killed on the way."""

import argparse
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

HERE = Path(__file__).parent.parent
COMMAND = str(Path(sys.executable).parent / "wvo-mcp")
AGENTS = ("ada", "ben", "cleo", "dan")
VICTIM = "ben"
LIMIT_SECONDS = 120


@dataclass
class Story:
    """What happened so far; shared by the agents of this one event loop."""

    total: int
    done: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in AGENTS})
    killed_with: str | None = None
    taken_over: str | None = None
    finished: anyio.Event = field(default_factory=anyio.Event)
    connected: set[str] = field(default_factory=set[str])
    complete: anyio.Event = field(default_factory=anyio.Event)
    struck: anyio.Event = field(default_factory=anyio.Event)

    async def all_here(self, name: str) -> None:
        """Nobody begins before everybody is connected."""
        self.connected.add(name)
        if len(self.connected) == len(AGENTS):
            self.complete.set()
        await self.complete.wait()

    @property
    def count(self) -> int:
        return sum(len(tasks) for tasks in self.done.values())


class Agent:
    """What a coding agent does, without the coding: claim, checkpoint, complete, until nothing is left."""

    def __init__(self, name: str, workspace: Path, story: Story, show: "Show") -> None:
        self.name = name
        self._story = story
        self._show = show
        self._server = StdioServerParameters(
            command=COMMAND,
            cwd=workspace,
            env={
                "ROOT": str(workspace),
                "WVO_AGENT_ID": name,
                "WVO_AUTOPILOT_WIP_LIMIT": "4",
                "WVO_LEASE_GRACE_SECONDS": "1",
            },
        )

    async def work(self) -> None:
        """Until the roadmap is drained; the victim is killed in the middle of one of its first tasks."""
        try:
            async with Client(self._server, read_timeout_seconds=60) as client:
                await self._story.all_here(self.name)
                while self._story.count < self._story.total:
                    if self.name != VICTIM and self._story.count > self._story.total // 2:
                        await self._story.struck.wait()  # or the fastest do it all before there is anything to show
                    claim = await call(client, "claim_task")
                    if claim["task"] is None:
                        with anyio.move_on_after(0.2):
                            await self._story.finished.wait()
                        continue
                    if not await self._do(client, claim):
                        return
                self._story.finished.set()
        except BaseException:
            if self.name != VICTIM or self._story.killed_with is None:
                raise

    async def _do(self, client: Client, claim: dict[str, Any]) -> bool:
        task = claim["task"]
        if claim["resume"] is not None and task["id"] == self._story.killed_with:
            self._story.taken_over = self.name
            self._show.line(f"{self.name} takes over {task['id']}, from the checkpoint: {claim['resume']['summary']!r}")
        await call(client, "checkpoint", task_id=task["id"], summary=f"{self.name} has read {task['id']}", progress=30)
        if self.name == VICTIM and (len(self._story.done[VICTIM]) == 2 or self._story.count > self._story.total // 3):
            self._story.killed_with = task["id"]
            self._show.line(f"{self.name} is killed (SIGKILL) in the middle of {task['id']}")
            kill_server(self.name)
            self._story.struck.set()
            return False
        if len(self._story.done[self.name]) % 5 == 0:
            await call(client, "context_write", topic=f"notes-{task['epic_id']}", content=f"Learned in {task['id']}.")
        await call(client, "complete_task", task_id=task["id"], summary="Done, and its acceptance criteria hold.")
        self._story.done[self.name].append(task["id"])
        self._show.advance(self.name, task)
        return True


class Show:
    """Progress: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._count = 0
        self._total = total
        self._progress = Progress(
            TextColumn("[bold]draining the roadmap"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            TextColumn("{task.description}"), console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._bar = self._progress.add_task("", total=total)

    def __enter__(self) -> "Show":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def line(self, text: str) -> None:
        self._console.print(f"  {text}", highlight=False, soft_wrap=True)

    def advance(self, agent: str, task: dict[str, Any]) -> None:
        self._count += 1
        self._progress.update(self._bar, advance=1, description=f"{agent}: {task['title'][:50]}")
        if not self._console.is_terminal and self._count % 10 == 0:
            self.line(f"{self._count} of {self._total} tasks done")


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    if result.is_error or result.structured_content is None:
        raise RuntimeError(f"{tool} failed: {result.content}")
    return dict(result.structured_content)


def servers_of(name: str) -> list[int]:
    """Process ids of our children that serve the agent."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(os.getpid())], capture_output=True, text=True, check=False
    )
    pids = [int(pid) for pid in listed.stdout.split()] or _children_elsewhere()
    return [pid for pid in pids if _agent_of(pid) == name]


def _children_elsewhere() -> list[int]:
    listed = subprocess.run(["pgrep", "-P", str(os.getpid())], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listed.stdout.split()]


def _agent_of(pid: int) -> str | None:
    shown = subprocess.run(["ps", "eww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return next((w.partition("=")[2] for w in shown.stdout.split() if w.startswith("WVO_AGENT_ID=")), None)


def kill_server(name: str) -> None:
    for pid in servers_of(name):
        os.kill(pid, signal.SIGKILL)


def checks(database: Path, story: Story) -> dict[str, bool]:
    """What the database says, asked with plain SQL."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:

        def value(sql: str) -> Any:
            return connection.execute(sql).fetchone()[0]

        return {
            f"all {story.total} tasks are done": value("SELECT count(*) FROM tasks WHERE status = 'done'")
            == story.total,
            "each was completed exactly once": value(
                "SELECT count(*) FROM (SELECT task_id FROM events WHERE kind = 'task.completed'"
                " GROUP BY task_id HAVING count(*) <> 1)"
            )
            == 0,
            "none was begun before what it depends on was done": value(
                "SELECT count(*) FROM task_dependencies d JOIN events begun ON begun.task_id = d.task_id"
                " AND begun.kind = 'task.claimed' JOIN events ended ON ended.task_id = d.depends_on_task_id"
                " AND ended.kind = 'task.completed' WHERE begun.seq < ended.seq"
            )
            == 0,
            f"the killed agent's task was taken over by {story.taken_over}": story.taken_over is not None
            and story.taken_over != VICTIM,
        }


def summary(console: Console, workspace: Path, story: Story, seconds: float) -> bool:
    table = Table(title=f"{story.count} tasks in {seconds:.1f} s", title_justify="left")
    table.add_column("agent")
    table.add_column("done", justify="right")
    table.add_column("last tasks")
    for name, tasks in story.done.items():
        table.add_row(name + (" (killed)" if name == VICTIM else ""), str(len(tasks)), ", ".join(tasks[-3:]))
    console.print(table)
    database = workspace / "state" / "state.db"
    results = checks(database, story)
    for what, holds in results.items():
        console.print(f"  [{'green' if holds else 'red'}]{'yes' if holds else 'NO '}[/]  {what}", highlight=False)
    console.print(
        f"\nLook yourself:\n  sqlite3 {database} \\\n"
        "    \"SELECT seq, at, kind, task_id, agent_id FROM events WHERE kind <> 'task.checkpoint' ORDER BY seq DESC LIMIT 12\""
        f"\n  ROOT={workspace} {COMMAND} status"
        f"\n  {COMMAND} simulate {HERE / 'examples' / 'roadmap.yaml'} --agents 2 --seeds 20"
        f"\n\nUse it in a project of yours (docs/install.md has more, and how to take it back):"
        f"\n  uv tool install {HERE} && cd YOUR-PROJECT && wvo-mcp init --claude --codex --gemini && wvo-mcp doctor"
        f"\n\nAll that was made is in {workspace}. To delete it:\n  rm -r {workspace}"
        "\n\nNext, the autopilot, which launches agents itself; in the demo they follow a script:"
        "\n  .venv/bin/wvo-mcp autopilot --demo",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return all(results.values())


async def drain(workspace: Path, story: Story, show: Show) -> None:
    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as group:
            for name in AGENTS:
                group.start_soon(Agent(name, workspace, story, show).work)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workspace", type=Path, help="an empty folder to work in, instead of a temporary one")
    workspace: Path = parser.parse_args().workspace or Path(tempfile.mkdtemp(prefix="wvo-quickstart-"))
    (workspace / "state").mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "examples" / "roadmap.yaml", workspace / "state" / "roadmap.yaml")
    console = Console()
    environment = {**os.environ, "ROOT": str(workspace)}
    subprocess.run([COMMAND, "roadmap-sync", "--json"], env=environment, check=True, capture_output=True, timeout=60)
    with sqlite3.connect(workspace / "state" / "state.db") as connection:
        total = connection.execute("SELECT count(*) FROM tasks").fetchone()[0]
    console.print(
        f"A workspace with {total} tasks of examples/roadmap.yaml: {workspace}", highlight=False, soft_wrap=True
    )
    console.print(f"Four agents ({', '.join(AGENTS)}), each with its own wvo-mcp server on stdio:\n", highlight=False)
    story = Story(total)
    began = time.monotonic()
    with Show(console, total) as show:
        anyio.run(drain, workspace, story, show)
    console.print()
    return 0 if summary(console, workspace, story, time.monotonic() - began) else 1


if __name__ == "__main__":
    sys.exit(main())
