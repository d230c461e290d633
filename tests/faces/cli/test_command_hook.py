"""The policy for agents that people start themselves: the hook of their clients, the tool and the command."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.faces.cli.shell import Shell
from tests.support.waiting import eventually

pytestmark = pytest.mark.requirement("SAFE-2")
Hook = Callable[..., str]


@pytest.fixture
def hook(shell: Shell) -> Hook:
    def ask(client: str = "claude", **given: object) -> str:
        fields = {"session_id": "s", "cwd": str(shell.root), "tool_name": "Bash", "tool_input": given}
        ran = shell("command-check", "--hook", client, stdin=json.dumps(fields))
        assert (ran.code, ran.err) == (0, "")
        return ran.out

    return ask


def test_the_hook_is_silent_about_what_is_allowed_or_only_watched(shell: Shell, hook: Hook) -> None:
    assert hook(command="ls -la") == ""
    assert hook(command="sudo ls") == ""
    assert hook(file_path=str(shell.root / "src" / "x.py"), content="x") == ""
    assert hook(pattern="*.py") == ""


def test_each_client_is_answered_in_its_own_form(hook: Hook) -> None:
    denied = json.loads(hook(command="rm -rf /"))["hookSpecificOutput"]
    assert (denied["hookEventName"], denied["permissionDecision"]) == ("PreToolUse", "deny")
    assert "never removed" in denied["permissionDecisionReason"]
    assert json.loads(hook(command="git push"))["hookSpecificOutput"]["permissionDecision"] == "ask"
    assert json.loads(hook("codex", command="rm -rf /"))["hookSpecificOutput"]["permissionDecision"] == "deny"
    assert "git push" in json.loads(hook("codex", command="git push"))["systemMessage"], "codex knows no question"
    assert json.loads(hook("gemini", command="rm -rf /"))["decision"] == "deny"
    assert json.loads(hook("gemini", command="git push"))["decision"] == "ask"


def test_a_command_given_as_words_keeps_each_word_whole(hook: Hook) -> None:
    assert "git push" in json.loads(hook("codex", command=["bash", "-lc", "git push"]))["systemMessage"]
    for words in (["bash", "-lc", "rm -rf /"], ["apply_patch", "*** Begin Patch\n*** Add File: .git/config\n"]):
        assert json.loads(hook("codex", command=words))["hookSpecificOutput"]["permissionDecision"] == "deny"


def test_files_that_tools_write_are_judged_too(shell: Shell, hook: Hook) -> None:
    assert json.loads(hook(file_path=".mcp.json"))["hookSpecificOutput"]["permissionDecision"] == "ask"
    assert json.loads(hook(file_path=".git/config"))["hookSpecificOutput"]["permissionDecision"] == "deny"
    patch = "*** Begin Patch\n*** Update File: .git/config\n@@\n+x\n*** End Patch\n"
    assert json.loads(hook("codex", command=patch))["hookSpecificOutput"]["permissionDecision"] == "deny"
    assert hook("codex", command=patch.replace(".git/config", "src/x.py")) == ""


def test_the_policy_of_the_project_holds_in_the_hook(shell: Shell, hook: Hook) -> None:
    shell("init")
    (shell.root / "state" / "policy.yaml").write_text("commands: {block: [make deploy]}\n")
    assert json.loads(hook(command="make deploy"))["hookSpecificOutput"]["permissionDecision"] == "deny"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"tool_input": 1}', '{"tool_input": {"command": 1}}', "null"])
def test_whatever_it_is_given_the_hook_breaks_no_agent(shell: Shell, text: str) -> None:
    ran = shell("command-check", "--hook", "claude", stdin=text)
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_a_broken_policy_breaks_no_agent(shell: Shell, hook: Hook) -> None:
    shell("init")
    (shell.root / "state" / "policy.yaml").write_text("commands: [\n")
    assert hook(command="ls") == ""
    assert json.loads(hook(command="rm -rf /"))["hookSpecificOutput"]["permissionDecision"] == "deny"


def test_the_hook_starts_without_what_it_does_not_need() -> None:
    code = (
        "import io, sys; from wvo_mcp.faces.cli.command_hook import answer;"
        ' answer("claude", io.BytesIO(b\'{"tool_input": {"command": "ls"}}\'), sys.stdout);'
        " print([name for name in ('pydantic', 'anyio', 'click', 'yaml', 'sqlite3', 'mcp') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"


@pytest.mark.requirement("SAFE-4")
def test_what_is_refused_is_recorded_where_the_project_has_a_store(shell: Shell) -> None:
    def refused() -> None:
        fields = {"session_id": "s", "cwd": str(shell.root), "tool_input": {"command": "ls; rm -rf /etc"}}
        ran = shell.process("command-check", "--hook", "claude", stdin=json.dumps(fields))
        assert '"deny"' in ran.out

    refused()
    assert not (shell.root / "state" / "state.db").exists(), "the hook makes no store"
    shell("add", "x")
    refused()
    seen = [("deny", "rm -r", "rm -rf /etc")]
    eventually(
        lambda: [(one["verdict"], one["rule"], one["subject"]) for one in shell("workers").json["violations"]] == seen
    )


def test_people_and_agents_may_ask_before_they_run_a_command(shell: Shell) -> None:
    assert shell("command-check", "ls").json == {"verdict": "allow"}
    denied = shell("command-check", "ls; rm -rf /etc").json
    assert (denied["verdict"], denied["part"]) == ("deny", "rm -rf /etc")
    assert shell("command-check", "sudo ls").json["verdict"] == "watch"
    assert shell("command-check", "git push").json["rule"] == "git push"
    assert not (shell.root / "state" / "state.db").exists(), "it needs no store"
