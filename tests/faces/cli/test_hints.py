"""One source of hints: tools for agents, commands for people."""

import pytest

from tests.faces.cli.shell import Shell
from wvo_mcp.faces.cli.output import for_people


@pytest.mark.requirement("CORE-7")
@pytest.mark.parametrize(
    ("hint", "shown"),
    [
        (
            "Claim another task (claim_task without task_id).",
            "Claim another task (wvo-mcp claim-task without --task-id).",
        ),
        ("The tool alerts lists them.", "wvo-mcp alerts lists them."),
        ("Run wvo-mcp doctor; it names the remedy.", "Run wvo-mcp doctor; it names the remedy."),
        ("pg_stat_activity tells whose status it is.", "pg_stat_activity tells whose status it is."),
    ],
)
def test_a_hint_for_people_names_commands_and_flags(hint: str, shown: str) -> None:
    assert for_people(hint) == shown


@pytest.mark.requirement("CORE-7")
def test_an_error_names_the_command_on_a_terminal_and_the_tool_in_json(shell: Shell) -> None:
    shown = shell.on_terminal("get-task", "NONE")

    assert "Use wvo-mcp list-tasks to search." in shown.text
    assert "near" not in shown.text, "there is none"
    assert "list_tasks to search" in shell("get-task", "NONE").error["hint"]


@pytest.mark.parametrize("columns", ["1", "10", "80"])
def test_an_error_is_read_whole_on_a_terminal_of_any_width(shell: Shell, columns: str) -> None:
    shown = shell.on_terminal("get-task", "NONE", COLUMNS=columns)

    assert "not_found: No task 'NONE'. Use wvo-mcp list-tasks to search." in " ".join(shown.text.split())
