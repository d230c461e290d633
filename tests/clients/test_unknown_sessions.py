"""The real programs, asked to go on in a session that they do not know: one fresh start follows, and no attempt is counted."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.models.gemini import GeminiModel
from tests.clients.models.script import Say
from tests.clients.test_driving_gemini import Place_
from tests.clients.test_limited_workers import Place
from wvo_mcp.domain.agents import AgentEvent
from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.recovery import Act, Corrections, remedy
from wvo_mcp.ports.agents import Answer

pytestmark = [pytest.mark.clients, pytest.mark.anyio, pytest.mark.requirement("WORK-5")]


@pytest.mark.parametrize("program", ["claude", "codex", "gemini"])
async def test_a_session_that_the_program_does_not_know_is_begun_anew(
    program: str, tmp_path: Path, need: Callable[[str], None]
) -> None:
    need(program)

    stop = await _resumed(program, str(uuid.uuid4()), tmp_path)

    found = remedy(ProviderKind(program), stop.text, stop.signal, Corrections(), [], resumed=True)
    assert (found.act, found.trigger) == (Act.FRESH, "session_unknown"), stop


async def _resumed(program: str, session: str, folder: Path) -> AgentEvent:
    if program == "gemini":
        place = Place_(folder)
        place.session = session
        with GeminiModel([Say("Hello.")]) as model:
            return (await place.drive(model, Answer(allowed=True)))[-1]
    other = Place(program, folder)
    with other.model([Say("Hello.")]) as model:
        async with other.running(model, session) as (_, events):
            return await other.stop(events)
