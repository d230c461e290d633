"""A store with every kind of row, and with texts that hurt whoever does not quote, escape or count well."""

from dataclasses import replace
from pathlib import Path

from tests.support.bench import ANN, BOB, OWNER, Bench, a_task
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.workers import Violation
from wvo_mcp.store.sql import Rows

HOSTILE = (
    'it\'s "quoted" \\ \\N \\. \\\\. `x` $1 %s :name ? {}\n\tsecond line\r\nthird\x01\x7f\u2028'
    " \u00e9 e\u0301 \ufeff \u202e \U0001f9e8\U0001f469\u200d\U0001f4bb; DROP TABLE tasks; --"
)
LONGEST = ("\U0001f9e8\n'\"\\\t" * 2_700)[:16_000]

ROADMAP = """
epics:
  - id: E
    title: "It's \\"an\\" epic"
    wip_limit: 7
    milestones:
      - {id: M, title: Soon, due: 2027-01-15}
    tasks:
      - {id: R1, title: first of the roadmap, milestone: M}
      - {id: R2, title: second of the roadmap, depends_on: [R1]}
  - id: B
    title: Made second though it sorts first
    tasks: []
"""


async def fill(bench: Bench, folder: Path) -> None:
    """Work in progress, done, failed, blocked, cancelled, waiting for time, for people, for children; and what comes
    along: sessions, checkpoints, memory, alerts, answers, a leader, a pause."""
    roadmap = folder / "filled.yaml"
    roadmap.write_text(ROADMAP)
    bench.services = replace(bench.services, roadmap=RoadmapSource(roadmap))
    bench.limits(wip_limit=20, agent_wip_limit=20)
    await bench.call("roadmap_sync", OWNER)
    await bench.create(
        a_task("DONE", labels=["x", "y"], files=["a/**"], acceptance=[HOSTILE]),
        a_task("HELD", depends_on=["DONE"], description=LONGEST, business_value=12.345678901234567, epic_id="E"),
        a_task("FAILED", max_attempts=1),
        a_task("BLOCKED", capabilities=["gpu"]),
        a_task("GONE"),
        a_task("LATER", not_before="2027-01-01T00:00:00Z"),
        a_task("ASKED", requires_approval=True),
        a_task("WHOLE"),
        a_task("PART", parent_id="WHOLE"),
        a_task("NEXT", depends_on=["HELD", "PART"], priority="critical"),
    )
    await bench.call("add", OWNER, title=HOSTILE)
    await bench.done("DONE")
    held = await bench.claim(ANN, "HELD", request_id="claim-HELD")
    token = held["lease"]["token"]
    await bench.call("checkpoint", ANN, task_id="HELD", lease_token=token, summary=HOSTILE, next_steps=LONGEST)
    await bench.call("checkpoint", ANN, task_id="HELD", lease_token=token, summary="half", progress=50)
    await bench.claim(BOB, "FAILED")
    await bench.call("fail_task", BOB, task_id="FAILED", error=HOSTILE)
    await bench.call("block_task", BOB, task_id="BLOCKED", reason="waits", waiting_for=["PART"])
    await bench.call("cancel", OWNER, task_id="GONE", reason=HOSTILE)
    await bench.claim(BOB, "PART")
    await bench.call("context_write", ANN, topic="quoting", content=HOSTILE, request_id="note-1")
    await bench.call("context_write", BOB, topic="quoting", content=LONGEST, task_id="HELD", epic_id="E")
    await bench.call("context_write", BOB, topic="searched", content="a needle", tags=["tricky"])
    await bench.call("pause", OWNER, reason=HOSTILE)
    await bench.call("resume", OWNER)

    async def raise_and_lead(tx: Transaction) -> None:
        await tx.alerts.raise_alert("test", "warning", "HELD", HOSTILE)
        await tx.state.lead("background", 30.0)
        await _fill_for_workers(tx)
        _fill_by_hand(tx)

    await bench.write(raise_and_lead)


async def _fill_for_workers(tx: Transaction) -> None:
    row = {"task_id": "HELD", "lease_token": 1, "host": "here"}
    more = {"agent_id": "auto-here.1", "run_id": "r", "provider": "claude", "tier": "high", "model": "m"}
    worker = {"reason": HOSTILE, "cost_usd": 0.123456789, "log": "/a/log"}
    await tx.workers.add({**row, **more, **worker}, "a key")
    place = {"workspace_id": "p1", "path": HOSTILE, "mode": "worktree", "state": "open"}
    await tx.workspaces.add({**row, **place, "facts": {"left": HOSTILE}})
    entry = {"number": await tx.submissions.next_number("HELD"), "repository": "r", "path": "/p", "target": "main"}
    await tx.submissions.add({"task_id": "HELD", "host": "here", **entry, "commit_sha": "c", "base_sha": "b"})
    await tx.violations.add(Violation("command", "deny", "rm", HOSTILE, "HELD", "w-1"))
    await tx.verifications.put("tree", "hash", passed=False, took_ms=12, verdict={"tail": HOSTILE})
    taken = {"commit_sha": "c", "tree_sha": "t", "trigger": "call", "files_changed": 1, "took_ms": 9}
    number = await tx.snapshots.next_number("HELD")
    await tx.snapshots.add({"workspace_id": "p1", "task_id": "HELD", "number": number, "findings": [HOSTILE], **taken})
    await tx.messages.add({"to_agent": "ann", "kind": "pause", "body": HOSTILE, "needs_answer": True})
    until = {"expires_at": "2100-01-01T00:00:00.000Z"}
    await tx.reservations.add({"agent_id": "ann", "pattern": HOSTILE, "mode": "shared", **until})
    about = {"task_id": "HELD", "round": 1, "commit_sha": "c", "author": "ann", "trigger": "human", "asked_by": "owner"}
    admitted = {
        "token_id": "0" * 12,
        "kind": "token",
        "name": "ann",
        "role": "viewer",
        "hash": "0" * 64,
        "made_by": HOSTILE,
    }
    await tx.access.add({**admitted, **until})
    await tx.reviews.add({**about, "question": HOSTILE, "candidates": ["x"]})


BY_HAND = (
    (
        "orchestrations",
        ("orchestration_id", "seq", "goal", "state", "plan", "created_at", "updated_at"),
        ("O-1", 1, HOSTILE, "planned", None, "2026-11-20T10:00:00.000Z", "2026-11-20T10:00:00.000Z"),
    ),
    ("health_samples", ("at", "metrics"), ("2026-11-20T10:00:00.000Z", "{}")),
    ("throughput", ("minute", "first_seq", "completed"), ("2026-11-20T10:00", 1, 2)),
    ("throughput_hours", ("hour", "completed", "cycles", "working"), ("2026-11-20T10", 2, 60, 30)),
    ("alert_deliveries", ("news_id", "channel", "attempts", "last_error"), (1, "webhook", 2, HOSTILE)),
    (
        "provider_states",
        ("provider", "used", "capacity", "updated_at"),
        ("claude", 0.5, 2.25, "2026-11-20T10:00:00.000Z"),
    ),
    (
        "prefetch_queue",
        ("task_id", "position", "agent_id", "queued_at"),
        ("NEXT", 1, "ann", "2026-11-20T10:00:00.000Z"),
    ),
    (
        "jobs",
        ("id", "tool", "agent_id", "session_id", "input", "result", "created_at", "updated_at"),
        ("J1", "forecast", "ann", "s", "{}", "{}", "2026-11-20T10:00:00.000Z", "2026-11-20T10:00:00.000Z"),
    ),
    (
        "task_routes",
        ("task_id", "lease_token", "agent_id", "provider", "tier", "model", "reason", "reserved", "at"),
        ("HELD", 1, "ann", "claude", "high", "a-model", HOSTILE, 200_000, "2026-11-20T10:00:00.000Z"),
    ),
    (
        "usage",
        ("at", "task_id", "lease_token", "agent_id", "provider", "tier", "tokens", "cost", "source"),
        ("2026-11-20T10:00:00.000Z", "HELD", 1, "ann", "claude", "high", 12_345, 0.123456789, "report"),
    ),
    (
        "breakers",
        ("provider", "tier", "state", "kind", "failures", "until", "reason", "updated_at"),
        ("codex", "", "open", "quota", 3, "2026-11-20T12:00:00.000Z", HOSTILE, "2026-11-20T10:00:00.000Z"),
    ),
    (
        "budget_raises",
        ("scope", "name", "period", "tokens", "until", "by_agent", "reason", "at"),
        ("tier", "claude/high", "day", 5, "2026-11-21T00:00:00.000Z", "owner", HOSTILE, "2026-11-20T10:00:00.000Z"),
    ),
    (
        "usage_messages",
        ("message_id", "transcript", "ends", "at"),
        ("msg_1", "/home/ann/one.jsonl", 512, "2026-11-20T10:00:00.000Z"),
    ),
    ("task_traces", ("task_id", "lease_token", "traceparent", "started_at"), ("HELD", 1, "00-1-1-01", "2026-11-20")),
)
"""(table, columns, values) of a row that no call of this life writes."""


def _fill_by_hand(tx: Transaction) -> None:
    rows: Rows = tx.state._rows  # pyright: ignore  # a test may look behind the repository
    for table, columns, values in BY_HAND:
        rows.put(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(values))})", values)
