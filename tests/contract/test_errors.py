"""Every error that can be met: its code, what it names, whether to try again, and that nothing has changed."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest

from tests.contract.commands import run_command
from tests.support.databases import OF_CALLS, looked_at, written
from tests.support.stdio_client import StdioClient
from tests.support.waiting import eventually
from tests.support.workspace import Workspace, some_tasks, workspace
from wvo_mcp.store.postgres.address import WRITE_LOCK

RETRYABLE = {
    "not_ready",
    "already_claimed",
    "wip_limit",
    "reservation_conflict",
    "budget_exhausted",
    "paused",
    "store_busy",
    "store_unavailable",
}


__all__ = ["workspace"]


@contextmanager
def kept_locked(workspace: Workspace) -> Generator[None]:
    """Somebody writes for longer than anybody waits. On PostgreSQL one who says nothing would be cut off, so this one works."""
    with written(workspace.source) as execute, ThreadPoolExecutor() as beside:
        if workspace.url is None:
            execute("BEGIN IMMEDIATE")
            yield
            return
        busy = beside.submit(execute, f"SELECT pg_advisory_xact_lock({WRITE_LOCK}), pg_sleep(600)")
        # The wait is told only of him who has the lock: others wait for that.
        held = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
        with written(workspace.source) as look:
            ((pid,),) = eventually(lambda: look(held).fetchall())
            try:
                yield
            finally:
                look(f"SELECT pg_cancel_backend({pid})")
        with suppress(psycopg.errors.QueryCanceled):
            busy.result(60)


@pytest.fixture(scope="module")
def other(place: Workspace) -> StdioClient:
    """The connection of another agent, `bob`."""
    return place.server("bob")


def error_of(client: StdioClient, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The error of a call, which has the shape of the contract and changed nothing."""
    answer = client.answer(tool, arguments)
    assert answer["isError"] is True, answer
    error = answer["structuredContent"]["error"]
    assert answer["content"][0]["text"] == f"{error['code']}: {error['message']} Hint: {error['hint']}"
    assert set(error) == {"code", "message", "retryable", "hint", "details"}
    assert error["retryable"] is (error["code"] in RETRYABLE)
    assert error["hint"]
    return error


@contextmanager
def unchanged(workspace: Workspace) -> Generator[None]:
    """Nothing that is remembered about work changes meanwhile."""

    def content() -> list[Any]:
        with looked_at(workspace.source) as database:
            tables = ("tasks", "task_dependencies", "checkpoints", "context_entries", "epics", "requests", "events")
            return [database.rows(f"SELECT * FROM {table}{OF_CALLS.get(table, '')}") for table in tables]

    before = content()
    yield
    assert content() == before


@pytest.mark.requirement("CORE-7")
@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("plan_next", {"limit": 0}, "limit"),
        ("plan_next", {"limit": "many"}, "limit"),
        ("plan_next", {"limits": 5}, "limits"),
        ("claim_task", {"lease_seconds": 86_401}, "lease_seconds"),
        ("claim_task", {"agent_id": "two words"}, "agent_id"),
        ("claim_task", {"task_id": "A\n"}, "task_id"),
        ("complete_task", {"task_id": "A"}, "summary"),
        ("complete_task", {"summary": "done"}, "task_id"),
        ("complete_task", {"task_id": "A", "summary": " "}, "summary"),
        ("fail_task", {"task_id": "A"}, "error"),
        ("block_task", {"task_id": "A"}, "reason"),
        ("heartbeat", {"task_id": "A", "progress": 101}, "progress"),
        ("checkpoint", {"task_id": "A", "summary": "x" * 16_001}, "summary"),
        ("create_tasks", {"tasks": []}, "tasks"),
        ("create_tasks", {"tasks": [{"title": "t"}] * 501}, "tasks"),
        ("create_tasks", {"tasks": [{"id": "X"}]}, "tasks.0.title"),
        ("create_tasks", {"tasks": [{"title": "t"}, {"title": "x" * 501}]}, "tasks.1.title"),
        ("create_tasks", {"tasks": [{"title": "t", "complexity": 11}]}, "tasks.0.complexity"),
        ("create_tasks", {"tasks": [{"title": "t", "business_value": 20.5}]}, "tasks.0.business_value"),
        ("create_tasks", {"tasks": [{"title": "nul \x00"}]}, "tasks.0.title"),
        ("create_tasks", {"tasks": [{"title": "lone \ud800"}]}, "tasks.0.title"),
        ("create_tasks", {"tasks": [{"title": "t", "not_before": "2026-01-01T00:00:00"}]}, "tasks.0.not_before"),
        ("update_task", {"task_id": "A", "status": "done"}, "status"),
        ("list_tasks", {"cursor": "elsewhere"}, "cursor"),
        ("context_write", {"topic": "t"}, "content"),
        ("context_read", {"limit": 5.5}, "limit"),
    ],
)
def test_bad_input_names_the_field(server: StdioClient, tool: str, arguments: dict[str, Any], field: str) -> None:
    error = error_of(server, tool, arguments)

    assert error["code"] == "invalid_input"
    assert error["details"]["field"] == field
    assert error["details"]["problem"]
    assert "Traceback" not in error["message"]


@pytest.mark.requirement("CORE-7")
def test_what_does_not_exist_is_named_with_what_looks_like_it(server: StdioClient, place: Workspace) -> None:
    server.call("create_tasks", some_tasks("PAYMENT-1", "PAYMENT-2", epic_id="BILLING"))
    server.call("context_write", {"topic": "rounding", "content": "Half to even."})
    with unchanged(place):
        for tool, arguments, near in (
            ("get_task", {"task_id": "PAYMENT-11"}, "PAYMENT-1"),
            ("claim_task", {"task_id": "payment-1"}, "PAYMENT-1"),
            ("complete_task", {"task_id": "PAYMNET-2", "summary": "done"}, "PAYMENT-2"),
            ("create_tasks", {"tasks": [{"title": "t", "depends_on": ["PAYMENT-3"]}]}, "PAYMENT-1"),
            ("update_task", {"task_id": "PAYMENT-1", "add_depends_on": ["PAYMENT_2"]}, "PAYMENT-2"),
            ("block_task", {"task_id": "PAYMENT-1", "reason": "r", "waiting_for": ["PAYMENT-22"]}, "PAYMENT-2"),
            ("context_read", {"topic": "roundings"}, "rounding"),
        ):
            error = error_of(server, tool, arguments)
            assert error["code"] == "not_found", tool
            assert near in error["details"]["near"], tool
        for tool, arguments in (
            ("create_tasks", {"tasks": [{"title": "t", "milestone_id": "NONE"}]}),
            ("create_tasks", {"tasks": [{"title": "t", "parent_id": "NONE"}]}),
            ("context_write", {"topic": "t", "content": "c", "epic_id": "NONE"}),
            ("no_such_tool", {}),
            ("approve", {"task_id": "PAYMENT-1"}),
        ):
            assert error_of(server, tool, arguments)["code"] == "not_found", tool


@pytest.mark.requirement("CORE-7", "TASK-3")
def test_a_circle_of_dependencies_is_refused_with_its_path(server: StdioClient, place: Workspace) -> None:
    server.call(
        "create_tasks",
        {"tasks": [{"id": f"Y{n}", "title": "t", "depends_on": [f"Y{n - 1}"] * (n > 1)} for n in (1, 2, 3)]},
    )
    with unchanged(place):
        there = error_of(server, "update_task", {"task_id": "Y1", "add_depends_on": ["Y3"]})
        itself = error_of(server, "update_task", {"task_id": "Y2", "add_depends_on": ["Y2"]})
        circle = [{"id": "Z1", "title": "t", "depends_on": ["Z2"]}, {"id": "Z2", "title": "t", "depends_on": ["Z1"]}]
        new = error_of(server, "create_tasks", {"tasks": circle})
        waiting = error_of(server, "block_task", {"task_id": "Y1", "reason": "r", "waiting_for": ["Y3"]})

    assert {error["code"] for error in (there, itself, new, waiting)} == {"dependency_cycle"}
    assert there["details"]["path"] == ["Y1", "Y3", "Y2", "Y1"]
    assert itself["details"]["path"] == ["Y2", "Y2"]
    assert len(new["details"]["path"]) == 3


@pytest.mark.requirement("CORE-7", "CLAIM-1", "CLAIM-2", "SCHED-3")
def test_a_named_task_that_cannot_be_claimed_says_why(
    server: StdioClient, other: StdioClient, place: Workspace
) -> None:
    server.call("create_tasks", some_tasks("HELD", files=["src/api/**"]))
    server.call("create_tasks", some_tasks("LATER", depends_on=["HELD"]))
    server.call("create_tasks", some_tasks("NEAR", files=["src/api/users.py"]))
    server.call("create_tasks", some_tasks("SKILLED", capabilities=["welding"]))
    server.call("create_tasks", some_tasks("RISKY", requires_approval=True))
    server.call("create_tasks", some_tasks("SOON", not_before="2099-01-01T00:00:00Z"))
    server.call("create_tasks", some_tasks("WHOLE"))
    server.call("create_tasks", some_tasks("PART", parent_id="WHOLE"))
    lease = server.call("claim_task", {"task_id": "HELD"})["lease"]
    with unchanged(place):
        held = error_of(other, "claim_task", {"task_id": "HELD"})
        later = error_of(other, "claim_task", {"task_id": "LATER"})
        near = error_of(other, "claim_task", {"task_id": "NEAR"})
        others = {
            name: error_of(other, "claim_task", {"task_id": name}) for name in ("SKILLED", "RISKY", "SOON", "WHOLE")
        }
        stale = error_of(other, "complete_task", {"task_id": "HELD", "lease_token": lease["token"], "summary": "mine"})

    assert (held["code"], held["details"]["by"]) == ("already_claimed", "ann")
    assert held["details"]["until"] >= lease["expires_at"]
    assert (later["code"], later["details"]["waiting_for"]) == ("not_ready", ["HELD"])
    assert (near["code"], near["details"]["with"]) == ("reservation_conflict", "HELD")
    assert {name: (error["code"], error["details"]["reason"]) for name, error in others.items()} == {
        "SKILLED": ("not_ready", "capabilities"),
        "RISKY": ("not_ready", "approval"),
        "SOON": ("not_ready", "not_before"),
        "WHOLE": ("not_ready", "children"),
    }
    assert (stale["code"], stale["details"]["holder"]) == ("stale_lease", "ann")


@pytest.mark.requirement("CORE-7", "CORE-8")
def test_conflicts_are_refused(server: StdioClient, place: Workspace) -> None:
    server.call("create_tasks", {**some_tasks("V"), "request_id": "v1"})
    with unchanged(place):
        version = error_of(server, "update_task", {"task_id": "V", "title": "t", "expected_version": 99})
        exists = error_of(server, "create_tasks", some_tasks("W", "V"))
        twice = error_of(server, "create_tasks", some_tasks("W", "W"))
        reused = error_of(server, "create_tasks", {**some_tasks("W"), "request_id": "v1"})

    assert {error["code"] for error in (version, exists, twice)} == {"conflict"}
    assert (version["details"]["expected"], version["details"]["version"]) == (99, 1)
    assert reused["code"] == "request_id_reused"


@pytest.mark.requirement("CORE-7", "TASK-7")
def test_what_is_for_people_is_forbidden_to_agents(server: StdioClient, other: StdioClient, place: Workspace) -> None:
    server.call("create_tasks", some_tasks("MINE"))
    server.call("create_tasks", some_tasks("GATED", requires_approval=True))
    server.call("claim_task", {"task_id": "MINE"})
    with unchanged(place):
        for who in (server, other):
            cancel = error_of(who, "update_task", {"task_id": "MINE", "status": "cancelled"})
            lifted = error_of(who, "update_task", {"task_id": "GATED", "requires_approval": False})
            assert {cancel["code"], lifted["code"]} == {"forbidden"}


@pytest.mark.requirement("SCHED-2", "CORE-7")
def test_each_limit_of_work_in_progress_names_its_scope_and_reasons_have_their_order(
    workspace: Workspace,
) -> None:
    workspace.settings = {"WVO_AUTOPILOT_WIP_LIMIT": "3", "WVO_AGENT_WIP_LIMIT": "1"}
    (workspace.root / "state").mkdir()
    roadmap = "epics:\n  - {id: SMALL, title: Small, wip_limit: 1, tasks: [{id: S1, title: a}, {id: S2, title: b}]}\n"
    (workspace.root / "state" / "roadmap.yaml").write_text(roadmap)
    client = workspace.server("ann")

    def scope(task_id: str, agent_id: str) -> str:
        error = error_of(client, "claim_task", {"task_id": task_id, "agent_id": agent_id})
        assert error["code"] == "wip_limit"
        return error["details"]["scope"]

    def reason(agent_id: str) -> str:
        return client.call("claim_task", {"agent_id": agent_id})["reason"]

    client.call("claim_task", {"task_id": "S1", "agent_id": "one"})
    assert scope("S2", "two") == "epic"
    assert reason("two") == "epic_wip_limit"
    client.call("create_tasks", some_tasks("T1", "T2", "T3"))
    assert scope("T1", "one") == "agent"
    assert reason("one") == "agent_wip_limit"
    client.call("claim_task", {"task_id": "T1", "agent_id": "two"})
    client.call("claim_task", {"task_id": "T2", "agent_id": "three"})
    assert scope("T3", "four") == "store"
    assert reason("four") == "wip_limit"
    assert reason("one") == "agent_wip_limit"
    with looked_at(workspace.source) as database:
        assert database.value("SELECT count(*) FROM tasks WHERE status = 'in_progress'") == 3
        assert database.column("SELECT id FROM ready_tasks") == ["T3"]
    assert run_command(workspace, "pause", "--reason", "lunch").returncode == 0
    paused = error_of(client, "claim_task", {"task_id": "T3", "agent_id": "four"})
    assert paused["code"] == "paused"
    assert reason("one") == "paused"
    assert client.call("plan_next")["paused"] is True


@pytest.mark.requirement("CORE-7")
def test_a_database_that_others_keep_locked_is_a_typed_error_and_reads_go_on(workspace: Workspace) -> None:
    patience = ("wvo_mcp.store.sqlite.connection.BUSY_BUDGET_SECONDS", "wvo_mcp.store.postgres.executor.RETRY_SECONDS")
    workspace.constants = dict.fromkeys(patience, 3.0)
    client = workspace.server("ann")
    client.call("create_tasks", some_tasks("A"))
    with kept_locked(workspace):
        locked = client.post("tools/call", {"name": "claim_task", "arguments": {}})
        assert client.call("plan_next")["ready"] == 1
        error = client.receive(locked)["result"]["structuredContent"]["error"]

    assert (error["code"], error["retryable"]) == ("store_busy", True)
    assert "locked" not in error["message"]
    assert client.call("claim_task")["task"]["id"] == "A"
