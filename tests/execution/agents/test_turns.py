"""Gemini's driver and the program between it and each turn, against scripted fakes of Gemini."""

import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from wvo_mcp.domain.agents import AgentEvent, EventKind, Status
from wvo_mcp.execution.agents.gemini import GeminiRun
from wvo_mcp.execution.agents.lines import LineDriver, LineRun
from wvo_mcp.ports.agents import Answer, Launch, ServerEntry

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-2")]

INIT = {"type": "init", "session_id": "s-1", "model": "m"}
SUCCESS = {
    "type": "result",
    "status": "success",
    "stats": {"input_tokens": 30, "input": 20, "output_tokens": 5, "cached": 10},
}
BEGINNING = f"""
import json, os, subprocess, sys, time
prompt = sys.stdin.read()
hooks = json.load(open(os.environ["GEMINI_CLI_HOME"] + "/.gemini/settings.json"))["hooks"]
def say(**event): print(json.dumps(event, separators=(",", ":")), flush=True)
def hook(event, **given):
    command = hooks[event][0]["hooks"][0]["command"]
    given = json.dumps(dict(given, hook_event_name=event))
    ran = subprocess.run(["sh", "-c", command], input=given, capture_output=True, text=True)
    return ran.returncode, ran.stdout, ran.stderr
hook("SessionStart")
say(**{INIT!r})
"""


@asynccontextmanager
async def fake(place: Path, then: str, beginning: str = BEGINNING, **more: Any) -> AsyncGenerator[LineRun]:
    """A run of a program that begins a session and does `then`."""
    for folder in ("home", "work"):
        (place / folder).mkdir(exist_ok=True)
    (place / "gemini.py").write_text(beginning + then)
    launch = Launch(
        workspace=place / "work",
        home=place / "home",
        prompt="Do it.",
        server=ServerEntry(argv=("wvo-mcp",), env={"WVO_WORKER_KEY": "00"}),
        env={"PATH": os.environ["PATH"]},
        program=(sys.executable, str(place / "gemini.py")),
        **more,
    )
    with anyio.fail_after(30):
        async with LineDriver(GeminiRun).start(launch) as run:
            yield run


async def until_stop(run: LineRun) -> list[AgentEvent]:
    events: list[AgentEvent] = []
    async for event in run.events():
        events.append(event)
        if event.kind is EventKind.STOP:
            break
    return events


def end() -> str:
    return f"say(**{SUCCESS!r})\n"


async def test_a_prompt_reaches_the_program_by_stdin_and_by_no_argument(tmp_path: Path) -> None:
    script = "say(type='message', role='assistant', content=json.dumps([prompt, sys.argv]), delta=True)\n"
    async with fake(tmp_path, script + end()) as run:
        events = await until_stop(run)
    prompt, argv = json.loads(events[-1].text)
    assert prompt == "Do it."
    assert "Do it." not in argv
    assert not any("00" in word for word in argv)
    assert [(one.use.tokens_in, one.use.tokens_out, one.use.tokens_cached) for one in events if one.use] == [
        (20, 5, 10)
    ]


@pytest.mark.requirement("SAFE-1")
async def test_a_hook_gets_the_answer_to_its_own_question_only(tmp_path: Path) -> None:
    script = """
both = [subprocess.Popen(["sh", "-c", hooks["BeforeTool"][0]["hooks"][0]["command"]], stdin=-1, stdout=-1) for _ in "ab"]
for one, name in zip(both, "ab"):
    one.stdin.write(json.dumps({"tool_name": "run_shell_command", "tool_input": {"command": name}}).encode()); one.stdin.close()
told = [json.loads(one.stdout.read())["decision"] for one in both]
say(type='message', role='assistant', content=json.dumps(told))
"""
    commands: dict[str, str | None] = {}
    async with fake(tmp_path, script + end()) as run:
        event = None
        async for event in run.events():
            if event.request is not None:
                commands[event.request.request_id] = event.request.command
                if len(commands) == 2:
                    await run.answer("99", Answer(allowed=True))
                    for request_id, command in reversed(commands.items()):
                        await run.answer(request_id, Answer(allowed=command == "a"))
            if event.kind is EventKind.STOP:
                break
    assert event is not None
    assert event.status is Status.DONE
    assert json.loads(event.text) == ["allow", "deny"]


@pytest.mark.requirement("SAFE-1")
async def test_a_hook_without_an_answer_refuses_and_says_so(tmp_path: Path) -> None:
    script = """
ask, _, rest = hooks["BeforeTool"][0]["hooks"][0]["command"].partition(" || ")
for broken in (ask + "-not-there || " + rest, "sh -c 'kill -9 $$' || " + rest):
    ran = subprocess.run(["sh", "-c", broken], input="{}", capture_output=True, text=True)
    say(type='message', role='assistant', content=json.dumps([ran.returncode, bool(ran.stdout), bool(ran.stderr)]))
"""
    async with fake(tmp_path, script + end()) as run:
        events = await until_stop(run)
    assert [json.loads(one.text) for one in events if one.kind is EventKind.MESSAGE] == [[2, False, True]] * 2


async def test_what_is_said_within_a_turn_begins_the_next_one_in_the_same_session(tmp_path: Path) -> None:
    script = "say(type='message', role='assistant', content=json.dumps([prompt, sys.argv[1:]]))\n" + end()
    heard: list[tuple[str, list[str]]] = []
    async with fake(tmp_path, script) as run:
        pid = run.pid
        await run.say("And this.")
        await run.say("And that.")
        async for event in run.events():
            if event.kind is EventKind.STOP:
                heard.append(json.loads(event.text))
                if len(heard) == 2:
                    break
        assert run.pid == pid
    assert [prompt for prompt, _ in heard] == ["Do it.", "And this.\n\nAnd that."]
    assert "--resume" not in heard[0][1]
    assert heard[1][1][heard[1][1].index("--resume") + 1] == "s-1"


@pytest.mark.full
async def test_an_interrupt_ends_a_turn_that_ignores_it_too(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    script = deaf + "say(type='tool_use', tool_name='x', tool_id='1')\ntime.sleep(100)"
    async with fake(tmp_path, script) as run:
        async for event in run.events():
            if event.kind is EventKind.TOOL_CALL:
                await run.interrupt()
            if event.kind is EventKind.STOP:
                assert event.status is Status.INTERRUPTED
                break


@pytest.mark.requirement("PROV-3")
async def test_a_429_that_comes_with_no_event_at_all_is_a_limit(tmp_path: Path) -> None:
    script = "sys.stderr.write('RetryableQuotaError: slow down. Please retry in 30s.\\n'); sys.exit(173)"
    async with fake(tmp_path, script) as run:
        events = await until_stop(run)
    assert [one.kind for one in events[-2:]] == [EventKind.LIMIT, EventKind.STOP]
    assert events[-1].signal is not None
    assert events[-1].signal.retry_after == 30.0


@pytest.mark.parametrize(
    ("code", "kind"), [(41, EventKind.AUTH), (42, None), (52, None), (53, None), (1, None), (-9, None)]
)
async def test_each_exit_code_without_a_result_is_a_turn_that_failed(
    tmp_path: Path, code: int, kind: EventKind | None
) -> None:
    script = "os.kill(os.getpid(), 9)" if code < 0 else f"sys.exit({code})"
    async with fake(tmp_path, script) as run:
        events = await until_stop(run)
    assert events[-1].status is Status.FAILED
    assert str(code) in events[-1].text
    assert (kind is None) or events[-2].kind is kind


async def test_a_program_that_is_not_there_is_a_turn_that_failed(tmp_path: Path) -> None:
    async with fake(tmp_path, "") as run:
        pass
    launch = run.launch
    object.__setattr__(launch, "program", ("no-such-gemini",))
    with anyio.fail_after(30):
        async with LineDriver(GeminiRun).start(launch) as run:
            events = await until_stop(run)
    assert (events[-1].status, "no-such-gemini" in events[-1].text) == (Status.FAILED, True)


@pytest.mark.parametrize(
    "flood",
    [
        pytest.param("sys.stdout.write('x' * 50_000_000 + '\\n')", id="a line of 50 MB", marks=pytest.mark.full),
        pytest.param("sys.stdout.write('y' * 5_000_000)", id="a line that does not end"),
        pytest.param("sys.stdout.buffer.write(b'\\xff\\x00{[\\n' * 3_000)", id="bytes that are no text"),
        pytest.param("sys.stdout.write('{\"a\":' * 100_000 + '\\n')", id="JSON that is too deep"),
        pytest.param("sys.stdout.write('null\\n[1]\\n7\\n' * 2_000)", id="JSON that is no object"),
        pytest.param(
            "[say(type='tool_result', tool_id=7, status=[], output={}) for _ in range(5_000)]", id="wrong types"
        ),
    ],
)
async def test_a_hostile_stream_comes_to_its_end_and_its_hooks_are_heard_within(tmp_path: Path, flood: str) -> None:
    ask = "ran = hook('BeforeTool', tool_name='write_file', tool_input={'file_path': 'a'})\n"
    later = "import threading\nthreading.Timer(0.2, lambda: print(flush=True)).start()\n"
    script = f"{flood}\nsys.stdout.flush()\n{later}{ask}{end()}"
    requests = 0
    async with fake(tmp_path, script) as run:
        async for event in run.events():
            if event.request is not None:
                requests += 1
                await run.answer(event.request.request_id, Answer(allowed=False, reason="no"))
            if event.kind is EventKind.STOP:
                assert (event.status, requests) == (Status.DONE, 1)
                break


async def test_what_a_turn_leaves_running_does_not_hold_up_its_end(tmp_path: Path) -> None:
    async with fake(tmp_path, "subprocess.Popen(['sleep', '60'])\n" + end()) as run:
        events = await until_stop(run)
    assert events[-1].status is Status.DONE


async def test_a_program_that_lingers_behind_its_result_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fake(tmp_path, end() + "time.sleep(60)") as run:
        events = await until_stop(run)
    assert events[-1].status is Status.DONE


async def test_nothing_of_a_run_is_left_in_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with fake(tmp_path, end()) as run:
        await until_stop(run)
        assert left(tmp_path)
    assert not left(tmp_path)


def left(folder: Path) -> list[Path]:
    return list(folder.glob("wvo-*"))
