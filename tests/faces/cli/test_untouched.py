"""Commands that read make no store."""

import pytest

from tests.faces.cli.shell import Shell


@pytest.mark.requirement("CORE-12")
@pytest.mark.parametrize(
    "command",
    [
        "status",
        "plan-next",
        "list-tasks",
        "events",
        "alerts",
        "budget show",
        "backup-list",
        "forecast",
        "doctor",
        "init --dry-run",
    ],
)
def test_a_command_that_reads_leaves_the_folder_as_it_was(shell: Shell, command: str) -> None:
    before = sorted(shell.root.rglob("*"))

    assert shell(*command.split()).code == 0

    assert sorted(shell.root.rglob("*")) == before
