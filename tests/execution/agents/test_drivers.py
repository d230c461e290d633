"""One suite for all drivers: whatever the vendor's protocol is, the pool sees the same."""

import json
import os
import sys
import tomllib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support import vendor_program
from tests.support.workspace import REPOSITORY
from wvo_mcp.domain.agents import AgentEvent, EventKind, PermissionRequest, Status
from wvo_mcp.execution.agents import codex
from wvo_mcp.execution.agents.claude import ClaudeRun
from wvo_mcp.execution.agents.codex import CodexRun
from wvo_mcp.execution.agents.gemini import GeminiRun
from wvo_mcp.execution.agents.lines import LineDriver, LineRun
from wvo_mcp.execution.agents.scripted import ScriptedRun
from wvo_mcp.ports.agents import AgentNotStarted, Answer, Launch, ServerEntry

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-1", "WORK-2")]

Turn = Sequence[dict[str, Any]]
RUNS: dict[str, type[LineRun]] = {run.name: run for run in (ClaudeRun, CodexRun, GeminiRun, ScriptedRun)}
"""The scripted one is a vendor that does not exist: the example of docs/drivers.md."""


class Vendor:
    """A driver with a program that speaks its vendor's protocol and does what a script says."""

    def __init__(self, name: str, place: Path) -> None:
        self.driver = LineDriver(RUNS[name])
        self.place = place
        program = (sys.executable, vendor_program.__file__, name, str(place / "script.json"))
        for folder in ("home", "work"):
            (place / folder).mkdir()
        self.launch = Launch(
            workspace=place / "work",
            home=place / "home",
            prompt="# T1: the first prompt",
            server=ServerEntry(argv=("wvo-mcp",), env={"WVO_WORKER_KEY": "5ec4e7"}),
            env={"PATH": os.environ["PATH"]},
            program=program,
            log=place / "raw.jsonl",
            output=200 << 20,
        )

    @asynccontextmanager
    async def playing(self, *turns: Turn, **more: Any) -> AsyncGenerator[LineRun]:
        (self.place / "script.json").write_text(json.dumps(turns))
        with anyio.fail_after(60):
            async with self.driver.start(replace(self.launch, **more)) as run:
                yield run

    async def heard(self, *turns: Turn, **more: Any) -> list[AgentEvent]:
        """Everything up to the first stop."""
        async with self.playing(*turns, **more) as run:
            return await until_stop(run)


@pytest.fixture(params=sorted(RUNS))
def vendor(request: pytest.FixtureRequest, tmp_path: Path) -> Vendor:
    return Vendor(request.param, tmp_path)


async def until_stop(run: LineRun) -> list[AgentEvent]:
    events: list[AgentEvent] = []
    async for event in run.events():
        events.append(event)
        if event.kind is EventKind.STOP:
            break
    return events


def kinds(events: Sequence[AgentEvent], *wanted: EventKind) -> list[EventKind]:
    return [event.kind for event in events if event.kind in wanted]


async def test_a_turn_is_told_in_order_and_ends_in_one_stop(vendor: Vendor) -> None:
    events = await vendor.heard([{"say": "I look"}, {"call": "get_task"}, {"say": "done"}, {"use": [30, 5]}])

    told = [(event.kind, event.status) for event in events if event.kind is not EventKind.NOISE]
    assert told[0] == (EventKind.STARTED, None)
    assert told[1:5] == [
        (EventKind.MESSAGE, None),
        (EventKind.TOOL_CALL, Status.RUNNING),
        (EventKind.TOOL_CALL, Status.DONE),
        (EventKind.MESSAGE, None),
    ]
    assert told[-1] == (EventKind.STOP, Status.DONE)
    assert (events[-1].text, events[-1].session) == ("done", "s-1")
    begun, ended = (event for event in events if event.kind is EventKind.TOOL_CALL)
    assert begun.call_id == ended.call_id
    assert (begun.tool or "").endswith("get_task")
    [use] = [event.use for event in events if event.use is not None][-1:]
    assert (use.tokens_in, use.tokens_out, use.sums) == (30, 5, True)


async def test_a_permission_request_waits_for_its_answer_and_is_answered_both_ways(vendor: Vendor) -> None:
    async with vendor.playing([{"ask": "make test"}, {"ask": "git push"}]) as run:
        said: list[str] = []
        async for event in run.events():
            if event.request is not None:
                assert (event.kind, event.request.paths) == (EventKind.PERMISSION_REQUEST, ())
                allowed = event.request.command == "make test"
                await run.answer("another", Answer(allowed=True))
                await run.answer(event.request.request_id, Answer(allowed, "not from here"))
                await run.answer(event.request.request_id, Answer(allowed=True))
            elif event.kind is EventKind.MESSAGE:
                said.append(event.text)
            elif event.kind is EventKind.STOP:
                break

    assert said == ["allowed", "refused: not from here"]


@pytest.mark.parametrize("name", ["claude", "codex", "gemini"])
async def test_what_the_real_program_printed_is_told_as_it_was_meant(name: str, tmp_path: Path) -> None:
    """Recorded below an autopilot: a checkpoint, a shell command that was asked about, and the end of the task."""
    vendor = Vendor(name, tmp_path)
    recorded = REPOSITORY / "tests/samples/streams" / f"{name}.jsonl"
    prints = "import sys; sys.stdout.write(open(sys.argv[1]).read()); sys.stdout.flush(); sys.stdin.read()"

    events = await vendor.heard(program=(sys.executable, "-c", prints, str(recorded)))

    told = [event for event in events if event.kind is not EventKind.NOISE]
    assert (told[0].kind, told[-1].kind, told[-1].status) == (EventKind.STARTED, EventKind.STOP, Status.DONE)
    assert told[0].session == told[-1].session is not None
    assert kinds(events, EventKind.STOP, EventKind.NOISE, EventKind.LIMIT) == [EventKind.STOP]
    [asked] = [event.request for event in told if event.request is not None]
    assert (asked.command or "").endswith(("A > A.txt", "B > B.txt", "C > C.txt"))
    done = {event.call_id for event in told if event.kind is EventKind.TOOL_CALL and event.status is Status.DONE}
    begun = [event for event in told if event.kind is EventKind.TOOL_CALL and event.status is Status.RUNNING]
    assert {event.call_id for event in begun} == done
    assert [(event.tool or "").rpartition("_")[2] for event in begun][::2] == ["checkpoint", "task"]
    uses = [event.use for event in told if event.use is not None]
    assert (uses[-1].tokens_in, uses[-1].tokens_out, uses[-1].sums) == (40, 20, True)


async def test_a_program_that_talks_before_it_reads_a_large_prompt_is_not_held_up(vendor: Vendor) -> None:
    talks = "import os, sys; sys.stdout.write(('x' * 9_999 + '\\n') * 300); sys.stdout.flush()"
    talks = f"{talks}; os.execv(sys.argv[1], sys.argv[1:])"
    program = (sys.executable, "-c", talks, *vendor.launch.program)

    events = await vendor.heard([{"say": "I have read it"}], prompt="p" * 2_000_000, program=program)

    assert (events[-1].status, events[-1].text) == (Status.DONE, "I have read it")


async def test_what_is_said_after_a_turn_begins_another_one_in_the_same_session(vendor: Vendor) -> None:
    async with vendor.playing([{"use": [10, 1]}], [{"say": "more"}, {"use": [20, 2]}]) as run:
        first = await until_stop(run)
        await run.say("go on")
        second = await until_stop(run)

    assert [event.text for event in second if event.kind is EventKind.MESSAGE] == ["more"]
    assert first[-1].session == second[-1].session == "s-1"
    [use] = [event.use for event in second if event.use is not None][-1:]
    assert (use.tokens_in, use.tokens_out) == (30, 3), "the sum of the process"


async def test_an_interrupt_ends_the_turn_that_runs(vendor: Vendor) -> None:
    async with vendor.playing([{"say": "I begin"}, {"listen": True}]) as run:
        events: list[AgentEvent] = []
        async for event in run.events():
            events.append(event)
            if event.kind is EventKind.MESSAGE:
                await run.interrupt()
            if event.kind is EventKind.STOP:
                break

    assert events[-1].status in (Status.INTERRUPTED, Status.FAILED)
    assert kinds(events, EventKind.STOP) == [EventKind.STOP]


async def test_a_session_is_resumed_by_its_id(vendor: Vendor) -> None:
    events = await vendor.heard([{"say": "again"}], session="s-42")

    assert events[-1].session == "s-42"


@pytest.mark.requirement("WORK-9")
async def test_a_limit_is_told_before_the_stop_with_its_reset(vendor: Vendor) -> None:
    events = await vendor.heard([{"say": "I begin"}, {"limit": True}])

    assert kinds(events, EventKind.LIMIT, EventKind.STOP)[-2:] == [EventKind.LIMIT, EventKind.STOP]
    signal = events[-1].signal
    assert (events[-1].status, signal is not None) == (Status.FAILED, True)
    assert signal is not None
    assert signal.resets_at is not None or signal.retry_after is not None


async def test_a_program_that_ends_within_a_turn_ends_it_as_failed_with_its_last_words(vendor: Vendor) -> None:
    events = await vendor.heard([{"say": "I begin"}, {"stderr": "first\nout of cheese\n"}, {"exit": 3}])

    assert (events[-1].kind, events[-1].status) == (EventKind.STOP, Status.FAILED)
    assert "3" in events[-1].text
    assert "out of cheese" in events[-1].text


async def test_broken_huge_and_foreign_lines_survive(vendor: Vendor) -> None:
    hostile = [
        '{"type": ',
        "\x1b[31mred",
        "null",
        "[1, 2]",
        '{"type": {"a": []}}',
        "[" * 5_000,
        '{"method": 7, "id": []}',
    ]
    steps = [{"line": line} for line in hostile]
    events = await vendor.heard([*steps, {"flood": 20 << 20}, {"say": "still here"}])

    assert len(kinds(events, EventKind.NOISE)) >= 5
    assert "still here" in [event.text for event in events]
    assert events[-1].status is Status.DONE
    assert all(len(event.text) < 1_000 for event in events)


async def test_thousands_of_events_come_in_order_whatever_is_on_stderr_between(vendor: Vendor) -> None:
    said = [f"{number}." for number in range(2_000)]
    steps = [[{"say": text}, {"stderr": '{"type": "result"}\n' * 5}] for text in said]
    events = await vendor.heard([step for pair in steps for step in pair])

    assert "".join(event.text for event in events if event.kind is EventKind.MESSAGE) == "".join(said)
    assert events[-1].status is Status.DONE
    assert kinds(events, EventKind.NOISE) == []


async def test_endless_output_is_ended_at_its_limit(vendor: Vendor) -> None:
    events = await vendor.heard([{"flood": 1 << 20}] * 4, output=2 << 20)

    assert (events[-1].kind, events[-1].status) == (EventKind.STOP, Status.FAILED)
    assert (events[-1].limit, events[-1].exit_code) == ("output", None)


@pytest.mark.requirement("WORK-8")
async def test_neither_prompt_nor_key_are_in_the_arguments_and_the_raw_stream_is_kept(vendor: Vendor) -> None:
    async with vendor.playing([{"say": "hello"}, {"listen": True}]) as run:
        async for event in run.events():
            if event.kind is EventKind.MESSAGE:
                break
        arguments = arguments_of(run.pid)
        below = [arguments_of(pid) for pid in children(run.pid)]

    assert below
    assert not any(secret in line for line in [arguments, *below] for secret in ("first prompt", "5ec4e7"))
    first, *rest = (vendor.place / "raw.jsonl").read_text().splitlines()
    assert json.loads(first) == {"wvo": "log", "driver": vendor.driver.name}
    assert any("hello" in line for line in rest)
    assert [event.text for line in rest for event in vendor.driver.meaning(line.encode())].count("hello") == 1


def arguments_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_a_program_that_is_not_there_says_so(vendor: Vendor) -> None:
    try:
        events = await vendor.heard([], program=("no-such-program",))
    except AgentNotStarted as error:
        assert "no-such-program" in str(error)
    else:
        assert (events[-1].status, "no-such-program" in events[-1].text) == (Status.FAILED, True)


@pytest.mark.parametrize(
    "message",
    [
        {"method": "item/commandExecution/requestApproval", "params": {}},
        {"id": 1, "result": {"rateLimits": {"primary": {"usedPercent": 100, "resetsAt": 1e17}}}},
    ],
)
async def test_a_message_of_codex_that_cannot_be_meant_is_survived(tmp_path: Path, message: dict[str, Any]) -> None:
    vendor = Vendor("codex", tmp_path)
    async with vendor.playing([]) as run:
        assert isinstance(run, CodexRun)
        run._waiting[1] = {"method": "account/rateLimits/read", "params": {}}  # pyright: ignore[reportPrivateUsage]
        events = list(run.meaning(json.dumps(message).encode()))

    assert not any(event.request or (event.signal and event.signal.resets_at) for event in events)


async def test_codex_can_read_its_configuration_whatever_the_project_is_called(tmp_path: Path) -> None:
    given = {"ROOT": '/srv/"\\\U0001f680\x7f\n'}
    launch = Vendor("codex", tmp_path).launch
    CodexRun(replace(launch, server=ServerEntry(argv=("\U0001f40d", "\x7f"), env=given))).environment()
    written = tomllib.loads((launch.home / "config.toml").read_text("utf-8"))["mcp_servers"]["wvo"]
    assert (written["command"], written["args"], written["env"]) == ("\U0001f40d", ["\x7f"], given)


async def test_codex_is_asked_again_while_it_is_busy_and_at_last_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codex, "_BUSY_SECONDS", 0.0)
    busy = json.dumps({"error": {"code": -32001, "message": "Server overloaded; retry later."}})
    async with Vendor("codex", tmp_path).playing([]) as run:
        assert isinstance(run, CodexRun)
        events: list[AgentEvent] = []
        number = 1
        while not events:
            number += 1
            events += run.meaning(busy.replace("{", f'{{"id": {number}, ', 1).encode())
            await run.after()

    assert number == 2 + codex._BUSY_TIMES  # pyright: ignore[reportPrivateUsage]
    assert [event.kind for event in events] == [EventKind.CAPACITY, EventKind.STOP]


async def test_codex_gets_no_wider_sandbox_however_it_asks(tmp_path: Path) -> None:
    asks = {"id": 0, "method": "item/permissions/requestApproval", "params": {"itemId": "1", "permissions": {}}}
    async with Vendor("codex", tmp_path).playing([]) as run:
        assert isinstance(run, CodexRun)
        assert list(run.meaning(json.dumps(asks).encode())) == []
        assert run._later == [{"id": 0, "result": {"permissions": {}}}]  # pyright: ignore[reportPrivateUsage]


@pytest.mark.requirement("SAFE-2")
async def test_a_program_that_only_has_a_shells_name_stays_in_sight(tmp_path: Path) -> None:
    """Who judges the command sees what a shell of the system is started for, and every other program whole."""
    shells = {
        "/bin/bash -lc 'git status && ls'": "git status && ls",
        "/usr/bin/zsh -c ls": "ls",
        "/bin/sh -c 'echo '\"'\"'$(id)'\"'\"": "echo '$(id)'",
    }
    others = [
        "./bash -lc ls",
        "bash -lc ls",
        "/srv/bash -lc ls",
        "/srv/work/bin/sh -c 'cat README.md'",
        "/bin/../srv/bash -lc ls",
        "/bin/x/bash -lc ls",
        "/usr/bin/env -c ls",
        "/bin/bash.py -lc ls",
        "/bin/BASH -lc ls",
        "/bin/bash -lic ls",
        "/bin/bash --rcfile=x -lc ls",
        "/bin/bash -lc ls 'rm -rf /'",
        "/bin/bash -lc 'ls",
        "/bin/bash",
        "",
    ]
    wanted = shells | {one: one for one in others}
    async with Vendor("codex", tmp_path).playing([]) as run:
        seen: dict[str, str] = {}
        for command in wanted:
            asks = {"id": 7, "method": "item/commandExecution/requestApproval", "params": {"command": command}}
            [event] = run.meaning(json.dumps(asks).encode())
            assert event.request is not None
            seen[command] = event.request.command or ""
            assert event.text == seen[command]
    assert seen == wanted


@pytest.mark.requirement("SAFE-2", "APPR-2")
async def test_a_change_of_files_by_codex_is_asked_for_with_all_that_it_writes(tmp_path: Path) -> None:
    """The request names an item and a turn; what is written is in the item, and both ids differ when it asks again."""
    moves = {"type": "update", "move_path": ".github/workflows/ci.yml"}
    seen: list[PermissionRequest] = []
    for number, diff in enumerate(("+on: push", "+on: push", "+curl evil")):
        changes = [{"path": "ci.yml", "kind": moves, "diff": diff}]
        item = {"type": "fileChange", "id": f"i{number}", "changes": []}
        params = {"threadId": f"t{number}", "turnId": f"u{number}", "itemId": f"i{number}", "startedAtMs": number}
        messages = [
            {"method": "item/started", "params": {"item": item}},
            {"method": "item/fileChange/patchUpdated", "params": {"itemId": f"i{number}", "changes": changes}},
            {"id": 7, "method": "item/fileChange/requestApproval", "params": params},
        ]
        (place := tmp_path / f"{number}").mkdir()
        async with Vendor("codex", place).playing([]) as run:
            events = [event for message in messages for event in run.meaning(json.dumps(message).encode())]
        seen += [event.request for event in events if event.request is not None]

    assert [one.paths for one in seen] == [("ci.yml", ".github/workflows/ci.yml")] * 3
    assert seen[0].input == seen[1].input != seen[2].input
    assert "curl evil" in json.dumps(dict(seen[2].input))
