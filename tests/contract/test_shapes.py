"""What every core tool gives, field by field as the contract lists it (section 6), in both eras of the protocol."""

import json
from typing import Any

import pytest

from tests.contract.shapes import RESULTS, misfits
from tests.support.stdio_client import HANDSHAKE, MODERN
from tests.support.workspace import Workspace, workspace

__all__ = ["workspace"]

A_TASK = {
    "id": "A",
    "title": "Do it well",
    "description": "Because.",
    "epic_id": "SHOP",
    "type": "generation",
    "priority": "high",
    "complexity": 3,
    "business_value": 7.5,
    "labels": ["one", "two"],
    "files": ["src/**"],
    "acceptance": ["it works"],
    "max_attempts": 2,
}
OTHERS = [
    {"id": "B", "title": "Then this", "depends_on": ["A"], "parent_id": "C"},
    {"id": "C", "title": "And this", "not_before": "2099-01-01T00:00:00Z"},
]

SESSION: list[tuple[str, dict[str, Any]]] = [
    ("create_tasks", {"tasks": [A_TASK, *OTHERS], "request_id": "new"}),
    ("plan_next", {"limit": 50}),
    ("context_write", {"topic": "prices", "content": "Do it well with decimals.", "tags": ["t"], "task_id": "A"}),
    ("claim_task", {"task_id": "A", "lease_seconds": 600, "request_id": "first"}),
    ("heartbeat", {"task_id": "A", "progress": 10, "note": "begun"}),
    ("checkpoint", {"task_id": "A", "summary": "half", "next_steps": "rest", "progress": 50, "files": ["a.py"]}),
    ("release_task", {"task_id": "A", "reason": "tired"}),
    ("claim_task", {"agent_id": "ann.1"}),
    ("fail_task", {"task_id": "A", "error": "broken"}),
    ("update_task", {"task_id": "A", "not_before": None, "priority": "low"}),
    ("get_task", {"task_id": "A"}),
    ("claim_task", {"task_id": "A"}),
    ("complete_task", {"task_id": "A", "summary": "done", "artifacts": ["src/a.py"], "evidence": ["ran it"]}),
    ("block_task", {"task_id": "B", "reason": "later"}),
    ("context_read", {"query": "decimals"}),
    ("context_read", {"topic": "prices"}),
    ("list_tasks", {"limit": 2}),
    ("list_tasks", {"limit": 2, "cursor": "2"}),
]
"""Every core tool, in an order that works."""


@pytest.mark.requirement("CORE-1", "CORE-2", "CLAIM-5", "TASK-1", "TASK-4")
@pytest.mark.parametrize("era", [HANDSHAKE, MODERN])
def test_every_core_tool_gives_the_fields_of_the_contract_in_text_and_structure(workspace: Workspace, era: str) -> None:
    client = workspace.server("ann", era=era)
    for tool, arguments in SESSION:
        answer = client.answer(tool, arguments)

        assert answer["isError"] is False, answer
        assert [part["type"] for part in answer["content"]] == ["text"]
        text = answer["content"][0]["text"]
        assert text == json.dumps(answer["structuredContent"], separators=(",", ":"), ensure_ascii=False)
        assert len(text) <= 20_000
        assert not list(misfits(answer["structuredContent"], RESULTS[tool])), tool
    assert {tool for tool, _ in SESSION} == RESULTS.keys()
    assert {tool["name"] for tool in client.result("tools/list")["tools"]} == RESULTS.keys()
    shown = client.call("get_task", {"task_id": "A"})["task"]
    assert {name: shown[name] for name in A_TASK if name != "priority"} == {
        name: value for name, value in A_TASK.items() if name != "priority"
    }


@pytest.mark.requirement("CORE-9", "CORE-14")
@pytest.mark.parametrize("era", [HANDSHAKE, MODERN])
def test_the_instructions_tell_in_under_two_thousand_characters_how_to_work(workspace: Workspace, era: str) -> None:
    client = workspace.spawn("ann", era=era)
    if era == MODERN:
        hello = client.result("server/discover")
    else:
        about = {"protocolVersion": era, "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
        hello = client.result("initialize", about)

    assert 0 < len(hello["instructions"]) < 2_000
    for word in ("claim_task", "checkpoint", "complete_task", "context_write", "agent_id", "request_id", "holding"):
        assert word in hello["instructions"]
