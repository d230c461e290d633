"""`wvo-mcp autopilot` from the outside: what it shows, and how a person ends it. The pool behind it is a fake here."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest

from tests.faces.cli.shell import Shell
from wvo_mcp import app
from wvo_mcp.domain.autopilot import AutopilotOptions, PageAt
from wvo_mcp.errors import Conflict, StoreBusy
from wvo_mcp.faces.cli import main, running
from wvo_mcp.faces.cli.running import News
from wvo_mcp.operations.operation import ALL
from wvo_mcp.settings import load

pytestmark = pytest.mark.requirement("WORK-9")

SECRET = "ghp_" + "a1B2" * 9
PLAN = {"workers": 2, "max_tasks": 5, "max_cost_usd": 1.5, "ready": 3, "open": 4, "tiers": [], "notes": ["no day cap"]}
SUMMARY = {
    "done": [{"task_id": "T1", "commit": "0123456789abcdef"}],
    "landed": [],
    "failed": [{"task_id": "T2", "reason": "tests fail"}],
    "waiting": [{"task_id": "T3", "reason": "waits for approval A-1", "approval_id": "A-1"}],
    "ended": "nothing is left to do",
    "cost_usd": 0.25,
    "tokens": 1_500,
}


@dataclass
class FakePool:
    """An application whose autopilot does nothing but what the test says."""

    during: Callable[["FakePool"], None] = lambda pool: None
    options: list[AutopilotOptions] = field(default_factory=list[AutopilotOptions])
    acts: list[str] = field(default_factory=list[str])
    run_id: str = "run-1"
    page: PageAt | None = None
    over: anyio.Event = field(default_factory=anyio.Event)
    waits: bool = False
    summary: Mapping[str, Any] = field(default_factory=lambda: SUMMARY)

    opened = staticmethod(app.opened)
    cli_caller = staticmethod(app.cli_caller)

    @asynccontextmanager
    async def run_autopilot(
        self, settings: Any, options: AutopilotOptions, on_news: News, drivers: Any = None
    ) -> AsyncGenerator["FakePool"]:
        self.options.append(options)
        self.news, self.over = on_news, anyio.Event()
        yield self
        self.acts.append("left")

    async def plan(self) -> Mapping[str, Any]:
        return PLAN

    async def work(self) -> Mapping[str, Any]:
        self.acts.append("work")
        self.news({"event": "launched", "task_id": "T1", "worker_id": "w-1", "said": f"with {SECRET}"})
        self.during(self)
        if self.waits:
            await self.over.wait()
        return self.summary

    def drain(self) -> None:
        self.acts.append("drain")
        self.during(self)

    def stop(self) -> None:
        self.acts.append("stop")
        self.over.set()


def _run(
    shell: Shell, pool: FakePool, *argv: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[dict[str, Any]]]:
    shell("init")
    capsys.readouterr()
    code = main(["autopilot", *argv], lambda: pool)  # pyright: ignore[reportArgumentType]
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_piped_it_is_lines_of_json_from_the_plan_to_what_became_of_it(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = _run(shell, FakePool(), capsys=capsys)

    assert code == 0
    assert [line["event"] for line in lines] == ["plan", "launched", "summary"]
    assert lines[0]["max_cost_usd"] == 1.5
    assert {name: len(lines[2][name]) for name in ("done", "landed", "failed", "waiting")} == {
        "done": 1, "landed": 0, "failed": 1, "waiting": 1,
    }  # fmt: skip
    assert SECRET not in json.dumps(lines), "news are redacted"


def test_that_there_is_no_git_is_said_before_anything_runs(shell: Shell) -> None:
    shell("init")
    shutil.rmtree(shell.root / ".git")

    shown = shell("autopilot", "--dry-run").json

    assert any("no git repository" in note for note in shown["notes"]), shown["notes"]


def test_what_was_asked_reaches_the_pool_and_a_dry_run_launches_nothing(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = FakePool()
    given = (
        "--agents",
        "2",
        "--max-tasks",
        "5",
        "--max-cost",
        "1.5",
        "--task",
        "T1",
        "--once",
        "--no-wait",
        "--strict",
    )

    code, lines = _run(shell, pool, *given, "--dry-run", capsys=capsys)

    assert pool.options == [
        AutopilotOptions(agents=2, max_tasks=5, max_cost=1.5, task="T1", once=True, wait=False, strict=True)
    ]
    assert (code, pool.acts) == (0, ["left"])
    assert [line["event"] for line in lines] == ["plan"]


def test_strict_makes_a_failed_task_an_exit_code(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(shell, FakePool(), "--strict", capsys=capsys)[0] == 1
    cancelled = {**SUMMARY, "failed": [{"task_id": "T2", "reason": "not needed", "cancelled": True}]}
    assert _run(shell, FakePool(summary=cancelled), "--strict", capsys=capsys)[0] == 0


def test_the_first_interrupt_drains_and_the_second_stops(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    pool = FakePool(during=lambda _: os.kill(os.getpid(), signal.SIGINT), waits=True)

    code, lines = _run(shell, pool, capsys=capsys)

    assert code == 130
    assert pool.acts == ["work", "drain", "stop", "left"]
    notices = [line["text"] for line in lines if line["event"] == "notice"]
    assert notices[0].startswith("Ctrl-C: no further task is begun")
    assert lines[-1]["event"] == "summary", "what became of everything is said in any case"


def test_a_request_to_end_stops_at_once(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    pool = FakePool(during=lambda _: os.kill(os.getpid(), signal.SIGTERM), waits=True)

    assert _run(shell, pool, capsys=capsys)[0] == 143
    assert pool.acts == ["work", "stop", "left"]


def test_a_second_autopilot_says_which_process_runs(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    class Taken(FakePool):
        @asynccontextmanager
        async def run_autopilot(
            self, settings: Any, options: Any, on_news: News, drivers: Any = None
        ) -> AsyncGenerator["FakePool"]:
            raise Conflict("Another autopilot runs here, as process 4711.")
            yield self

    code, lines = _run(shell, Taken(), capsys=capsys)

    assert code == 1
    assert "4711" in lines[0]["error"]["message"]


def test_an_agent_in_its_shell_may_not_start_workers(
    shell: Shell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDECODE", "1")
    monkeypatch.setenv("CLAUDE_CODE_SESSION_ID", "s-1")
    pool = FakePool()

    code, lines = _run(shell, pool, capsys=capsys)

    assert (code, pool.options) == (1, [])
    assert lines[0]["error"]["code"] == "forbidden"


@pytest.mark.parametrize("given", [("--agents", "0"), ("--max-cost", "0"), ("--max-cost", "nan"), ("--max-tasks", "x")])
def test_a_wrong_limit_is_wrong_usage(shell: Shell, given: tuple[str, str], tmp_path: Path) -> None:
    assert shell("autopilot", *given).code == 2


def test_a_reader_that_goes_away_ends_no_worker(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise BrokenPipeError

    def begin_again(pool: FakePool) -> None:
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(running, "print_line", gone)
            pool.news({"event": "ended", "task_id": "T1"})
        pool.acts.append("went on")

    shell("init")
    pool = FakePool(during=begin_again)
    settings = load(shell.root)

    code = asyncio.run(running.drive(cast("Any", pool), settings, AutopilotOptions(), running.Lines(), dry_run=False))

    assert (code, pool.acts) == (0, ["work", "went on", "left"])


def test_a_live_view_that_fails_ends_no_worker(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise OSError("the terminal is gone")

    class Slow(FakePool):
        async def work(self) -> Mapping[str, Any]:
            await anyio.lowlevel.checkpoint()
            await anyio.lowlevel.checkpoint()
            return await super().work()

    shell("init")
    pool = Slow()
    monkeypatch.setattr(pool, "opened", broken)

    code = asyncio.run(
        running.drive(cast("Any", pool), load(shell.root), AutopilotOptions(), running.Screen(), dry_run=False)
    )

    assert (code, pool.acts) == (0, ["work", "left"])


def test_a_store_that_is_away_for_a_moment_ends_no_live_view(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, reads = FakePool(waits=True), list[str]()

    class Away:
        def get(self, _: object) -> "Away":
            return self

        async def wait_for_change(self, _: float) -> bool:
            return True

    @asynccontextmanager
    async def opened(_: object) -> AsyncGenerator[Away]:
        yield Away()

    async def read(*_: object) -> dict[str, Any]:
        reads.append("read")
        if len(reads) == 1:
            raise StoreBusy("others write")
        pool.over.set()
        return {"workers": [], "approvals": [], "counts": {}, "spent_usd": 0.0}

    shell("init")
    monkeypatch.setattr(pool, "opened", opened)
    monkeypatch.setitem(cast("Any", ALL), "workers", read)
    monkeypatch.setattr(running, "_BREATH", 0)

    driven = running.drive(cast("Any", pool), load(shell.root), AutopilotOptions(), running.Screen(), dry_run=False)
    asyncio.run(asyncio.wait_for(driven, 60))

    assert reads == ["read", "read"]
