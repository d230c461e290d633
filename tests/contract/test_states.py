"""The table of states (contract, section 3): every status against every move, through tools and commands."""

import json
from typing import Any

import pytest

from tests.contract.commands import run_command
from tests.support.clock import seconds_between
from tests.support.databases import looked_at, mirrored, written
from tests.support.rules import KEPT, LEASES
from tests.support.stdio_client import Refused, StdioClient
from tests.support.workspace import Workspace, some_tasks

STATUSES = ("pending", "in_progress", "in_review", "awaiting_approval", "blocked", "done", "failed", "cancelled")

MOVES: dict[str, tuple[str, dict[str, Any]]] = {
    "claim": ("claim_task", {}),
    "complete": ("complete_task", {"summary": "done"}),
    "fail": ("fail_task", {"error": "broken", "retry": False}),
    "retry": ("fail_task", {"error": "broken", "retry": True}),
    "release": ("release_task", {}),
    "block": ("block_task", {"reason": "later"}),
    "to pending": ("update_task", {"status": "pending", "reason": "again"}),
    "to blocked": ("update_task", {"status": "blocked", "reason": "later"}),
    "to cancelled": ("update_task", {"status": "cancelled", "reason": "no"}),
}
STATUS_OF_MOVE = {
    "claim": "in_progress",
    "complete": "done",
    "fail": "failed",
    "retry": "pending",
    "release": "pending",
    "block": "blocked",
    "to pending": "pending",
    "to blocked": "blocked",
    "to cancelled": "cancelled",
}

LEGAL: dict[str, set[str]] = {
    "pending": {"claim", "block", "to blocked", "to cancelled"},
    "in_progress": {"complete", "fail", "retry", "release", "block"},
    "in_review": set(),
    "awaiting_approval": set(),
    "blocked": {"to pending", "to cancelled"},
    "done": {"to pending"},
    "failed": {"to pending", "to cancelled"},
    "cancelled": {"to pending"},
}
"""What an agent may do by these tools; the rest of the table is for people, reviews and approvals."""

NOTHING_TO_DO = {
    ("pending", "to pending"),
    ("blocked", "to blocked"),
    ("cancelled", "to cancelled"),
}
"""A wish for the status that the task has changes nothing, and is no error."""

REFUSALS = {
    "claim": {"not_ready", "already_claimed"},
    "to cancelled": {"illegal_transition", "forbidden"},
    "to pending": {"illegal_transition", "forbidden"},
    "to blocked": {"illegal_transition", "forbidden"},
}


def brought_to(place: Workspace, server: StdioClient, status: str, task_id: str) -> None:
    """A new task in this status, held by the caller when it is in progress."""
    server.call("create_tasks", some_tasks(task_id))
    if status in ("in_progress", "in_review", "awaiting_approval", "done", "failed"):
        server.call("claim_task", {"task_id": task_id})
    # In words of its own: the same call again would be a repeat, and answer its first result.
    if status == "done":
        server.call("complete_task", {"task_id": task_id, "summary": "done at first"})
    elif status == "failed":
        server.call("fail_task", {"task_id": task_id, "error": "broken at first", "retry": False})
    elif status in ("blocked", "cancelled"):
        server.call("update_task", {"task_id": task_id, "status": status, "reason": "so it is"})
    elif status in ("in_review", "awaiting_approval"):
        # No operation of these toolsets leads there.
        with written(place.source) as execute:
            execute(
                "UPDATE tasks SET status = ?, session_id = NULL, lease_expires_at = NULL WHERE id = ?", status, task_id
            )
            execute(
                "UPDATE agent_pool SET current_task_id = (SELECT min(id) FROM tasks WHERE status = 'in_progress'"
                " AND assigned_to = agent_id) WHERE current_task_id = ?",
                task_id,
            )
            execute("UPDATE agent_pool SET status = CASE WHEN current_task_id IS NULL THEN 'idle' ELSE 'busy' END")


def row(place: Workspace, task_id: str) -> dict[str, Any]:
    with looked_at(place.source) as database:
        return {
            **database.one("SELECT * FROM tasks WHERE id = ?", task_id),
            "events": database.value("SELECT count(*) FROM events WHERE task_id = ?", task_id),
        }


def check_rules(place: Workspace) -> None:
    with mirrored(place.source) as database:
        for rules in (KEPT, LEASES):
            for rule, offending in rules.items():
                assert not database.rows(offending), rule


@pytest.mark.full_on_postgres
@pytest.mark.requirement("TASK-2", "CORE-7")
@pytest.mark.parametrize("status", STATUSES)
def test_from_each_status_the_legal_moves_succeed_and_all_others_change_nothing(
    place: Workspace, server: StdioClient, status: str
) -> None:
    for number, (move, (tool, asked)) in enumerate(MOVES.items()):
        task_id = f"S-{status}-{number}".replace("_", "-")
        brought_to(place, server, status, task_id)
        before = row(place, task_id)
        if move in LEGAL[status]:
            assert server.call(tool, {"task_id": task_id, **asked})["task"]["status"] == STATUS_OF_MOVE[move], move
            assert row(place, task_id)["status"] == STATUS_OF_MOVE[move]
            continue
        if (status, move) in NOTHING_TO_DO:
            assert server.call(tool, {"task_id": task_id, **asked})["task"]["status"] == status, move
        else:
            with pytest.raises(Refused) as refused:
                server.call(tool, {"task_id": task_id, **asked})
            assert refused.value.code in REFUSALS.get(move, {"illegal_transition", "stale_lease"}), move
            if refused.value.code == "illegal_transition":
                assert refused.value.details["from"] == status
                assert refused.value.details["to"]
        assert row(place, task_id) == before, move
    check_rules(place)


def told(place: Workspace, *arguments: str) -> tuple[int, Any]:
    done = run_command(place, *arguments, "--json")
    return done.returncode, json.loads(done.stdout or done.stderr)


@pytest.mark.requirement("TASK-2", "TASK-7", "CLAIM-2")
@pytest.mark.parametrize("status", ["in_progress", "in_review"])
def test_people_cancel_work_under_way_and_the_holder_learns_it_at_the_next_write(
    place: Workspace, server: StdioClient, status: str
) -> None:
    task_id = f"C-{status}".replace("_", "-")
    brought_to(place, server, status, task_id)
    token = row(place, task_id)["lease_token"]

    code, cancelled = told(place, "cancel", task_id, "--reason", "not wanted")

    assert (code, cancelled["status"]) == (0, "cancelled")
    with pytest.raises(Refused, match="stale_lease"):
        server.call("complete_task", {"task_id": task_id, "lease_token": token, "summary": "done"})
    assert told(place, "restore", task_id)[1]["task"]["status"] == "pending"
    check_rules(place)


@pytest.mark.requirement("TASK-2")
def test_people_decide_on_what_awaits_approval(place: Workspace, server: StdioClient) -> None:
    for task_id in ("P-yes", "P-no"):
        brought_to(place, server, "awaiting_approval", task_id)

    assert told(place, "approve", "P-yes")[1]["task"]["status"] == "pending"
    assert told(place, "deny", "P-no", "--reason", "too risky")[1]["task"]["status"] == "blocked"

    server.call("create_tasks", some_tasks("P-gate", requires_approval=True))
    with pytest.raises(Refused, match="not_ready"):
        server.call("claim_task", {"task_id": "P-gate"})
    (listed,) = told(place, "approvals", "--state", "open")[1]["approvals"]
    assert (listed["kind"], listed["task_id"], listed["state"]) == ("task", "P-gate", "pending")
    told(place, *listed["decide"].split()[1:])
    assert server.call("claim_task", {"task_id": "P-gate"})["task"]["status"] == "in_progress"
    check_rules(place)


@pytest.mark.requirement("TASK-2", "SCHED-3")
def test_only_done_satisfies_a_dependency_and_reopening_makes_dependents_wait(
    place: Workspace, server: StdioClient
) -> None:
    server.call("create_tasks", some_tasks("D1", "D2"))
    server.call("create_tasks", some_tasks("D3", depends_on=["D1", "D2"]))
    server.call("create_tasks", some_tasks("D4", depends_on=["D1"]))
    server.call("update_task", {"task_id": "D2", "status": "cancelled"})
    server.call("claim_task", {"task_id": "D1"})
    assert server.call("complete_task", {"task_id": "D1", "summary": "done"})["unlocked"] == ["D4"]

    with pytest.raises(Refused, match="not_ready") as refused:
        server.call("claim_task", {"task_id": "D3"})
    assert refused.value.details["waiting_for"] == ["D2"]
    assert {"id": "D3", "waiting_for": "D2"} in server.call("status")["stranded"]

    with pytest.raises(Refused, match="invalid_input") as unreasoned:
        server.call("update_task", {"task_id": "D1", "status": "pending"})
    assert unreasoned.value.details["field"] == "reason"
    server.call("update_task", {"task_id": "D1", "status": "pending", "reason": "a case was forgotten"})
    with pytest.raises(Refused, match="not_ready") as waiting:
        server.call("claim_task", {"task_id": "D4"})
    assert waiting.value.details["waiting_for"] == ["D1"]
    check_rules(place)


@pytest.mark.requirement("TASK-2", "CLAIM-4")
def test_failed_attempts_return_with_growing_delays_until_the_last_fails_the_task(
    place: Workspace, server: StdioClient
) -> None:
    server.call("create_tasks", some_tasks("R", max_attempts=3))
    for attempts, delay in ((1, 30), (2, 60)):
        server.call("claim_task", {"task_id": "R"})
        failed = server.call("fail_task", {"task_id": "R", "error": "broken"})
        assert (failed["task"]["status"], failed["attempts"]) == ("pending", attempts)
        now = row(place, "R")
        assert seconds_between(now["updated_at"], now["not_before"]) == pytest.approx(delay, abs=0.01)
        assert failed["retry_at"] == row(place, "R")["not_before"]
        with pytest.raises(Refused, match="not_ready"):
            server.call("claim_task", {"task_id": "R"})
        server.call("update_task", {"task_id": "R", "not_before": None})
    server.call("claim_task", {"task_id": "R"})

    last = server.call("fail_task", {"task_id": "R", "error": "broken"})

    assert (last["task"]["status"], last["attempts"], last["retry_at"]) == ("failed", 3, None)
    assert row(place, "R")["expiries"] == 0
    assert [alert["kind"] for alert in server.call("status")["alerts"] if alert["task_id"] == "R"] == ["task_failed"]


@pytest.mark.requirement("TASK-2")
def test_a_task_blocked_for_others_comes_back_when_all_of_them_are_done(server: StdioClient) -> None:
    server.call("create_tasks", some_tasks("W", "W1", "W2"))
    server.call("claim_task", {"task_id": "W"})
    server.call("block_task", {"task_id": "W", "reason": "needs both", "waiting_for": ["W1", "W2"]})
    for task_id in ("W1", "W2"):
        assert server.call("get_task", {"task_id": "W"})["task"]["status"] == "blocked"
        server.call("claim_task", {"task_id": task_id})
        unlocked = server.call("complete_task", {"task_id": task_id, "summary": "done"})["unlocked"]

    assert unlocked == ["W"]
    assert server.call("get_task", {"task_id": "W"})["task"]["status"] == "pending"
