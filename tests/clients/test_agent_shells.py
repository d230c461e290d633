"""What an agent runs in the shell of its client is told from what a person types."""

from typing import Any

import pytest

from tests.clients.models.script import Call, Say
from tests.clients.programs import SERVER, Client
from tests.clients.workspace import rows

pytestmark = pytest.mark.clients

SHELLS: dict[str, tuple[str, str, dict[str, Any], tuple[str, ...]]] = {
    "claude": ("Bash", "command", {"description": "Pause"}, ("--allowedTools", "Bash")),
    "codex": ("exec_command", "cmd", {}, ("--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")),
    "gemini": ("run_shell_command", "command", {}, ("--approval-mode", "yolo")),
}
"""The client's own tool for its shell, its argument, what else it wants, and what a person allows."""


@pytest.mark.requirement("CORE-16", "SAFE-4")
@pytest.mark.parametrize("client", ["claude", "codex", pytest.param("gemini", marks=pytest.mark.full)], indirect=True)
def test_in_the_shell_of_a_client_commands_are_the_agents(client: Client) -> None:
    tool, argument, more, flags = SHELLS[client.name]
    client.flags = flags
    client.drop_hooks()  # the policy's own would refuse before the command says who it takes for whom
    commands = [
        f"{SERVER} claim-task PRICES",
        f"{SERVER} pause",
        f'env -i PATH="$PATH" HOME="$HOME" {SERVER} pause',
    ]
    script = [Call(tool, {argument: command, **more}, own=True) for command in commands]
    with client.model([*script, Say("Done.")]) as model:
        run = client.ask(model, "Claim, then pause the work.")

    assert run.exit_code == 0, run.report()
    claimed, *refused = model.outcomes(model.turns[-1].body)
    assert "lease" in claimed.text, claimed
    assert all("forbidden" in outcome.text for outcome in refused), refused
    [(holder,)] = rows(client.project, "SELECT assigned_to FROM tasks WHERE id = 'PRICES'")
    assert holder.startswith(client.name)
    assert rows(client.project, "SELECT count(*) FROM events WHERE kind = 'work.paused'") == [(0,)]
