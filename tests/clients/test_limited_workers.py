"""The real programs, driven as workers are, at a model that reaches its limit: told once more, parked, resumed."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from tests.clients.models.anthropic import AnthropicModel
from tests.clients.models.openai import OpenAIModel
from tests.clients.models.script import Refuse, Say, ScriptedModel, Step
from tests.clients.programs import SERVER, clean_environment, programs_folder
from tests.clients.workspace import seeded
from wvo_mcp.domain.agents import AgentEvent, EventKind, Status
from wvo_mcp.domain.providers.signals.reading import FailureKind
from wvo_mcp.execution.agents.claude import ClaudeRun
from wvo_mcp.execution.agents.codex import CodexRun
from wvo_mcp.execution.agents.lines import LineDriver
from wvo_mcp.orchestration.pool import parking
from wvo_mcp.ports.agents import AgentRun, Launch, ServerEntry

pytestmark = [pytest.mark.clients, pytest.mark.anyio]


@dataclass
class Place:
    """A worktree and a home for one worker; `program` is claude or codex."""

    program: str
    folder: Path
    seen: list[AgentEvent] = field(default_factory=list[AgentEvent])

    def model(self, script: Sequence[Step]) -> ScriptedModel:
        return AnthropicModel(script) if self.program == "claude" else OpenAIModel(script)

    def limit(self, ends: datetime, times: int) -> Refuse:
        """As a subscriber meets it."""
        at = int(ends.timestamp())
        if self.program == "codex":
            more = {"plan_type": "pro", "resets_at": at}
            return Refuse(429, "usage_limit_reached", "The usage limit has been reached", times, {}, more)
        told = {"status": "rejected", "reset": str(at), "representative-claim": "five_hour"}
        headers = {f"anthropic-ratelimit-unified-{name}": value for name, value in told.items()}
        return Refuse(429, "rate_limit_error", "This request would exceed your limit.", times, headers)

    @asynccontextmanager
    async def running(
        self, model: ScriptedModel, session: str | None = None
    ) -> AsyncGenerator[tuple[AgentRun, AsyncIterator[AgentEvent]]]:
        home, work = self.folder / "home", self.folder / "work"
        home.mkdir(exist_ok=True)
        if not work.exists():
            seeded(work)
        env = clean_environment(self.folder / "user")
        if self.program == "claude":
            env |= {"CLAUDE_CODE_OAUTH_TOKEN": "dummy", "ANTHROPIC_BASE_URL": model.url, "CLAUDE_CODE_MAX_RETRIES": "0"}
        else:
            env |= {"OPENAI_API_KEY": "dummy"}
        launch = Launch(
            workspace=work,
            home=home,
            program=(str(programs_folder() / self.program),),
            prompt="Say hello.",
            server=ServerEntry(argv=(str(SERVER),), env={"ROOT": str(work), "WVO_AGENT_ID": "auto-here.1"}),
            env=env,
            session=session,
            confirm_quota=session is not None,
            base_url=f"{model.url}/v1",
        )
        driver = LineDriver(ClaudeRun if self.program == "claude" else CodexRun)
        async with driver.start(launch) as run:
            yield run, run.events()

    def asked(self, model: ScriptedModel) -> int:
        """How often the model was asked to work."""
        return len([one for one in model.requests if one.method == "POST" and model.side_answer(one) is None])

    async def stop(self, events: AsyncIterator[AgentEvent]) -> AgentEvent:
        """The end of the turn."""
        with anyio.fail_after(120):
            async for event in events:
                self.seen.append(event)
                if event.kind is EventKind.STOP:
                    return event
        raise AssertionError(f"it ended without a stop: {self.seen}")


@pytest.fixture(params=["claude", "codex"])
def place(request: pytest.FixtureRequest, tmp_path: Path, need: Callable[[str], None]) -> Place:
    need(request.param)
    return Place(request.param, tmp_path)


@pytest.mark.requirement("PROV-3")
@pytest.mark.requirement("WORK-7")
async def test_a_limit_that_is_none_is_not_believed(place: Place) -> None:
    ends = datetime.now(UTC) + timedelta(hours=2)
    with place.model([place.limit(ends, 1), Say("Hello.")]) as model:
        async with place.running(model) as (run, events):
            limited = await place.stop(events)
            assert limited.status is Status.FAILED and limited.signal is not None
            assert parking.unsure(limited.signal, confirmed=False)

            await run.say("Go on.")
            told = await place.stop(events)

        assert told.status is Status.DONE, place.seen
        assert place.asked(model) == 2


@pytest.mark.full
@pytest.mark.requirement("PROV-3")
@pytest.mark.requirement("WORK-7")
async def test_a_session_that_was_limited_goes_on_in_another_process(place: Place) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    with place.model([place.limit(ends, 2), Say("Hello.")]) as model:
        async with place.running(model) as (run, events):
            await place.stop(events)
            await run.say("Go on.")
            limited = await place.stop(events)
        signal, session = limited.signal, limited.session
        assert signal is not None and session is not None
        assert signal.kind in (FailureKind.RATE_LIMIT, FailureKind.QUOTA)
        assert not parking.unsure(signal, confirmed=True)
        assert signal.resets_at is not None
        assert 0 <= (signal.resets_at - ends).total_seconds() <= 60  # never too soon

        async with place.running(model, session) as (_, events):
            done = await place.stop(events)

        assert (done.status, done.session) == (Status.DONE, session), place.seen
        assert place.asked(model) == 3


@pytest.mark.full
@pytest.mark.requirement("PROV-4")
@pytest.mark.parametrize(
    ("status", "word", "kind"),
    [(529, "overloaded_error", FailureKind.CAPACITY), (401, "authentication_error", FailureKind.AUTH)],
)
async def test_other_failures_of_the_provider_are_told_apart(
    place: Place, status: int, word: str, kind: FailureKind
) -> None:
    with place.model([Refuse(status, word, word.replace("_", " "), 99)]) as model:
        async with place.running(model) as (_, events):
            stopped = await place.stop(events)
    assert stopped.signal is not None, place.seen
    assert stopped.signal.kind is kind and not parking.unsure(stopped.signal, confirmed=False)
