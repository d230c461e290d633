"""Names and types of what the core tools answer (contract, sections 6 and 7)."""

import itertools
import json
from typing import Any

import pytest

from tests.support.stdio_client import Refused, StdioClient

pytestmark = pytest.mark.requirement("CORE-6")

_numbers = itertools.count()


def fresh(server: StdioClient, **fields: Any) -> str:
    """A new pending task that nobody else's test touches."""
    task_id = f"T{next(_numbers)}"
    server.call("create_tasks", {"tasks": [{"id": task_id, "title": f"Do {task_id}", **fields}]})
    return task_id


def held(server: StdioClient, **fields: Any) -> tuple[str, int]:
    task_id = fresh(server, **fields)
    return task_id, server.call("claim_task", {"task_id": task_id})["lease"]["token"]


def test_structure_and_text_say_the_same_and_compactly(server: StdioClient) -> None:
    task_id = fresh(server, description='ü\n"quoted"')

    answer = server.answer("get_task", {"task_id": task_id})

    text = answer["content"][0]["text"]
    assert json.loads(text) == answer["structuredContent"]
    assert text == json.dumps(answer["structuredContent"], separators=(",", ":"), ensure_ascii=False)
    assert answer["isError"] is False


def test_plan_next(server: StdioClient) -> None:
    first = fresh(server, priority="critical", business_value=20, complexity=1)
    waiting = fresh(server, depends_on=[first], business_value=20, complexity=1)

    plan = server.call("plan_next", {"limit": 1})

    assert set(plan) == {"tasks", "ready", "in_progress", "wip_limit", "paused", "not_ready"}
    task = plan["tasks"][0]
    assert set(task) == {"id", "title", "score", "why", "priority", "epic_id"}
    assert task["id"] == first
    why = task["why"]
    parts = ("business_value", "time_criticality", "unlock_value", "complexity", "unlock_size", "path_value")
    assert set(why) == set(parts)
    value = why["business_value"] + why["time_criticality"] + why["unlock_value"]
    whole = value / (why["complexity"] + why["unlock_size"]) + why["path_value"]
    assert task["score"] == pytest.approx(whole, abs=1e-3)
    assert {"id": waiting, "reason": "dependencies", "waiting_for": [first]} in plan["not_ready"]
    assert len(plan["not_ready"]) <= 5


def test_a_life_of_a_task_from_claim_to_done(server: StdioClient) -> None:
    task_id = fresh(server, acceptance=["it works"])
    follower = fresh(server, depends_on=[task_id])

    claim = server.call("claim_task", {"task_id": task_id, "lease_seconds": 900})
    assert set(claim) == {"task", "lease", "resume", "context", "route"}
    assert claim["task"]["acceptance"] == ["it works"]
    assert set(claim["lease"]) == {"token", "expires_at"}
    assert claim["lease"]["expires_at"].endswith("Z")
    token = claim["lease"]["token"]
    beat = server.call("heartbeat", {"task_id": task_id, "lease_token": token, "progress": 10, "note": "on it"})
    assert beat["lease"]["token"] == token
    saved = server.call("checkpoint", {"task_id": task_id, "summary": "half", "next_steps": "rest", "files": ["a.py"]})
    assert set(saved) == {"checkpoint", "lease"}
    assert saved["checkpoint"]["seq"] == 1
    written = server.call("context_write", {"topic": f"about-{task_id}", "content": "c", "task_id": task_id})
    assert written == {"topic": f"about-{task_id}", "version": 1}
    over = {"task_id": task_id, "summary": "all of it", "artifacts": ["a.py"], "evidence": ["pytest: 3 passed"]}
    done = server.call("complete_task", over)
    assert set(done) == {"task", "unlocked", "unlocked_count", "submission"}
    assert done["submission"] is None
    assert done["task"]["status"] == "done"
    assert done["unlocked"] == [follower]

    told = server.call("get_task", {"task_id": task_id})
    assert set(told) == {"task", "dependencies", "dependents", "checkpoints", "events", "context"}
    last = told["events"][-1]
    assert (last["kind"], last["data"]["evidence"]) == ("task.completed", ["pytest: 3 passed"])
    assert told["dependents"][0]["id"] == follower
    assert told["context"][0]["topic"] == f"about-{task_id}"


def test_failing_releasing_and_blocking(server: StdioClient) -> None:
    task_id, token = held(server)
    failed = server.call("fail_task", {"task_id": task_id, "lease_token": token, "error": "no"})
    assert set(failed) == {"task", "attempts", "retry_at"}
    assert (failed["attempts"], failed["task"]["status"]) == (1, "pending")
    task_id, token = held(server)
    released = server.call("release_task", {"task_id": task_id, "lease_token": token, "reason": "later"})
    assert released["task"]["status"] == "pending"
    other = fresh(server)
    blocked = server.call("block_task", {"task_id": task_id, "reason": "needs it", "waiting_for": [other]})
    assert blocked["task"]["status"] == "blocked"


def test_lists_are_paged_and_counted(server: StdioClient) -> None:
    ids = [fresh(server, labels=["paged"]) for _ in range(3)]

    first = server.call("list_tasks", {"label": "paged", "limit": 2})
    rest = server.call("list_tasks", {"label": "paged", "limit": 2, "cursor": first["next_cursor"]})

    assert set(first) == {"tasks", "next_cursor", "total", "total_is_capped"}
    assert [task["id"] for task in first["tasks"] + rest["tasks"]] == ids
    assert (first["total"], rest["next_cursor"], first["total_is_capped"]) == (3, None, False)


def test_context_is_read_by_topic_by_words_and_by_time(server: StdioClient) -> None:
    for version, content in enumerate(("Zebras are striped", "Zebras are striped twice"), 1):
        assert server.call("context_write", {"topic": "zebras", "content": content})["version"] == version

    by_topic = server.call("context_read", {"topic": "zebras"})["entries"]
    by_words = server.call("context_read", {"query": 'striped OR "zebras" NEAR('})["entries"]

    assert [entry["version"] for entry in by_topic] == [2, 1]
    assert set(by_topic[0]) == {"topic", "version", "content", "tags", "at", "rank"}
    assert by_words[0]["topic"] == "zebras"
    assert server.call("context_read", {"limit": 1})["entries"]


ERRORS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("get_task", {"task_id": "nothing"}, "not_found", {"kind": "task"}),
    ("get_task", {"task_id": "a b"}, "invalid_input", {"field": "task_id"}),
    ("get_task", {}, "invalid_input", {"field": "task_id"}),
    ("plan_next", {"limit": 51}, "invalid_input", {"field": "limit"}),
    ("claim_task", {"lease_seconds": 86_401}, "invalid_input", {"field": "lease_seconds"}),
    ("create_tasks", {"tasks": [{"title": "x", "depends_on": ["nothing"]}]}, "not_found", {"id": "nothing"}),
    (
        "create_tasks",
        {"tasks": [{"id": "X", "title": "x", "depends_on": ["X"]}]},
        "dependency_cycle",
        {"path": ["X", "X"]},
    ),
    ("create_tasks", {"tasks": [{"title": "x", "milestone_id": "M0"}]}, "not_found", {"kind": "milestone"}),
    ("create_tasks", {"tasks": [{"title": "\ud800"}]}, "invalid_input", {"field": "tasks.0.title"}),
    ("context_read", {"topic": "nothing"}, "not_found", {"kind": "topic"}),
    ("nothing", {}, "not_found", {"kind": "tool"}),
    ("approve", {"task_id": "X"}, "not_found", {"kind": "tool"}),
]


@pytest.mark.requirement("CORE-7")
@pytest.mark.parametrize(("tool", "arguments", "code", "details"), ERRORS)
def test_an_error_is_typed_and_names_what_is_wrong(
    server: StdioClient, tool: str, arguments: dict[str, Any], code: str, details: dict[str, Any]
) -> None:
    answer = server.answer(tool, arguments)

    assert answer["isError"] is True
    error = answer["structuredContent"]["error"]
    assert set(error) == {"code", "message", "retryable", "hint", "details"}
    assert (error["code"], error["retryable"]) == (code, False)
    assert {name: error["details"][name] for name in details} == details
    assert answer["content"][0]["text"] == f"{code}: {error['message']} Hint: {error['hint']}"


@pytest.mark.requirement("CORE-7", "SCHED-2")
def test_what_can_pass_is_retryable_and_says_what_it_waits_for(server: StdioClient) -> None:
    task_id, _ = held(server, files=["contract/**"])
    waiting = fresh(server, depends_on=[task_id])
    overlapping = fresh(server, files=["contract/x.py"])

    with pytest.raises(Refused) as not_ready:
        server.call("claim_task", {"task_id": waiting})
    with pytest.raises(Refused) as claimed:
        server.call("claim_task", {"task_id": task_id})
    with pytest.raises(Refused) as files:
        server.call("claim_task", {"task_id": overlapping})

    assert (not_ready.value.code, not_ready.value.details["waiting_for"]) == ("not_ready", [task_id])
    assert (claimed.value.code, claimed.value.details["by"]) == ("already_claimed", "ann")
    assert claimed.value.details["until"].endswith("Z")
    assert (files.value.code, files.value.details["with"]) == ("reservation_conflict", task_id)
    assert all(error.value.retryable for error in (not_ready, claimed, files))
    assert not_ready.value.hint.endswith("and come back later.")


@pytest.mark.requirement("CORE-7")
def test_nobody_is_told_to_come_back_for_a_task_that_is_over(server: StdioClient) -> None:
    task_id, _ = held(server)
    server.call("complete_task", {"task_id": task_id, "summary": "done"})

    with pytest.raises(Refused, match="not_ready") as refused:
        server.call("claim_task", {"task_id": task_id})

    assert refused.value.hint == "Claim another task (claim_task without task_id)."


@pytest.mark.requirement("CORE-8")
def test_versions_and_request_ids_are_checked(server: StdioClient) -> None:
    task_id = fresh(server)
    request = {"task_id": task_id, "title": "n", "request_id": f"r-{task_id}"}
    assert server.call("update_task", request) == server.call("update_task", request)

    with pytest.raises(Refused, match="request_id_reused"):
        server.call("update_task", {**request, "title": "m"})
    with pytest.raises(Refused, match="conflict") as refused:
        server.call("update_task", {"task_id": task_id, "title": "m", "expected_version": 1})
    assert refused.value.details["version"] == 2
