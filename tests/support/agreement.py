"""Does the store hold what the model says? Every kept column, counter, queue and chain is compared."""

import json
from collections import Counter
from typing import Any, cast

from tests.support.bench import Bench
from tests.support.model import ModelTask, World
from tests.support.ranking import SETTLED, misranked
from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.task import Status
from wvo_mcp.ports import Transaction
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.transaction import StoreTransaction

_TABLES = (
    "tasks", "task_dependencies", "task_waits", "task_labels", "lanes", "epics", "milestones", "counters", "agent_pool",
    "sessions", "checkpoints", "context_entries", "events", "alerts", "requests", "lease_writes", "facts", "leaders",
)  # fmt: skip


async def contents(bench: Bench) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table."""

    async def every(rows: Rows) -> dict[str, list[dict[str, Any]]]:
        return {table: rows.all(f"SELECT * FROM {table}") for table in _TABLES}

    return await bench.store.writer.read(every)


async def compare(bench: Bench, world: World) -> None:
    """Asserts that they agree, and takes the scores of the store over into the model."""

    async def whole(tx: Transaction) -> None:
        rows = cast(StoreTransaction, tx).tasks._rows
        _compare_tasks(rows, world)
        _compare_edges(rows, world)
        _compare_counters(rows, world)
        _compare_people(rows, world)
        await _compare_queue(tx, rows, world)
        await _compare_history(tx, rows, world)

    await bench.read(whole)


def _compare_tasks(rows: Rows, world: World) -> None:
    stored = {row["id"]: row for row in rows.all("SELECT * FROM tasks")}
    assert stored.keys() == world.tasks.keys()
    for task in world.tasks.values():
        row = stored[task.id]
        assert shown(row) == expected(world, task)
        _compare_gates(world, task, row)
        task.score, task.seq = row["score"], row["seq"]
    wrong = misranked(
        stored.values(),
        [(task.id, other) for task in world.tasks.values() for other in task.depends_on],
        [(task.id, other) for task in world.tasks.values() for other in task.waits],
        step=rows.value("SELECT path_step FROM store"),
        weights=lambda row: world.possible_weights(world.tasks[row["id"]]),
    )
    assert list(wrong) == []


def shown(row: dict[str, Any]) -> dict[str, Any]:
    names = (
        "status", "epic_id", "milestone_id", "parent_id", "priority", "complexity", "business_value", "assigned_to",
        "session_id", "lease_token", "lease_expires_at", "attempts", "expiries", "unmet_deps", "open_children",
        "max_attempts", "block_author",
    )  # fmt: skip
    return {
        "id": row["id"],
        **{name: row[name] for name in names},
        "files": json.loads(row["files"]),
        "capabilities": json.loads(row["capabilities"]),
        "requires_approval": bool(row["requires_approval"]),
        "approved": row["approved_at"] is not None,
        "not_before": row["not_before"],
        "kept": (row["kept_for"], row["kept_until"]),
        "finished": row["finished_at"] is not None,
    }


def expected(world: World, task: ModelTask) -> dict[str, Any]:
    return {
        "id": task.id,
        "status": task.status,
        "epic_id": task.epic,
        "milestone_id": task.milestone,
        "parent_id": task.parent,
        "priority": task.priority,
        "complexity": task.complexity,
        "business_value": task.business_value,
        "assigned_to": task.agent,
        "session_id": task.session,
        "lease_token": task.token,
        "lease_expires_at": None if task.until is None else iso(task.until),
        "attempts": task.attempts,
        "expiries": task.expiries,
        "unmet_deps": len(world.unmet(task)),
        "open_children": len(world.open_children(task)),
        "max_attempts": task.max_attempts,
        "block_author": task.block_author,
        "files": list(task.files),
        "capabilities": list(task.capabilities),
        "requires_approval": task.requires_approval,
        "approved": task.approved,
        "not_before": None if task.not_before is None else iso(task.not_before),
        "kept": (task.kept_for, None if task.kept_until is None else iso(task.kept_until)),
        "finished": task.status in ("done", "failed", "cancelled"),
    }


def _compare_gates(world: World, task: ModelTask, row: dict[str, Any]) -> None:
    assert bool(row["gates"] & 2) == (task.requires_approval and not task.approved), task.id
    assert bool(row["gates"] & 4) == bool(world.open_children(task)), task.id
    # The gate of time is lifted by the next claim, not by the passing of time.
    assert row["gates"] & 1 or not world.timed(task), task.id
    assert task.not_before is not None or not row["gates"] & 1, task.id
    assert row["gates"] & 8 or not world.kept(task), task.id
    assert task.kept_for is not None or not row["gates"] & 8, task.id


def _compare_edges(rows: Rows, world: World) -> None:
    edges = rows.all("SELECT task_id, depends_on_task_id FROM task_dependencies")
    assert {tuple(edge.values()) for edge in edges} == {(t.id, o) for t in world.tasks.values() for o in t.depends_on}
    waits = rows.all("SELECT * FROM task_waits")
    assert {tuple(wait.values()) for wait in waits} == {(t.id, o) for t in world.tasks.values() for o in t.waits}


def _compare_counters(rows: Rows, world: World) -> None:
    counted = Counter(task.status for task in world.tasks.values())
    kept = {row["name"]: row["n"] for row in rows.all("SELECT name, n FROM counters")}
    open_size = sum(task.complexity for task in world.tasks.values() if task.status not in SETTLED)
    statuses = {status.value: counted[status.value] for status in Status}
    assert kept == {**statuses, "ready": len(world.ranked()), "open_size": open_size}
    epics = rows.all("SELECT id, wip_limit, in_progress FROM epics")
    assert {row["id"]: (row["wip_limit"], row["in_progress"]) for row in epics} == {
        epic: (limit, len(world.in_progress(epic=epic))) for epic, limit in world.epics.items()
    }
    lanes = rows.all(
        """
        SELECT l.*, (SELECT count(*) FROM tasks AS t
          WHERE t.lane_id = l.id AND t.status = 'pending' AND t.unmet_deps = 0 AND t.gates = 0) AS found
        FROM lanes AS l
        """
    )
    assert [lane for lane in lanes if lane["ready"] != lane["found"]] == []
    key = {lane["id"]: (lane["epic_id"], lane["capabilities"], lane["files"]) for lane in lanes}
    for row in rows.all("SELECT lane_id, epic_id, capabilities, files FROM tasks"):
        assert key[row["lane_id"]] == (row["epic_id"] or "", row["capabilities"], row["files"])


async def _compare_queue(tx: Transaction, rows: Rows, world: World) -> None:
    queue = [task.id for task in await tx.queue.ready(None, 1_000)]
    assert queue == [task.id for task in world.ranked()]
    # `ready_tasks` knows only the real clock, so tasks behind a gate are left out here.
    free = {row["id"] for row in rows.all("SELECT id FROM tasks WHERE gates = 0")}
    view = [row["id"] for row in rows.all("SELECT id FROM ready_tasks")]
    claimable = [t.id for t in world.ranked() if not world.full(t.epic)]
    assert [i for i in view if i in free] == [i for i in claimable if i in free]
    opened = (
        "SELECT id FROM tasks WHERE (gates & 9) > 0 AND (gates & ~9) = 0"
        " AND ((gates & 1) = 0 OR not_before <= :now) AND ((gates & 8) = 0 OR kept_until <= :now)"
    )
    due = {row["id"] for row in rows.all(opened, {"now": iso(tx.now)})}
    assert await tx.health.claimable() == len([i for i in claimable if i in free | due])


def _compare_people(rows: Rows, world: World) -> None:
    sessions = rows.all("SELECT session_id, agent_id, ended_at IS NOT NULL AS ended FROM sessions")
    assert {row["session_id"]: (row["agent_id"], bool(row["ended"])) for row in sessions} == {
        session_id: (session.agent, session.ended) for session_id, session in world.sessions.items() if session.recorded
    }
    pool = {row["agent_id"]: row for row in rows.all("SELECT * FROM agent_pool")}
    assert pool.keys() == world.offline.keys()
    for agent, row in pool.items():
        own = {task.id for task in world.in_progress(agent=agent)}
        assert (row["current_task_id"] in own) if own else (row["current_task_id"] is None), agent
        assert row["status"] == ("offline" if world.offline[agent] else "busy" if own else "idle"), agent


async def _compare_history(tx: Transaction, rows: Rows, world: World) -> None:
    alerts = rows.all("SELECT kind, task_id FROM alerts WHERE resolved_at IS NULL")
    failed = {("task_failed", task.id) for task in world.tasks.values() if task.status == "failed"}
    alarming = {("task_blocked", task.id) for task in world.tasks.values() if task.alarming}
    assert {(alert["kind"], alert["task_id"]) for alert in alerts} == failed | alarming

    assert [t for t in [None, *world.tasks] if await tx.events.broken_chain(t) is not None] == []
    times = [instant(row["at"]) for row in rows.all("SELECT at FROM events ORDER BY seq")]
    assert times == sorted(times)
