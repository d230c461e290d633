"""Limits, money, pause and memory, as the whole autopilot meets them: real store, repository and processes, agents that
follow a script."""

import os
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from wvo_mcp.app.autopilot import Autopilot, run_autopilot
from wvo_mcp.domain.agents import AgentEvent
from wvo_mcp.domain.autopilot import AutopilotOptions
from wvo_mcp.domain.lease import Caller, Role
from wvo_mcp.domain.providers.trust import parts_of
from wvo_mcp.domain.task import Task
from wvo_mcp.domain.worker import Outcome, Worker, WorkerState
from wvo_mcp.execution.agents.scripted import Steps, scripted
from wvo_mcp.execution.providers.parse import parse
from wvo_mcp.execution.trust import PROVIDERS, Trust
from wvo_mcp.execution.workspaces import places
from wvo_mcp.orchestration.pool import facts, pool, watching
from wvo_mcp.orchestration.pool.launching import Nothing
from wvo_mcp.orchestration.pool.parts import Parts
from wvo_mcp.ports.agents import AgentRun, Launch
from wvo_mcp.project import Project
from wvo_mcp.settings import settings_of

pytestmark = pytest.mark.anyio

_PROVIDERS = """\
on_limit: wait
providers:
  scripted:
    kind: openai
    place: cloud
    base_url: http://127.0.0.1:9
    tiers:
      low: {model: a script, effort: high, cost: {input: 1, output: 1}}
"""
_OTHER = """\
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
_PATIENCE = 60


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
        Trust(os.environ, self.root).accept(PROVIDERS, parts_of(parse(text.encode(), "providers.yaml")))

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


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shop]:
    def make(settings: Mapping[str, str] | None = None, **scripts: Steps) -> Shop:
        root = tmp_path / "shop"
        (root / "state").mkdir(parents=True)
        listed = "".join(
            f"      - {{id: {name}, title: Make {name}, complexity: 2, type: generation}}\n" for name in scripts
        )
        (root / "state/roadmap.yaml").write_text(f"epics:\n  - id: E\n    title: E\n    tasks:\n{listed}")
        (root / ".gitignore").write_text("state/\n")
        identity = ("-c", "user.name=Pat", "-c", "user.email=pat@example.org")
        for words in (("init", "-q", "-b", "main"), ("add", "."), ("commit", "-q", "-m", "begin")):
            subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
        environ |= {"ROOT": str(root), **(settings or {})}
        for name in os.environ:
            monkeypatch.delenv(name)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        made = Shop(root, dict(scripts), environ)
        made.configure(_PROVIDERS)
        return made

    return make


@pytest.mark.requirement("PROV-3")
@pytest.mark.requirement("WORK-7")
async def test_a_limit_parks_the_task_and_the_same_session_ends_it_once(shop: Callable[..., Shop]) -> None:
    used = {"use": {"in": 100, "out": 10, "cost": 0.01}}
    made = shop(A=[{"say": "begun"}, used, {"limit": 1}, {"limit": 1}, WRITES, DONE])

    summary, rows, found = await made.done()

    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert (found["A"].attempts, found["A"].expiries) == (0, 0)
    assert [(one.state, one.outcome) for one in rows] == [
        (WorkerState.ENDED, Outcome.LIMITED),
        (WorkerState.ENDED, Outcome.COMPLETED),
    ]
    assert rows[0].client_session == rows[1].client_session is not None
    assert rows[1].lease_token == rows[0].lease_token + 1
    assert made.events("launched", "parked", "resumed") == ["launched", "parked", "resumed"]


@pytest.mark.full
@pytest.mark.requirement("PROV-3")
async def test_a_limit_that_is_none_moves_nothing(shop: Callable[..., Shop]) -> None:
    made = shop(A=[{"limit": 7_200}, WRITES, DONE])
    summary, rows, _ = await made.done()
    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert [one.outcome for one in rows] == [Outcome.COMPLETED]
    assert made.events("parked") == []


@pytest.mark.requirement("PROV-3")
@pytest.mark.requirement("WORK-7")
async def test_another_provider_takes_over_in_the_same_worktree(shop: Callable[..., Shop]) -> None:
    half = {"call": "checkpoint", "with": {"summary": "half is made"}}
    limits = [{"limit": 7_200}, {"limit": 7_200}]
    made = shop(A=[WRITES, half, *limits])
    made.others["A"] = [{"write": "rest.txt", "text": "rest\n"}, DONE]
    made.configure(_PROVIDERS.replace("on_limit: wait", "on_limit: switch") + _OTHER)

    summary, rows, found = await made.done()

    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert [(one.provider, one.outcome) for one in rows] == [
        ("scripted", Outcome.LIMITED),
        ("other", Outcome.COMPLETED),
    ]
    assert rows[0].workspace == rows[1].workspace and found["A"].attempts == 0
    assert {"made.txt", "rest.txt"} <= made.submitted("A")


@pytest.mark.full
@pytest.mark.parametrize("kind", ["capacity", "outage", "context", "auth"])
@pytest.mark.requirement("PROV-4")
async def test_failures_of_a_provider_cost_no_attempt(shop: Callable[..., Shop], kind: str) -> None:
    made = shop(A=[WRITES, {"fail": kind}, DONE])
    made.others["A"] = [DONE]
    made.configure(_PROVIDERS + _OTHER)

    summary, rows, found = await made.done()

    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert found["A"].attempts == 0 and len(rows) == 2
    assert (rows[-1].provider == "other") is (kind == "auth")
    assert (rows[-1].client_session == rows[0].client_session) is (kind in ("capacity", "outage"))


@pytest.mark.requirement("WORK-6")
async def test_no_more_is_spent_than_the_run_may_and_the_reasons_say_so(shop: Callable[..., Shop]) -> None:
    steps: Steps = [
        {"use": {"in": 10, "out": 10, "cost": 0.3}},
        {"use": {"in": 20, "out": 20, "cost": 0.45}},
        {"wait": 50},
    ]
    made = shop({"WVO_WORKER_MAX_COST_USD": "0.4"}, **{name: steps for name in "ABCD"})

    summary, rows, found = await made.done(max_cost=1.0)

    assert [one.outcome for one in rows] == [Outcome.KILLED, Outcome.KILLED], (summary, made.news)
    assert all("it cost $0.45, more than a worker may ($0.40)" in str(one.reason) for one in rows)
    assert summary["cost_usd"] == pytest.approx(0.9)
    assert "scripted: a worker of its tier low reserves $0.40, and $0.10 of the $1.00 for the run is left" in str(
        summary["ended"]
    )
    begun = {one.task_id for one in rows}
    assert all(found[name].lease_token == 0 for name in set("ABCD") - begun)
    assert len(begun) == 2


@pytest.mark.requirement("WORK-6")
async def test_the_attempts_of_a_task_share_what_a_worker_may_cost(shop: Callable[..., Shop]) -> None:
    leaves = {"call": "release_task", "with": {"reason": "not yet"}}
    made = shop({"WVO_WORKER_MAX_COST_USD": "0.4"}, A=[{"use": {"in": 10, "out": 10, "cost": 0.395}}, leaves])

    _, rows, found = await made.done()

    assert len(rows) == 1, made.news
    assert found["A"].status == "blocked"
    assert found["A"].blocked_reason == "its launches have cost $0.40 in this run, and a worker may cost $0.40"


@pytest.mark.requirement("WORK-3")
async def test_a_full_disk_launches_nothing_until_there_is_room(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([1 << 60, 1 << 60])
    least = places.LEAST_FREE
    monkeypatch.setattr(pool, "_LOOK_SECONDS", 0.01)
    full = places.Worktrees.full

    def looked(self: places.Worktrees) -> str | None:
        monkeypatch.setattr(places, "LEAST_FREE", next(looks, least))
        return full(self)

    monkeypatch.setattr(places.Worktrees, "full", looked)
    made = shop(A=[WRITES, DONE])
    async with made.run() as run:
        summary = await run.work()
        row = await run.parts.store.read(OWNER, lambda tx: tx.alerts.page({"kind": pool.DISK_FULL}, None, 9))

    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert [(one["task_id"], one["severity"], one["resolved_at"] is None) for one in row] == [(None, "critical", False)]


@pytest.mark.requirement("WORK-9")
async def test_a_pause_that_comes_while_a_task_is_claimed_holds_its_worker(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = pool.launch

    async def paused_meanwhile(parts: Parts, *given: Any) -> Any:
        found = await launch(parts, *given)
        if not isinstance(found, Nothing):
            await parts.store.write(OWNER, lambda tx: facts.stop(tx, "enough"))
            await made.until(interrupted)
        return found

    async def interrupted() -> bool:
        return running[0].pool._watch.now.interrupts

    running: list[Autopilot] = []
    monkeypatch.setattr(pool, "launch", paused_meanwhile)
    made = shop(A=[{"wait": 50}])
    async with made.run() as run:
        running.append(run)
        summary = await run.work()
        (row,), found = await workers(run), await tasks(run, "A")

    assert (row.pid, row.outcome) == (None, Outcome.STOPPED), (summary, made.news)
    assert (found["A"].status, found["A"].attempts) == ("pending", 0)


@pytest.mark.full
@pytest.mark.requirement("WORK-6")
async def test_a_run_that_did_all_its_work_does_not_end_for_money(shop: Callable[..., Shop]) -> None:
    made = shop({"WVO_WORKER_MAX_COST_USD": "0.4"}, A=[{"use": {"in": 10, "out": 10, "cost": 0.3}}, WRITES, DONE])
    summary, _, _ = await made.done(max_cost=0.5)
    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert "$" not in str(summary["ended"])


@pytest.mark.full
@pytest.mark.requirement("WORK-9")
async def test_a_paused_worker_stands_still_and_goes_on_after_resume(shop: Callable[..., Shop]) -> None:
    made = shop(A=[{"say": "begun"}, {"wait": 50}, WRITES, DONE])
    async with made.run() as run, anyio.create_task_group() as group:

        async def begun() -> bool:
            return any(one.client_session is not None for one in await workers(run))

        async def paused() -> bool:
            return (await workers(run))[0].state is WorkerState.PAUSED

        group.start_soon(run.work)
        await made.until(begun)
        store = run.parts.store
        await store.write(OWNER, lambda tx: facts.pause(tx, facts.PauseMode.NOW, "lunch"))
        await made.until(paused)
        task = (await tasks(run, "A"))["A"]
        assert (task.status, task.attempts, task.kept_until) == ("pending", 0, facts.UNTIL_RESUMED)
        await store.write(OWNER, facts.resume)

        async def done() -> bool:
            return (await tasks(run, "A"))["A"].status == "done"

        await made.until(done)
        rows = await workers(run)
        assert [one.client_session for one in rows] == [rows[0].client_session] * 2
        run.stop()


@pytest.mark.requirement("WORK-9")
async def test_stop_ends_the_autopilot_and_the_next_one_goes_on(shop: Callable[..., Shop]) -> None:
    made = shop(A=[{"say": "begun"}, {"wait": 50}, WRITES, DONE])
    summaries: list[Mapping[str, Any]] = []
    async with made.run() as run:

        async def begun() -> bool:
            return any(one.client_session is not None for one in await workers(run))

        async def stop() -> None:
            await made.until(begun)
            await run.parts.store.write(OWNER, lambda tx: facts.stop(tx, "night"))

        async with anyio.create_task_group() as group:
            group.start_soon(stop)
            summaries.append(await run.work())
    assert summaries[0]["ended"] == "night"
    assert [one["task_id"] for one in summaries[0]["waiting"]] == ["A"]

    summary, rows, _ = await made.done()

    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
    assert rows[0].client_session == rows[1].client_session is not None


_EATER = """
import os, pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
pathlib.Path(f"pid-{os.getpid()}").touch()
if child == 0:
    os.setsid()
    held = b"x" * (200 << 20)
time.sleep(50)
"""


@pytest.mark.full
@pytest.mark.requirement("WORK-7")
async def test_a_worker_that_eats_memory_is_ended_with_all_its_children(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_INTERRUPTED_SECONDS", 0.2)
    monkeypatch.setattr(pool, "_WALK_SECONDS", 0.2)
    made = shop({"WVO_WORKER_MEMORY_MB": "180"}, A=[{"write": "eat.py", "text": _EATER}, {"run": "python3 eat.py"}])

    _, rows, found = await made.done(once=True)

    assert [one.outcome for one in rows] == [Outcome.KILLED], made.news
    assert "more than a worker may (180 MB, WVO_WORKER_MEMORY_MB)" in str(rows[0].reason)
    assert found["A"].attempts == 1
    pids = [int(one.name.removeprefix("pid-")) for one in made.files(rows[0]) if one.name.startswith("pid-")]
    assert len(pids) == 2 and not [pid for pid in pids if psutil.pid_exists(pid)]
