"""Whoever types a command: a person, or the agent in whose shell it runs."""

import pytest

from wvo_mcp.execution import identity
from wvo_mcp.execution.identity import Connection, Process, agent_name, agent_shell, cli_caller
from wvo_mcp.faces.cli import stop_hook
from wvo_mcp.settings import Settings

CLIENT = Process(40, "700", {"HOME": "/home/ann"})


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"CLAUDECODE": "1", "CLAUDE_CODE_SESSION_ID": "s-1"}, ("claude-code", "s-1")),
        ({"CODEX_CI": "1", "CODEX_THREAD_ID": "t-1"}, ("codex-mcp-client", "t-1")),
        ({"GEMINI_CLI": "1"}, ("gemini-cli-mcp-client", "40-700")),
    ],
)
@pytest.mark.requirement("CORE-16")
def test_a_shell_of_each_client_names_the_client_and_its_session(
    environ: dict[str, str], named: tuple[str, str]
) -> None:
    shell = Process(50, "800", environ)

    assert agent_shell(environ, [shell, CLIENT]) == named
    assert agent_shell({}, [shell, CLIENT]) == named, "an emptied environment changes nothing"


@pytest.mark.requirement("SAFE-4")
def test_below_a_client_itself_no_marks_are_needed() -> None:
    replaced = Process(50, "800", {}, "wvo-mcp")

    assert agent_shell({}, [replaced, Process(40, "700", {}, "codex")]) == ("codex-mcp-client", "40-700")


def test_what_editors_set_in_a_terminal_of_theirs_is_no_agent() -> None:
    environ = {"GEMINI_CLI_IDE_SERVER_PORT": "1", "CLAUDE_CODE_SSE_PORT": "1", "CODEX_HOME": "/x", "CLAUDECODE": ""}

    assert agent_shell(environ, [CLIENT]) is None


@pytest.mark.parametrize(
    ("session", "name"),
    [
        ("0b9f1d6e-4a55-4b0e-9c3a-5d2f8e7a1c44", "claude-code-8e7a1c44"),
        ("019abc12-4a55-7b0e-9c3a-5d2f8e7a1c45", "claude-code-8e7a1c45"),
        ("s-1", "claude-code-s-1"),
    ],
)
def test_an_agent_has_a_short_name_that_every_process_of_its_session_gives_it(
    monkeypatch: pytest.MonkeyPatch, session: str, name: str
) -> None:
    monkeypatch.setenv("CLAUDE_CODE_SESSION_ID", session)
    monkeypatch.setenv("CLAUDECODE", "1")
    settings = Settings.model_construct(agent_id=None, provider=None, capabilities=())

    assert agent_name(settings, "claude-code") == cli_caller(settings).agent_id == name
    assert stop_hook.agent_of(session) == name


def test_a_request_without_a_name_does_not_make_the_client_unknown_again() -> None:
    connection = Connection(Settings.model_construct(agent_id=None, provider=None, capabilities=()), "S1")
    unknown = connection.caller

    named = connection.identify("claude-code")
    assert connection.identify(None) == unknown != named
    assert connection.caller == named


@pytest.mark.requirement("SAFE-4")
@pytest.mark.parametrize(
    ("command", "below"),
    [
        ("/usr/bin/python3 -I -S /site-packages/wvo_mcp/execution/agents/warden.py 7 claude -p", True),
        ("/venv/bin/python /venv/bin/wvo-mcp autopilot --agents 3", True),
        ("python3.12 -m wvo_mcp autopilot", True),
        ("/venv/bin/python -P -m wvo_mcp autopilot", True),
        ("wvo-mcp autopilot", True),
        ("wvo-mcp orchestrate goal", True),
        ("python3 -m wvo_mcp orchestrate --resume", True),
        ("wvo-mcp", False),
        ("python3 -m wvo_mcp", False),
        ("python3 supervise.py wvo-mcp autopilot", False),
        ("timeout 1h wvo-mcp autopilot", False),
        ("vim wvo_mcp/execution/agents/home.py", False),
        ("bash -c wvo-mcp", False),
        ("", False),
    ],
)
def test_what_runs_agents_work_is_known_by_its_command_and_what_starts_it_is_not(command: str, below: bool) -> None:
    assert identity._runs_agents_work(command.split()) is below
