"""The real Gemini CLI, driven by our driver against a scripted model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.clients.models.gemini import GeminiModel
from tests.clients.models.script import Call, Refuse, Say, Step
from tests.clients.programs import clean_environment
from tests.clients.workspace import seeded
from wvo_mcp.domain.agents import AgentEvent, EventKind, Status
from wvo_mcp.domain.providers.catalogue import Model, Place, Provider, ProviderKind, Tier
from wvo_mcp.domain.providers.signals.reading import FailureKind
from wvo_mcp.execution.agents.gemini import GeminiRun
from wvo_mcp.execution.agents.home import WorkerHomes
from wvo_mcp.execution.agents.lines import LineDriver
from wvo_mcp.ports.agents import Answer, Launch
from wvo_mcp.ports.homes import HomeAsk
from wvo_mcp.settings import Settings

pytestmark = [pytest.mark.clients, pytest.mark.anyio, pytest.mark.requirement("WORK-2")]

GEMINI = Provider(
    "gemini", ProviderKind.GEMINI, Place.CLOUD, {Tier.HIGH: Model("gemini-2.5-flash")}, command=("gemini",)
)
WRITE = Call("run_shell_command", {"command": "echo from the shell > shell.txt"}, own=True)
FILE = Call("write_file", {"file_path": "file.txt", "content": "from the tool\n"}, own=True)


class Place_:
    """A person, a project and a workspace."""

    def __init__(self, place: Path) -> None:
        self.person, self.project = place / "person", seeded(place / "project")
        self.workspace = place / "workspace"
        self.workspace.mkdir()
        (self.person / ".gemini").mkdir(parents=True)
        (self.person / ".gemini/settings.json").write_text('{"mcpServers": {"theirs": {"command": "false"}}}')
        self.environ = {**clean_environment(self.person), "GEMINI_API_KEY": "dummy"}
        settings = Settings.model_validate({"root": self.project, "WVO_STATE_DIR": self.project / "state"})
        self.homes = WorkerHomes(settings, self.environ)
        self.before = self.tree()
        self.session: str | None = None

    def tree(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.person.rglob("*") if path.is_file()}

    async def drive(self, model: GeminiModel, answer: Answer, then: str | None = None, **more: Any) -> list[AgentEvent]:
        ask = HomeAsk(provider=GEMINI, task_id="PRICES", slot=0, key="00" * 32, session=self.session)
        events: list[AgentEvent] = []
        async with self.homes.open(ask) as home:
            launch = Launch(
                workspace=self.workspace,
                home=home.path,
                prompt="Work on PRICES.",
                server=home.server,
                env={**home.env, "PATH": self.environ["PATH"], "GOOGLE_GEMINI_BASE_URL": model.url},
                model="gemini-2.5-flash",
                session=home.session,
                **more,
            )
            with anyio.fail_after(120):
                async with LineDriver(GeminiRun).start(launch) as run:
                    async for event in run.events():
                        events.append(event)
                        self.session = event.session or self.session
                        if event.request is not None:
                            await run.answer(event.request.request_id, answer)
                        if event.kind is EventKind.STOP and then is None:
                            break
                        if event.kind is EventKind.STOP and then is not None:
                            await run.say(then)
                            then = None
        return events


@pytest.fixture
def place(tmp_path: Path, need: Callable[[str], None]) -> Place_:
    need("gemini")
    return Place_(tmp_path)


def requests(events: list[AgentEvent]) -> list[tuple[str, str | None, tuple[str, ...]]]:
    return [(one.request.tool, one.request.command, one.request.paths) for one in events if one.request is not None]


@pytest.mark.requirement("SAFE-1", "WORK-8")
async def test_gemini_asks_before_it_acts_and_acts_when_it_is_allowed(place: Place_) -> None:
    script: list[Step] = [Call("plan_next", {"limit": 1}), WRITE, FILE, Say("All is written.")]
    with GeminiModel(script) as model:
        events = await place.drive(model, Answer(allowed=True))
    assert requests(events) == [
        ("run_shell_command", "echo from the shell > shell.txt", ()),
        ("write_file", None, ("file.txt",)),
    ]
    assert (place.workspace / "shell.txt").read_text() == "from the shell\n"
    assert (place.workspace / "file.txt").read_text() == "from the tool\n"
    stop = events[-1]
    assert (stop.kind, stop.status, stop.text) == (EventKind.STOP, Status.DONE, "All is written.")
    assert events[0].kind is EventKind.STARTED
    used = [one.use for one in events if one.use is not None]
    assert [(one.tokens_in, one.tokens_out, one.sums) for one in used] == [(40, 20, True)]
    assert place.tree() == place.before


@pytest.mark.requirement("SAFE-1")
async def test_what_is_refused_to_gemini_does_not_happen_and_its_model_reads_why(place: Place_) -> None:
    with GeminiModel([WRITE, FILE, Say("I may not.")]) as model:
        events = await place.drive(model, Answer(allowed=False, reason="It waits for approval A-17."))
        told = model.outcomes(model.turns[-1].body)
    assert len(requests(events)) == 2
    assert [("A-17" in one.text) for one in told] == [True, True]
    assert not list(place.workspace.iterdir())


@pytest.mark.full
@pytest.mark.requirement("SAFE-1")
async def test_a_project_cannot_turn_the_question_off(place: Place_) -> None:
    (place.workspace / ".gemini").mkdir()
    theirs = place.workspace / ".gemini/settings.json"
    for text in ('{"hooksConfig": {"enabled": false}}', '{/* "x */ "hooksConfi\\u0067": {"enabled": false}}', "{"):
        theirs.write_text(text)
        with GeminiModel([WRITE]) as model:
            events = await place.drive(model, Answer(allowed=True))
            assert not model.turns
        assert (events[-1].kind, events[-1].status) == (EventKind.STOP, Status.FAILED)
        assert ".gemini/settings.json" in events[-1].text
    assert not (place.workspace / "shell.txt").exists()


@pytest.mark.full
@pytest.mark.requirement("SAFE-1")
async def test_gemini_without_hooks_is_ended_before_its_model_can_act(
    place: Place_, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.workspace / ".gemini").mkdir()
    (place.workspace / ".gemini/settings.json").write_text('{"hooksConfig": {"enabled": false}}')
    monkeypatch.setattr("wvo_mcp.execution.agents.gemini._STRONGER", frozenset[str]())
    with GeminiModel([WRITE]) as model:
        events = await place.drive(model, Answer(allowed=True))
    assert "hooks are turned off" in events[-1].text
    assert not (place.workspace / "shell.txt").exists()


@pytest.mark.full
async def test_an_entry_of_ours_in_the_project_does_not_take_the_place_of_the_workers(place: Place_) -> None:
    (place.workspace / ".gemini").mkdir()
    theirs = {"mcpServers": {"wvo": {"command": "false"}}}
    (place.workspace / ".gemini/settings.json").write_text(json.dumps(theirs))
    with GeminiModel([Call("worker_plan_next", {"limit": 1}), Say("Seen.")]) as model:
        events = await place.drive(model, Answer(allowed=False))
        [outcome] = model.outcomes(model.turns[-1].body)
    assert events[-1].status is Status.DONE
    assert '"wip_limit"' in outcome.text, "our server answered"


@pytest.mark.full
async def test_a_second_turn_and_a_second_process_go_on_in_the_same_session(place: Place_) -> None:
    with GeminiModel(
        [Say("One.")],
    ) as model:
        events = await place.drive(model, Answer(allowed=True), then="Go on.")
        turns = len(model.turns)
        again = await place.drive(model, Answer(allowed=True))
        texts = json.dumps(model.turns[-1].body["contents"])
    assert [one.kind for one in events if one.kind is EventKind.STOP] == [EventKind.STOP] * 2
    assert texts.count("Work on PRICES.") == 2
    assert texts.count("Go on.") == 1
    assert turns == 2
    assert [one.use.tokens_in for one in again if one.use is not None] == [10], "and nothing of what it resumed"
    used = [one.use.tokens_in for one in events if one.use is not None]
    assert used == [10, 20], "the sum of the process"


@pytest.mark.full
async def test_a_limit_of_gemini_is_a_limit_with_its_wait(place: Place_) -> None:
    message = "You exceeded your current quota. Please retry in 1s."
    with GeminiModel([Refuse(429, "RESOURCE_EXHAUSTED", message, times=20)]) as model:
        events = await place.drive(model, Answer(allowed=True))
    stop = events[-1]
    assert (stop.kind, stop.status) == (EventKind.STOP, Status.FAILED)
    assert stop.signal is not None
    assert (stop.signal.kind, stop.signal.retry_after) == (FailureKind.RATE_LIMIT, 1.0)
    assert events[-2].kind is EventKind.LIMIT


@pytest.mark.full
async def test_without_a_valid_key_gemini_says_that_it_is_the_login(place: Place_) -> None:
    with GeminiModel([Refuse(401, "UNAUTHENTICATED", "API key not valid", times=20)]) as model:
        events = await place.drive(model, Answer(allowed=True))
    assert EventKind.AUTH in [one.kind for one in events]
