"""The judge of recorded histories finds each kind of violation, and none where there is none."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support import check_history
from tests.support.databases import looked_at, written
from tests.support.linear import judged
from tests.support.recording import Call, Recorder, recorded
from tests.support.stdio_client import Gone, Refused
from tests.support.workspace import Workspace, some_tasks

pytestmark = pytest.mark.requirement("CLAIM-1", "CORE-11")

History = list[Call]


def call(begin: float, agent: str, tool: str, result: dict[str, Any] | None, **arguments: Any) -> Call:
    end = begin + 0.5 if result is not None else float("inf")
    return Call(f"client of {agent}", agent, tool, arguments, begin, end, result)


def claim(begin: float, agent: str, token: int, *, task: str = "T", seq: int | None = None, request: str = "") -> Call:
    resume = None if seq is None else {"seq": seq}
    given = {"task": {"id": task}, "lease": {"token": token}, "resume": resume}
    return call(begin, agent, "claim_task", given, request_id=request or f"{agent}-{begin}")


def checkpoint(begin: float, agent: str, token: int, seq: int) -> Call:
    saved = {"checkpoint": {"id": f"c{seq}", "seq": seq}}
    return call(begin, agent, "checkpoint", saved, task_id="T", lease_token=token, summary=f"step {seq}")


def complete(begin: float, agent: str, token: int) -> Call:
    return call(begin, agent, "complete_task", {"task": {}}, task_id="T", lease_token=token)


def sound() -> History:
    """ann works, is lost without an answer, bob takes over and completes; a person reopens, ann completes again."""
    return [
        claim(1, "ann", 1),
        checkpoint(2, "ann", 1, 1),
        call(3, "ann", "checkpoint", None, task_id="T", lease_token=1, summary="lost"),
        claim(4, "bob", 2, seq=1),
        checkpoint(5, "bob", 2, 3),
        complete(6, "bob", 2),
        complete(7, "bob", 2),
        call(8, "owner", "reopen", {}, task_id="T"),
        claim(9, "ann", 3, seq=3),
        complete(10, "ann", 3),
    ]


def test_a_sound_history_has_no_violation() -> None:
    assert judged(sound()) == []


def without(place: int) -> Callable[[History], History]:
    return lambda history: [*history[:place], *history[place + 1 :]]


def instead(place: int, other: Call) -> Callable[[History], History]:
    return lambda history: [*history[:place], other, *history[place + 1 :]]


def also(other: Call) -> Callable[[History], History]:
    return lambda history: sorted([*history, other], key=lambda each: each.begin)


TAMPERING: dict[str, tuple[Callable[[History], History], str]] = {
    "the reopening is gone": (without(7), "ran again"),
    "the old holder writes on": (also(checkpoint(4.6, "ann", 1, 2)), "two holders"),
    "the old holder completes": (also(complete(5.8, "ann", 1)), "two holders"),
    "two are given the same token": (also(claim(4.2, "cyd", 2, seq=1)), "two holders"),
    "a token falls": (instead(8, claim(9, "ann", 2, seq=3)), "two holders"),
    "a token is as small as one before": (also(claim(8.6, "cyd", 0, seq=3)), "token"),
    "it is completed by two": (also(complete(7.2, "cyd", 2)), "completed twice"),
    "a takeover misses a checkpoint": (instead(3, claim(4, "bob", 2)), "lost write"),
    "a takeover is given an older one": (instead(8, claim(9, "ann", 3, seq=1)), "lost write"),
    "somebody writes under a token of nobody": (also(checkpoint(5.5, "bob", 7, 2)), "unknown token"),
    "a repetition is answered otherwise": (also(claim(4.7, "bob", 9, request="bob-4", seq=1)), "another answer"),
}


@pytest.mark.parametrize("deed", TAMPERING)
def test_a_history_that_was_tampered_with_is_found_out(deed: str) -> None:
    tamper, kind = TAMPERING[deed]

    assert kind in {violation.kind for violation in judged(tamper(sound()))}


@pytest.mark.parametrize(
    "history",
    [
        # The answer of the first call was lost; its repetition tells of then, although bob has the task by now.
        [
            call(1, "ann", "claim_task", None, request_id="r"),
            claim(2, "bob", 2),
            claim(3, "ann", 1, request="r"),
        ],
        # Calls that overlap may have happened in either order.
        [
            claim(1, "ann", 1),
            complete(2, "ann", 1),
            claim(2.2, "bob", 2),
            call(1.5, "owner", "reopen", {}, task_id="T"),
        ],
        # Nobody knows whether the reopening happened; the claim tells that it did.
        [claim(1, "ann", 1), complete(2, "ann", 1), call(3, "owner", "reopen", None, task_id="T"), claim(4, "bob", 2)],
    ],
    ids=["a lost answer", "an overlap", "an unanswered reopening"],
)
def test_what_could_have_happened_is_no_violation(history: History) -> None:
    assert judged(sorted(history, key=lambda each: each.begin)) == []


@pytest.fixture
def lived(workspace: Workspace) -> tuple[Workspace, Path]:
    """A workspace in which one recorded client worked, and its history."""
    path = workspace.logs / "history-ann.jsonl"
    server, recorder = workspace.server("ann"), Recorder(path)

    def ask(tool: str, **arguments: Any) -> dict[str, Any]:
        return recorder.call("ann", tool, arguments, lambda: server.call(tool, arguments))

    ask("create_tasks", **some_tasks("A", "B"))
    token = ask("claim_task", task_id="A")["lease"]["token"]
    ask("checkpoint", task_id="A", lease_token=token, summary="half")
    ask("context_write", topic="t", content="c")
    with pytest.raises(Refused):
        ask("complete_task", task_id="A", lease_token=token + 1, summary="too early")
    ask("complete_task", task_id="A", lease_token=token, summary="done")
    server.kill()
    server.wait()
    with pytest.raises(Gone):
        ask("claim_task")
    recorder.close()
    return workspace, path


def test_a_history_is_kept_with_its_answers_refusals_and_lost_calls(lived: tuple[Workspace, Path]) -> None:
    workspace, path = lived
    calls = recorded([path])

    assert [made.tool for made in calls if made.acknowledged] == [
        "create_tasks",
        "claim_task",
        "checkpoint",
        "context_write",
        "complete_task",
    ]
    assert [made.error["code"] for made in calls if made.error is not None] == ["stale_lease"]
    assert calls[-1].end == float("inf")
    assert all(one.end <= next_one.begin for one, next_one in pairwise(calls))
    with looked_at(workspace.source) as database:
        assert judged(calls, database) == []


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("loss", "tool"),
    [
        ("DROP TRIGGER checkpoints_remain; DELETE FROM checkpoints", "checkpoint"),
        ("DROP TRIGGER context_remains; DELETE FROM context_entries", "context_write"),
        ("DROP TRIGGER tasks_remain; DELETE FROM tasks WHERE id = 'B'", "create_tasks"),
        ("DROP TRIGGER events_remain; DELETE FROM events WHERE kind = 'task.completed'", "complete_task"),
        ("UPDATE tasks SET lease_token = 0 WHERE id = 'A'", "claim_task"),
    ],
)
def test_an_acknowledged_write_that_the_store_lost_is_found(
    lived: tuple[Workspace, Path],
    loss: str,
    tool: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    workspace, path = lived
    command = ["check_history", str(path), "--store", str(workspace.source)]
    monkeypatch.setattr("sys.argv", command)
    assert check_history.main() == 0
    with written(workspace.source) as execute:
        execute("PRAGMA foreign_keys = 0")
        for statement in loss.split("; "):
            execute(statement)

    assert check_history.main() == 1

    shown = capsys.readouterr().out
    assert "lost write" in shown
    assert tool in shown


def test_a_line_that_was_never_answered_may_be_the_last_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(json.dumps({"call": 1, "agent": "ann", "tool": "claim_task", "arguments": {}, "at": 1.0}) + "\n")

    assert [made.acknowledged for made in recorded([path])] == [False]
