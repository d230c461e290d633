"""Each client program works a task over `/mcp`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.models.script import Call, Say
from tests.clients.over_http import serving, token_of, wire
from tests.clients.programs import CLIENTS, Client
from tests.clients.workspace import CORE_TOOLS, rows, seeded

pytestmark = [pytest.mark.clients, pytest.mark.requirement("DASH-5")]

SCRIPT = (
    Call("plan_next", {"limit": 3}),
    Call("claim_task", {"task_id": "PRICES"}),
    Call("checkpoint", {"task_id": "PRICES", "summary": "Rules are read", "next_steps": "apply them"}),
    Call("complete_task", {"task_id": "PRICES", "summary": "Rules are applied"}),
    Say("PRICES is done."),
)


def programs(*always: str) -> pytest.MarkDecorator:
    """These with every change, all with the full run."""
    params = [pytest.param(name, marks=() if name in always else pytest.mark.full) for name in sorted(CLIENTS)]
    return pytest.mark.parametrize("program", params, indirect=True)


@pytest.fixture
def program(request: pytest.FixtureRequest, tmp_path: Path, need: Callable[[str], None]) -> Client:
    """A client with a project of two tasks and no server yet."""
    need(request.param)
    made = CLIENTS[request.param](tmp_path)
    seeded(made.project)
    made.prepare()
    return made


@programs("claude", "codex", "gemini")
@pytest.mark.parametrize("with_token", [pytest.param(False, marks=pytest.mark.full), True])
def test_a_client_lists_our_tools_in_its_first_turn_and_takes_a_task_to_done(
    program: Client, tmp_path: Path, with_token: bool
) -> None:
    token = token_of(program.project, tmp_path, "agent") if with_token else None
    with serving(program.project, tmp_path, "--require-token" if with_token else "") as site:
        wire(program, site.url, token=token, agent="zoe" if with_token else None)
        added = len(site.requests())
        with program.model(SCRIPT) as model:
            run = program.ask(model, "Work on the next task.")
        asked = site.requests()[added:]

    assert run.exit_code == 0, run.report()
    first, last = model.turns[0], model.turns[-1]
    assert model.tool_names(first.body) | model.announced_tools(first.body) == CORE_TOOLS
    outcomes = model.outcomes(last.body)
    assert not any(outcome.is_error for outcome in outcomes), outcomes
    assert rows(program.project, "SELECT status FROM tasks WHERE id = 'PRICES'") == [("done",)]
    [(provider, agent)] = rows(program.project, "SELECT provider, agent_id FROM agent_pool")
    assert provider == program.name
    assert (agent == "zoe") == with_token
    assert {path for _, path, _ in asked} == {"/mcp"}, "nobody looks for a login"


@programs("codex")
@pytest.mark.requirement("CORE-11")
def test_a_client_goes_on_with_its_task_when_the_server_was_killed_and_started_again(
    program: Client, tmp_path: Path
) -> None:
    held = "SELECT 1 FROM tasks WHERE id = 'PRICES' AND status = 'in_progress'"
    restarts: list[int] = []
    with serving(program.project, tmp_path) as site:
        wire(program, site.url, agent="zoe")

        def restart() -> None:
            if not restarts and rows(program.project, held):
                restarts.append(len(site.requests()))
                site.kill()
                site.start()

        with program.model(SCRIPT) as model:
            model.on_request = restart
            run = program.ask(model, "Work on the next task.")
        if program.name == "gemini":  # it opens no other session, but its next start does
            assert "start your client again" in model.outcomes(model.turns[-1].body)[-1].text
            with program.model([SCRIPT[3], SCRIPT[4]]) as model:
                run = program.ask(model, "Go on.")

    assert run.exit_code == 0, run.report()
    assert restarts
    assert rows(program.project, "SELECT status, lease_token FROM tasks WHERE id = 'PRICES'") == [("done", 1)]


@programs("claude")
@pytest.mark.parametrize("token", [None, "wvo_00000000_expired"])
def test_a_client_without_a_right_token_has_no_tools_and_says_that_it_failed(
    program: Client, tmp_path: Path, token: str | None
) -> None:
    with serving(program.project, tmp_path, "--require-token") as site:
        wire(program, site.url, token=token)
        with program.model([Say("There are no tools.")]) as model:
            run = program.ask(model, "Work on the next task.")
        listed = program.list_servers()
        asked = site.requests()

    assert not any(model.tool_names(turn.body) & CORE_TOOLS for turn in model.turns)
    assert {status for _, path, status in asked if path == "/mcp"} == {401}
    told = run.stdout + run.stderr + listed.stdout + listed.stderr
    assert _FAILED[program.name] in told, (run.report(), listed.report())
    if token is not None:
        assert {path for _, path, _ in asked} == {"/mcp"}, "a token that was given leads to no login"


_FAILED = {"claude": '"status":"failed"', "codex": "AuthRequired", "gemini": "Disconnected"}
