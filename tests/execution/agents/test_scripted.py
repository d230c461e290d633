"""The scripted agent: it speaks as a real one does, and does what it is told and no more."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from wvo_mcp.domain.agents import AgentEvent, EventKind, Status
from wvo_mcp.execution.agents.scripted import Scripts, scripted
from wvo_mcp.ports.agents import Answer, Launch, ServerEntry

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-2")]

SERVER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        said = json.dumps(asked["params"].get("arguments", {}))
        result = {"content": [{"type": "text", "text": said}], "isError": asked["params"].get("name") == "wrong"}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


def a_launch(tmp_path: Path, session: str | None = None) -> Launch:
    server = tmp_path / "server.py"
    server.write_text(SERVER)
    for name in ("work", "home"):
        (tmp_path / name).mkdir(exist_ok=True)
    entry = ServerEntry(argv=(sys.executable, str(server)), env={})
    return Launch(
        workspace=tmp_path / "work",
        home=tmp_path / "home",
        prompt="# T1: First\n\nDo it.",
        server=entry,
        env={"PATH": "/usr/bin:/bin"},
        session=session,
        log=tmp_path / "log.jsonl",
    )


async def until_stopped(events: AsyncIterator[AgentEvent]) -> list[AgentEvent]:
    found: list[AgentEvent] = []
    async for event in events:
        found.append(event)
        if event.kind is EventKind.STOP:
            break
    return found


async def run(tmp_path: Path, *attempts: list[dict[str, Any]], session: str | None = None) -> list[AgentEvent]:
    scripts: Scripts = {"T1": attempts}
    with anyio.fail_after(60):
        async with scripted(scripts).start(a_launch(tmp_path, session)) as agent:
            return await until_stopped(agent.events())


async def test_steps_become_files_calls_and_events(tmp_path: Path) -> None:
    steps: list[dict[str, Any]] = [
        {"say": "I begin."},
        {"write": "a/b.txt", "text": "hi\n"},
        {"call": "checkpoint", "with": {"summary": "half"}},
        {"call": "wrong"},
        {"use": {"in": 10, "out": 2, "cost": 0.5}},
    ]

    found = await run(tmp_path, steps)

    assert (tmp_path / "work" / "a" / "b.txt").read_text() == "hi\n"
    kinds = [event.kind for event in found]
    assert kinds[:2] == [EventKind.STARTED, EventKind.MESSAGE]
    ended = [(event.tool, event.status) for event in found if event.status is not Status.RUNNING and event.tool]
    assert ended == [("Write", Status.DONE), ("checkpoint", Status.DONE), ("wrong", Status.FAILED)]
    assert next(event.text for event in found if event.tool == "checkpoint" and event.text) == (
        '{"task_id": "T1", "summary": "half"}'
    )
    assert [event.use.cost for event in found if event.use is not None] == [0.5]
    assert found[-1].status is Status.DONE


async def test_it_asks_before_it_runs_a_command_and_takes_no_for_an_answer(tmp_path: Path) -> None:
    driver = scripted({"T1": [[{"run": "echo yes > yes"}, {"run": "echo no > no"}]]})
    said: list[str] = []
    with anyio.fail_after(60):
        async with driver.start(a_launch(tmp_path)) as agent:
            async for event in agent.events():
                if event.request is not None:
                    allowed = "yes" in (event.request.command or "")
                    await agent.answer(event.request.request_id, Answer(allowed, "not here"))
                said += [event.text] if event.kind is EventKind.MESSAGE else []
                if event.kind is EventKind.STOP:
                    break

    assert [one.name for one in (tmp_path / "work").iterdir()] == ["yes"]
    assert said == ["I was refused: not here"]


async def test_a_resumed_session_goes_on_and_a_new_attempt_has_its_own_steps(tmp_path: Path) -> None:
    first = [{"say": "one"}, {"limit": 5}, {"say": "two"}]
    found = await run(tmp_path, first, [{"say": "another"}])
    assert [event.kind for event in found][-2:] == [EventKind.LIMIT, EventKind.STOP]
    assert found[-1].signal is not None

    resumed = await run(tmp_path, first, [{"say": "another"}], session=found[0].session)
    again = await run(tmp_path, first, [{"say": "another"}])

    assert [event.text for event in resumed if event.kind is EventKind.MESSAGE] == ["two"]
    assert [event.text for event in again if event.kind is EventKind.MESSAGE] == ["another"]


async def test_an_interrupt_ends_the_turn_and_an_exit_the_session(tmp_path: Path) -> None:
    with anyio.fail_after(60):
        async with scripted({"T1": [[{"say": "begun"}, {"wait": 50}]]}).start(a_launch(tmp_path)) as agent:
            async for event in agent.events():
                if event.kind is EventKind.MESSAGE:
                    await agent.interrupt()
                if event.kind is EventKind.STOP:
                    assert event.status is Status.INTERRUPTED
                    break

    found = await run(tmp_path, [], [{"exit": 3}])
    assert (found[-1].status, "code 3" in found[-1].text) == (Status.FAILED, True)


async def test_each_further_turn_ends_in_a_stop_of_its_own(tmp_path: Path) -> None:
    with anyio.fail_after(60):
        async with scripted({"T1": [[]]}).start(a_launch(tmp_path)) as agent:
            events = agent.events()
            for _ in range(2):
                assert (await until_stopped(events))[-1].status is Status.DONE
                await agent.say("go on")
