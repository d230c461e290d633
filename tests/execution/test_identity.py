"""Whoever types a command: a person, or the agent in whose shell it runs."""

import pytest

from wvo_mcp.execution.identity import agent_shell
from wvo_mcp.processes import Process

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


def test_what_editors_set_in_a_terminal_of_theirs_is_no_agent() -> None:
    environ = {"GEMINI_CLI_IDE_SERVER_PORT": "1", "CLAUDE_CODE_SSE_PORT": "1", "CODEX_HOME": "/x", "CLAUDECODE": ""}

    assert agent_shell(environ, [CLIENT]) is None
