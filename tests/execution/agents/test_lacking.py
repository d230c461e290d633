"""What the installed program refuses of what it is asked says whether people can take part in its work (WS-8)."""

from typing import Any

import pytest

from wvo_mcp.domain.agents import EventKind
from wvo_mcp.execution.agents.claude import ClaudeRun
from wvo_mcp.execution.agents.codex import CodexRun
from wvo_mcp.execution.agents.gemini import GeminiRun
from wvo_mcp.execution.agents.lines import NOWHERE
from wvo_mcp.execution.agents.local import LocalRun

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-8")]


async def test_a_model_that_only_answers_lacks_it_from_the_start_and_programs_do_not() -> None:
    assert LocalRun(NOWHERE, "http://127.0.0.1:9").lacks is not None
    assert [run(NOWHERE).lacks for run in (ClaudeRun, CodexRun, GeminiRun)] == [None] * 3


async def test_a_claude_that_refuses_control_requests_cannot_be_paused() -> None:
    run = ClaudeRun(NOWHERE)
    good = {"subtype": "success", "request_id": "wvo-1", "response": {"commands": []}}
    assert list(run.read({"type": "control_response", "response": good})) == []
    assert run.lacks is None
    bad = {"subtype": "error", "request_id": "wvo-2", "error": "Unsupported control request subtype: interrupt"}
    [event] = run.read({"type": "control_response", "response": bad})
    assert event.kind is EventKind.NOISE
    assert run.lacks is not None and "Unsupported control request" in run.lacks


@pytest.mark.parametrize(
    "error",
    [
        {"code": -32601, "message": "method not found"},
        {"code": -32600, "message": "Invalid request: unknown variant `turn/interrupt`, expected one of `initialize`"},
    ],
)
async def test_a_codex_that_does_not_know_a_method_cannot_be_paused(error: dict[str, Any]) -> None:
    run = Silent(NOWHERE)
    await run.interrupt()
    assert list(run.read({"id": 1, "error": {"code": -32600, "message": "no active turn to interrupt"}})) == []
    assert run.lacks is None, "that was about the turn"
    await run.interrupt()
    [event] = run.read({"id": 2, "error": error})
    assert event.kind is EventKind.NOISE
    assert run.lacks == "this codex does not know turn/interrupt"


class Silent(CodexRun):
    """In a turn, and without a process."""

    async def interrupt(self) -> None:
        self._turn = "t"
        await super().interrupt()

    async def send(self, message: dict[str, Any]) -> None: ...
