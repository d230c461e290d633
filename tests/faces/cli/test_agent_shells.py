"""Who a command works as: one agent for a person's shells; in an agent's shell that agent, who may not decide for people."""

import getpass
import json
import shlex
import subprocess

import pytest

from tests.faces.cli.shell import PROGRAM, Ran, Shell
from wvo_mcp.operations import ALL

CLAUDE = {"CLAUDECODE": "1", "CLAUDE_CODE_SESSION_ID": "s-1"}


def in_shell(shell: Shell, line: str, **environ: str) -> Ran:
    """A shell that was started with this environment runs the line; `$WVO` is the program."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"{line}\nexit $?"],
        cwd=shell.root,
        env=shell.environment(WVO=shlex.join(PROGRAM), **environ),
        capture_output=True,
        text=True,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.requirement("CORE-16")
def test_a_person_claims_in_one_shell_and_completes_in_another(shell: Shell) -> None:
    shell.process("add", "Write it down", "--id", "T1")
    claimed = in_shell(shell, "$WVO claim-task T1", USER="someone").json
    completed = in_shell(shell, f"$WVO complete-task T1 'done' --lease-token {claimed['lease']['token']}", USER="else")

    assert completed.json["task"]["status"] == "done", completed
    assert claimed["task"]["assigned_to"] == f"cli-{getpass.getuser()}"
    assert shell.process("status").json["agents"] == [], "nobody whom work would be kept for"


@pytest.mark.requirement("CORE-16")
def test_in_the_shell_of_an_agent_commands_are_that_agents(shell: Shell) -> None:
    shell.process("add", "Write it down", "--id", "T1")

    claimed = in_shell(shell, "$WVO claim-task", **CLAUDE).json["task"]
    added = in_shell(shell, "$WVO add 'Found on the way' --id T2 >/dev/null && $WVO get-task T2", **CLAUDE).json["task"]

    assert claimed["assigned_to"] == "claude-code-s-1"
    assert added["origin"] == "agent"


COMMANDS = [
    "approve T1",
    "deny T1 no",
    "pause",
    "resume",
    "budget raise agent ann --hourly 5",
    "token create me --role admin",
    "token list",
    "token revoke 0123456789ab",
    "login-link",
    "merge park m-1",
    "merge retry m-1",
    "merge revert m-1",
    "backup restore --latest",
    "alert-resolve 1",
    "message somebody stop",
    "answer A-1 yes",
    "cancel T1",
]
"""What only people do; T1 is in progress and requires an approval that it has."""


def refused(ran: Ran) -> bool:
    told = json.dumps(ran.error)
    assert not any(mark in told for mark in ("CLAUDE", "WVO_", "env")), "nothing that an agent could set"
    return ran.error["code"] == "forbidden" and "people" in ran.error["message"]


@pytest.mark.requirement("SAFE-4")
def test_in_an_agents_shell_nothing_is_decided_for_people(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    task = json.dumps([{"id": "T1", "title": "Deploy", "requires_approval": True}])
    for prepared in (["create-tasks", "--tasks", task], ["approve", "T1"], ["claim-task", "T1"], ["backup-create"]):
        assert shell(*prepared).code == 0
    before = shell("get-task", "T1").json

    with monkeypatch.context() as inside:
        for name, value in CLAUDE.items():
            inside.setenv(name, value)
        for command in COMMANDS:
            assert refused(shell(*command.split())), command

    assert shell("get-task", "T1").json == before
    assert shell("status").json["paused"] is False


@pytest.mark.requirement("SAFE-4")
def test_an_emptied_environment_makes_no_person_of_an_agent(shell: Shell) -> None:
    shell("create-tasks", "--tasks", json.dumps([{"id": "T1", "title": "Deploy", "requires_approval": True}]))

    assert refused(in_shell(shell, 'env -i HOME="$HOME" PYTHONPATH="$PYTHONPATH" $WVO approve T1', **CLAUDE))
    assert in_shell(shell, "$WVO approve T1").json["task"]["status"] == "pending"


@pytest.mark.requirement("SAFE-4", "CORE-5")
def test_each_operation_says_once_who_may_call_it() -> None:
    decided = {name for name, op in ALL.items() if op.role.name == "OPERATOR"}
    administered = {name for name, op in ALL.items() if op.role.name == "ADMIN"}

    assert decided == {
        "approve",
        "deny",
        "pause",
        "resume",
        "stop",
        "worker_stop",
        "merge_park",
        "merge_retry",
        "merge_revert",
        "alert_resolve",
        "message",
        "answer",
        "review",
        "plan_accept",
        "plan_check",
        "plan_drop",
        "plan_edit",
    }
    assert administered == {"budget_raise", "set_time_back", "token_create", "token_list", "token_revoke", "login_link"}
    assert {name for name, op in ALL.items() if op.effect == "read" and op.role.name != "VIEWER"} == {"token_list"}
