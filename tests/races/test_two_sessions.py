"""Two sessions under one agent name: the token belongs to the session, the name only inherits it."""

import pytest

from tests.support.invariants import verify
from tests.support.stdio_client import Refused
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks

WRITES = {
    "heartbeat": {},
    "checkpoint": {"summary": "mine"},
    "complete_task": {"summary": "mine"},
    "fail_task": {"error": "mine"},
    "release_task": {},
    "block_task": {"reason": "mine"},
}


@pytest.mark.full_on_postgres
@pytest.mark.requirement("CLAIM-2", "SCHED-2")
def test_of_two_live_sessions_with_one_name_only_the_one_that_claimed_can_write(workspace: Workspace) -> None:
    first, second = workspace.server("twin"), workspace.server("twin")
    first.call("create_tasks", some_tasks("A", "B"))
    claim = first.call("claim_task")
    held = {"task_id": "A", "lease_token": claim["lease"]["token"]}

    refused_claim = second.call("claim_task")

    assert refused_claim["task"] is None
    assert refused_claim["reason"] == "agent_wip_limit"
    assert refused_claim["holding"] == [{"id": "A", "lease": claim["lease"]}]
    for tool, asked in WRITES.items():
        for given in ({"task_id": "A"}, held):
            with pytest.raises(Refused, match="stale_lease"):
                second.call(tool, {**given, **asked})
    assert first.call("complete_task", {"task_id": "A", "summary": "done"})["task"]["status"] == "done"
    verify(workspace.source)


@pytest.mark.full_on_postgres
@pytest.mark.requirement("CLAIM-2", "CLAIM-5")
def test_only_the_same_agent_with_the_token_adopts_an_ended_sessions_lease(
    workspace: Workspace,
) -> None:
    first, second, stranger = (workspace.server(name) for name in ("twin", "twin", "stranger"))
    first.call("create_tasks", some_tasks("A"))
    token = first.call("claim_task")["lease"]["token"]
    assert first.end() == 0

    with pytest.raises(Refused, match="stale_lease"):
        stranger.call("checkpoint", {"task_id": "A", "lease_token": token, "summary": "mine"})
    with pytest.raises(Refused, match="stale_lease"):
        second.call("checkpoint", {"task_id": "A", "summary": "without the token"})
    with pytest.raises(Refused, match="stale_lease"):
        second.call("checkpoint", {"task_id": "A", "lease_token": token + 1, "summary": "with a wrong token"})
    adopted = second.call("checkpoint", {"task_id": "A", "lease_token": token, "summary": "going on"})

    assert adopted["lease"]["token"] == token
    assert second.call("complete_task", {"task_id": "A", "summary": "done"})["task"]["status"] == "done"
    assert verify(workspace.source).kinds["lease.adopted"] == 1


@pytest.mark.full_on_postgres
@pytest.mark.requirement("CLAIM-2", "CLAIM-3")
def test_a_killed_agent_that_comes_back_gets_its_own_task_first_with_a_new_token(workspace: Workspace) -> None:
    first = workspace.server("twin")
    first.call("create_tasks", some_tasks("A", "B"))
    token = first.call("claim_task", {"task_id": "B"})["lease"]["token"]
    first.call("checkpoint", {"task_id": "B", "summary": "half"})
    first.kill()
    first.wait()

    second = workspace.server("twin")
    again = second.call("claim_task")

    assert (again["task"]["id"], again["lease"]["token"], again["resume"]["summary"]) == ("B", token + 1, "half")
    with pytest.raises(Refused, match="stale_lease"):
        second.call("complete_task", {"task_id": "B", "lease_token": token, "summary": "with the old token"})
    history = verify(workspace.source)
    assert (history.resumed, history.kinds["lease.expired"]) == (1, 0)


@pytest.mark.requirement("CLAIM-1")
def test_sessions_that_ask_for_one_task_at_the_same_moment_have_one_winner(workspace: Workspace) -> None:
    clients = [workspace.server(name) for name in ("a", "b", "twin", "twin")]
    for round_number in range(25):
        task_id = f"T{round_number}"
        clients[0].call("create_tasks", some_tasks(task_id))
        asked = [
            (client, client.post("tools/call", {"name": "claim_task", "arguments": {"task_id": task_id}}))
            for client in clients
        ]
        answers = [(client, client.receive(message_id)["result"]) for client, message_id in asked]

        winners = [client for client, answer in answers if not answer["isError"]]
        losers = [answer["structuredContent"]["error"] for _, answer in answers if answer["isError"]]
        assert len(winners) == 1
        assert {error["code"] for error in losers} == {"already_claimed"}
        assert all(error["details"]["by"] in ("a", "b", "twin") and error["details"]["until"] for error in losers)
        assert all(error["retryable"] for error in losers)
        winners[0].call("complete_task", {"task_id": task_id, "summary": "won"})
    assert set(verify(workspace.source).completions.values()) == {1}


@pytest.mark.full_on_postgres
@pytest.mark.requirement("CLAIM-2", "SCHED-2")
def test_subagents_behind_one_connection_count_apart_and_share_its_session(workspace: Workspace) -> None:
    client = workspace.server("main", WVO_AGENT_WIP_LIMIT="1")
    client.call("create_tasks", some_tasks("A", "B", "C"))

    one = client.call("claim_task", {"agent_id": "main.1"})
    two = client.call("claim_task", {"agent_id": "main.2"})
    more = client.call("claim_task", {"agent_id": "main.1"})

    assert (one["task"]["assigned_to"], two["task"]["assigned_to"]) == ("main.1", "main.2")
    assert more["reason"] == "agent_wip_limit"
    assert [held["id"] for held in more["holding"]] == [one["task"]["id"]]
    for claim in (one, two):
        client.call("complete_task", {"task_id": claim["task"]["id"], "summary": "done"})
    eventually(lambda: verify(workspace.source).completions.total() == 2)
