"""The reminder for an agent that is about to stop."""

import json
from collections.abc import Callable

import pytest

from tests.faces.cli.shell import Shell
from tests.support.waiting import eventually

SESSION = "6de661dd-db8c-4261-9aa8-aa6c86798df9"
Hook = Callable[..., str]


@pytest.fixture
def holder(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The agent of Claude Code's session holds T1."""
    shell("add", "Write it", "--id", "T1")
    shell("add", "Write more", "--id", "T2")
    monkeypatch.setenv("WVO_AGENT_ID", f"claude-code-{SESSION[-8:]}")
    shell("claim-task", "T1")
    monkeypatch.delenv("WVO_AGENT_ID")
    return shell


@pytest.fixture
def hook(shell: Shell) -> Hook:
    def ask(**fields: object) -> str:
        asked = {"session_id": SESSION, "hook_event_name": "Stop", "stop_hook_active": False, **fields}
        ran = shell("stop-hook", stdin=json.dumps(asked))
        assert (ran.code, ran.err) == (0, "")
        return ran.out

    return ask


@pytest.mark.requirement("CORE-14")
def test_an_agent_that_holds_a_task_is_reminded_of_it(holder: Shell, hook: Hook) -> None:
    decision = json.loads(hook(cwd=str(holder.root)))

    assert decision["decision"] == "block"
    for part in ("T1", "Write it", "lease token 1", "complete_task", "release_task"):
        assert part in decision["reason"]


@pytest.mark.requirement("CORE-14")
def test_it_is_reminded_once(holder: Shell, hook: Hook) -> None:
    assert hook(stop_hook_active=True) == ""


def test_an_agent_that_holds_nothing_may_stop(holder: Shell, hook: Hook) -> None:
    assert hook(session_id="another") == ""
    assert hook(session_id=None) == ""


def test_a_finished_task_is_no_reason_to_stay(holder: Shell, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WVO_AGENT_ID", f"claude-code-{SESSION[-8:]}")
    holder("complete-task", "T1", "done")
    monkeypatch.delenv("WVO_AGENT_ID")

    assert hook() == ""


def test_the_name_of_the_agent_may_be_given(holder: Shell, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WVO_AGENT_ID", "bob")
    holder("claim-task", "T2")

    assert "T2" in hook()
    assert "T1 " not in hook()


def test_the_task_of_a_subagent_of_the_session_counts(
    shell: Shell, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell("add", "Write it", "--id", "T1")
    monkeypatch.setenv("WVO_AGENT_ID", f"claude-code-{SESSION[-8:]}")
    shell("claim-task", "T1", "--agent-id", "main-tests")
    monkeypatch.delenv("WVO_AGENT_ID")

    assert "T1" in hook()


def test_whatever_it_is_given_it_never_disturbs_the_client(holder: Shell) -> None:
    for stdin in ("", "{", "[]", "null", '"x"', '{"session_id": 5}', "[" * 100_000, "\x00"):
        ran = holder("stop-hook", stdin=stdin)
        assert (ran.code, ran.out, ran.err) == (0, "", ""), stdin[:20]


def test_without_a_store_it_is_silent_and_makes_none(shell: Shell, hook: Hook) -> None:
    assert hook() == ""
    assert not (shell.root / "state").exists()


def test_a_store_that_is_none_keeps_it_silent(shell: Shell, hook: Hook) -> None:
    (shell.root / "state").mkdir()
    (shell.root / "state" / "state.db").write_text("something else")
    assert hook() == ""


def test_a_name_that_is_no_id_is_turned_into_one(shell: Shell, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    shell("add", "Write it", "--id", "T1")
    monkeypatch.setenv("WVO_AGENT_ID", "claude-code-a-b")
    shell("claim-task", "T1")
    monkeypatch.delenv("WVO_AGENT_ID")

    assert "T1" in hook(session_id="a b")


def test_as_a_process_it_answers_without_the_libraries_of_the_command_line(holder: Shell) -> None:
    asked = json.dumps({"session_id": SESSION, "hook_event_name": "Stop", "stop_hook_active": False})

    ran = holder.process("stop-hook", stdin=asked, PYTHONPROFILEIMPORTTIME="1")

    assert json.loads(ran.out)["decision"] == "block"
    imported = {line.rpartition("|")[2].strip() for line in ran.err.splitlines()}
    assert not imported & {"click", "rich", "asyncio", "mcp"}


@pytest.mark.requirement("PROV-3")
def test_what_the_transcript_says_is_counted_once_however_often_the_agent_stops(holder: Shell) -> None:
    transcript = holder.root / "transcript.jsonl"

    def stop(*messages: str) -> None:
        usage = {"input_tokens": 100, "output_tokens": 7}
        lines = [{"type": "assistant", "message": {"id": name, "model": "m", "usage": usage}} for name in messages]
        transcript.write_text("".join(json.dumps(line) + "\n" for line in lines))
        asked = {"session_id": SESSION, "transcript_path": str(transcript), "stop_hook_active": True}
        ran = holder.process("stop-hook", stdin=json.dumps(asked))
        assert (ran.code, ran.out, ran.err) == (0, "", "")

    def used() -> tuple[int, int]:
        status = holder("provider-status").json
        claude = next(one for one in status["providers"] if one["name"] == "claude")
        return claude["tokens_day"], claude["attempts_day"]

    stop("m1")
    eventually(lambda: used() == (107, 1))
    stop("m1", "m2")
    eventually(lambda: used() == (214, 1))  # the task that it holds is one attempt of claude


def test_whatever_is_named_as_transcript_the_client_is_not_disturbed(holder: Shell) -> None:
    for path in ("/dev/zero", "/", "no such file", "\x00", "x" * 5_000, 5, None, ["a"]):
        ran = holder("stop-hook", stdin=json.dumps({"session_id": "s", "transcript_path": path}))
        assert (ran.code, ran.out, ran.err) == (0, "", ""), path


@pytest.mark.requirement("CTX-4")
def test_an_agent_that_owes_an_answer_is_reminded_of_the_question_once_for_each_stop(
    holder: Shell, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WVO_AGENT_ID", "bob")
    holder("claim-task", "T2")
    holder("release-task", "T2")
    monkeypatch.delenv("WVO_AGENT_ID")
    assert holder("message", "bob", 'tabs?" says the server', "--question").code == 0
    monkeypatch.setenv("WVO_AGENT_ID", "bob")

    reason = json.loads(hook())["reason"]

    assert reason.startswith('person waits for your answer to n-1: "tabs?\\" says the server"')
    assert hook(stop_hook_active=True) == ""
    monkeypatch.setenv("CLAUDECODE", "1")  # else it is a person who types
    assert holder("message-send", "spaces", "--answers", "n-1").code == 0
    assert hook() == ""
