"""A reply that never arrives, a call that is sent twice: the work is done once, and every answer is the first one."""

from typing import Any

import pytest

from tests.support.invariants import looked_at, verify
from tests.support.stdio_client import Refused, StdioClient, given
from tests.support.workspace import Workspace, some_tasks

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("create_tasks", {**some_tasks("A", "B", "C", "D", max_attempts=1), "request_id": "new"}),
    ("claim_task", {"task_id": "A", "request_id": "first"}),
    ("checkpoint", {"task_id": "A", "lease_token": 1, "summary": "half", "progress": 50}),
    ("checkpoint", {"task_id": "A", "lease_token": 1, "summary": "nearly"}),
    ("context_write", {"topic": "finding", "content": "It is so.", "request_id": "note"}),
    ("update_task", {"task_id": "D", "title": "Do D twice", "request_id": "edit"}),
    ("complete_task", {"task_id": "A", "lease_token": 1, "summary": "done"}),
    ("claim_task", {"task_id": "B", "request_id": "second"}),
    ("release_task", {"task_id": "B", "lease_token": 1, "reason": "tired"}),
    ("claim_task", {"task_id": "B", "request_id": "third"}),
    ("block_task", {"task_id": "B", "lease_token": 2, "reason": "needs D", "waiting_for": ["D"]}),
    ("claim_task", {"task_id": "C", "request_id": "fourth"}),
    ("fail_task", {"task_id": "C", "lease_token": 1, "error": "broken"}),
]


def post(client: StdioClient, tool: str, arguments: dict[str, Any]) -> int | str:
    return client.post("tools/call", {"name": tool, "arguments": arguments})


def events(workspace: Workspace) -> int:
    with looked_at(workspace.source) as database:
        return database.value("SELECT count(*) FROM events WHERE task_id IS NOT NULL OR kind = 'context.written'")


@pytest.mark.requirement("CORE-8", "CORE-11")
def test_calls_repeated_to_the_next_server_answer_their_first_result(
    workspace: Workspace,
) -> None:
    # These calls are sent in one go, and only a store that is there takes them in their order for certain.
    workspace.server("zoe").call("context_write", {"topic": "first", "content": "makes the store"})
    first = workspace.server("ann")
    ids = [post(first, tool, arguments) for tool, arguments in CALLS]
    # Nobody but this test ever sees them: the agent's client is gone, too.
    lost = [given(first.receive(message_id)["result"]) for message_id in ids]
    first.kill()
    first.wait()
    before = events(workspace)

    second = workspace.server("ann")
    again = [second.answer(tool, arguments) for tool, arguments in CALLS]

    assert [answer["isError"] for answer in again] == [False] * len(CALLS)
    assert [given(answer) for answer in again] == lost
    assert events(workspace) == before
    verify(workspace.source)


def workspace_status(workspace: Workspace, task_id: str) -> str | None:
    with looked_at(workspace.source) as database:
        found = database.column("SELECT status FROM tasks WHERE id = ?", task_id)
    return found[0] if found else None


@pytest.mark.requirement("CORE-8", "CORE-11")
def test_a_call_that_died_unread_with_its_server_is_done_by_the_successor(workspace: Workspace) -> None:
    first = workspace.server("ann")
    first.call("create_tasks", some_tasks("A"))
    claim = first.call("claim_task")
    first.freeze()
    complete = {"task_id": "A", "lease_token": claim["lease"]["token"], "summary": "done"}
    post(first, "complete_task", complete)
    first.kill()
    first.wait()

    assert workspace_status(workspace, "A") == "in_progress"
    done = workspace.server("ann").call("complete_task", complete)

    assert done["task"]["status"] == "done"
    assert verify(workspace.source).kinds["lease.adopted"] == 1


@pytest.mark.requirement("CORE-8")
def test_a_call_sent_twice_on_one_pipe_is_done_once_and_answered_twice_alike(workspace: Workspace) -> None:
    client = workspace.server("ann")
    for tool, arguments in CALLS:
        twice = [post(client, tool, arguments), post(client, tool, arguments)]
        one, two = (given(client.receive(message_id)["result"]) for message_id in twice)
        if tool == "checkpoint":  # whose lease the repeat renews
            assert one["lease"].pop("expires_at") <= two["lease"].pop("expires_at")
        assert one == two, tool

    history = verify(workspace.source)
    assert history.kinds["task.claimed"] == 4
    assert history.kinds["task.checkpoint"] == 2
    assert history.completions.total() == 1
    with pytest.raises(Refused, match="request_id_reused"):
        client.call("claim_task", {"task_id": "D", "request_id": "first"})
    with pytest.raises(Refused, match="request_id_reused"):
        client.call("context_write", {"topic": "finding", "content": "It is not so.", "request_id": "note"})


@pytest.mark.requirement("CORE-8")
def test_the_same_request_id_of_another_agent_or_another_tool_is_another_call(workspace: Workspace) -> None:
    client = workspace.server("ann")
    client.call("create_tasks", {**some_tasks("A", "B"), "request_id": "one"})

    mine = client.call("claim_task", {"agent_id": "ann.1", "request_id": "one"})
    other = client.call("claim_task", {"agent_id": "ann.2", "request_id": "one"})

    assert {mine["task"]["id"], other["task"]["id"]} == {"A", "B"}
