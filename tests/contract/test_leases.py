"""Leases, sessions and agents (contract, section 5), statement by statement, as one client sees them."""

import json
from typing import Any

import pytest

from tests.contract.commands import run_command
from tests.support.clock import seconds_between
from tests.support.databases import OF_CALLS
from tests.support.invariants import looked_at, verify
from tests.support.stdio_client import Refused, StdioClient
from tests.support.workspace import Workspace, some_tasks


@pytest.mark.requirement("CLAIM-2")
def test_every_claim_raises_the_token_by_one_and_no_token_ever_comes_again(server: StdioClient) -> None:
    server.call("create_tasks", some_tasks("A"))
    tokens: list[int] = []
    for tool, asked in (
        ("release_task", {}),
        ("fail_task", {"error": "broken"}),
        ("block_task", {"reason": "later"}),
        ("complete_task", {"summary": "done"}),
    ):
        claim = server.call("claim_task", {"task_id": "A"})
        assert "lease_token" not in claim["task"]  # it is said once
        tokens.append(claim["lease"]["token"])
        server.call(tool, {"task_id": "A", "lease_token": claim["lease"]["token"], **asked})
        for old in tokens:
            for late, extra in (
                ("heartbeat", {}),
                ("checkpoint", {"summary": "late"}),
                ("release_task", {"reason": "late"}),
            ):
                with pytest.raises(Refused, match="stale_lease"):
                    server.call(late, {"task_id": "A", "lease_token": old, **extra})
        if tool != "complete_task":
            server.call("update_task", {"task_id": "A", "not_before": None, "status": "pending"})
    server.call("update_task", {"task_id": "A", "status": "pending", "reason": "again"})
    tokens.append(server.call("claim_task", {"task_id": "A"})["lease"]["token"])

    assert tokens == [1, 2, 3, 4, 5]


@pytest.mark.requirement("CLAIM-2")
def test_a_lease_has_the_length_its_claim_asked_for_and_each_write_restores_it(
    server: StdioClient,
) -> None:
    server.call("create_tasks", some_tasks("L1", "L2"))

    short = server.call("claim_task", {"task_id": "L1", "lease_seconds": 100})
    default = server.call("claim_task", {"task_id": "L2"})

    for claim, length in ((short, 100), (default, 600)):
        assert seconds_between(claim["task"]["updated_at"], claim["lease"]["expires_at"]) == pytest.approx(
            length, abs=0.01
        )
    renewed = server.call("heartbeat", {"task_id": "L1", "lease_token": short["lease"]["token"]})
    assert renewed["lease"]["token"] == short["lease"]["token"]
    assert renewed["lease"]["expires_at"] >= short["lease"]["expires_at"]
    saved = server.call("checkpoint", {"task_id": "L1", "summary": "half"})
    assert saved["lease"]["expires_at"] >= renewed["lease"]["expires_at"]


@pytest.mark.requirement("CLAIM-3")
def test_reads_write_nothing(place: Workspace, server: StdioClient) -> None:
    server.call("create_tasks", some_tasks("R1", "R2"))
    server.call("claim_task", {"task_id": "R1"})
    server.call("context_write", {"topic": "t", "content": "c"})

    def content() -> list[object]:
        tables = ("tasks", "events", "sessions", "agent_pool", "requests", "lease_writes", "context_entries", "epics")
        with looked_at(place.source) as database:
            return [database.rows(f"SELECT * FROM {table}{OF_CALLS.get(table, '')}") for table in tables]

    before = content()
    for _ in range(3):
        server.call("plan_next")
        server.call("get_task", {"task_id": "R1"})
        server.call("list_tasks", {"query": "Do"})
        server.call("context_read", {"query": "c"})
        server.call("status")
        server.call("events")

    assert content() == before


@pytest.mark.requirement("CLAIM-2")
def test_the_holding_session_may_omit_the_token_but_not_send_a_wrong_one(
    server: StdioClient,
) -> None:
    server.call("create_tasks", some_tasks("T"))
    server.call("claim_task", {"task_id": "T"})

    for wrong in (0, 2, 2**62):
        with pytest.raises(Refused, match="stale_lease"):
            server.call("checkpoint", {"task_id": "T", "lease_token": wrong, "summary": "half"})
    assert server.call("checkpoint", {"task_id": "T", "summary": "half"})["checkpoint"]["seq"] == 1
    assert server.call("complete_task", {"task_id": "T", "summary": "done"})["task"]["status"] == "done"


@pytest.mark.requirement("CLAIM-2", "CORE-5", "CORE-8")
@pytest.mark.parametrize("by_command", [True, False])
def test_a_repeated_checkpoint_is_kept_once_and_renews_the_lease(
    place: Workspace, server: StdioClient, by_command: bool
) -> None:
    task_id = f"AGAIN-{int(by_command)}"
    server.call("create_tasks", some_tasks(task_id))

    def call(tool: str, **arguments: object) -> dict[str, Any]:
        asked = {"task_id": task_id, **arguments}
        if not by_command:
            return server.call(tool, asked)
        name = tool.replace("_", "-")
        return json.loads(run_command(place, name, "--json", "--input", json.dumps(asked), WVO_AGENT_ID="cora").stdout)

    call("claim_task")
    first = call("checkpoint", lease_token=1, summary="working")
    again = call("checkpoint", lease_token=1, summary="working")

    assert again["checkpoint"] == first["checkpoint"]
    assert again["lease"]["expires_at"] >= first["lease"]["expires_at"]
    with looked_at(place.source) as database:
        kinds = database.column("SELECT kind FROM events WHERE task_id = ? ORDER BY seq", task_id)
        expiry = database.value("SELECT lease_expires_at FROM tasks WHERE id = ?", task_id)
    assert kinds == ["task.created", "task.claimed", "task.checkpoint", "task.heartbeat"]
    assert expiry == again["lease"]["expires_at"]


@pytest.mark.requirement("CLAIM-2", "CORE-5")
def test_commands_of_one_agent_share_a_durable_session(place: Workspace, server: StdioClient) -> None:
    server.call("create_tasks", some_tasks("CLI"))

    claim = run_command(place, "claim-task", "--task-id", "CLI", "--json", WVO_AGENT_ID="carla")
    stranger = run_command(place, "checkpoint", "CLI", "--summary", "mine", "--json", WVO_AGENT_ID="otto")
    saved = run_command(place, "checkpoint", "CLI", "--summary", "half", "--json", WVO_AGENT_ID="carla")
    done = run_command(place, "complete-task", "CLI", "--summary", "done", "--json", WVO_AGENT_ID="carla")

    assert json.loads(claim.stdout)["lease"]["token"] == 1
    assert stranger.returncode == 1
    assert "stale_lease" in stranger.stdout + stranger.stderr
    assert (saved.returncode, done.returncode) == (0, 0), saved.stderr + done.stderr
    with looked_at(place.source) as database:
        sessions = database.rows("SELECT session_id, ended_at FROM sessions WHERE agent_id = 'carla'")
        who = database.column("SELECT DISTINCT session_id FROM events WHERE task_id = 'CLI' AND agent_id = 'carla'")
    assert sessions == [{"session_id": "cli:carla", "ended_at": None}]
    assert who == ["cli:carla"]


@pytest.mark.requirement("OBS-2", "CLAIM-1")
def test_the_trail_tells_who_did_what_from_which_session_and_an_edit_is_detected(
    place: Workspace, server: StdioClient
) -> None:
    server.call("create_tasks", some_tasks("O"))
    server.call("claim_task", {"task_id": "O"})
    server.call("update_task", {"task_id": "O", "title": "Another title"})
    server.call("complete_task", {"task_id": "O", "summary": "done"})

    trail = server.call("events", {"task_id": "O"})["events"]

    assert [event["kind"] for event in trail] == ["task.created", "task.claimed", "task.updated", "task.completed"]
    assert {event["agent_id"] for event in trail} == {"ann"}
    assert len({event["session_id"] for event in trail}) == 1
    assert trail[2]["data"]["before"] == {"title": "Do O"}
    assert trail[2]["data"]["after"] == {"title": "Another title"}
    assert (trail[3]["data"]["from"], trail[3]["data"]["to"]) == ("in_progress", "done")
    verify(place.source)
