"""The way back from a wrong clock: what was written under it moves to when it happened; the trail stays as it is."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.store.records.events import Events
from wvo_mcp.store.sql import Rows

_PAST = {
    "epics": "created_at updated_at",
    "milestones": "created_at updated_at",
    "tasks": "created_at updated_at started_at finished_at approved_at",
    "agent_pool": "assigned_at last_seen_at",
    "sessions": "started_at last_call_at ended_at",
    "alerts": "raised_at acknowledged_at resolved_at last_seen_at escalated_at",
    "alert_news": "at",
    "alert_deliveries": "delivered_at given_up_at",
    "requests": "created_at",
    "lease_writes": "created_at",
    "prefetch_queue": "queued_at",
    "provider_states": "updated_at",
    "health_samples": "at",
    "task_traces": "started_at",
    "task_routes": "at ended_at",
    "usage": "at",
    "breakers": "opened_at updated_at",
    "budget_raises": "at",
}
"""Columns that tell when something happened: none can lie ahead of the true time."""
_AHEAD = {
    "tasks": "not_before lease_expires_at",
    "leaders": "expires_at",
    "alert_deliveries": "next_at",
    "provider_states": "resets_at",
    "breakers": "until probe_until",
    "budget_raises": "until",
}
"""Columns that tell until when: what lies behind the first wrong event was counted from the wrong time."""
_SUMS = {"usage_minutes": ("minute", 16, ("tokens",)), "usage_days": ("day", 10, ("tokens", "cost", "attempts"))}
_COUNTS = {"throughput": ("minute", 16), "throughput_hours": ("hour", 13)}


async def set_back(rows: Rows, caller: Caller, wrong: datetime, true: datetime, *, apply: bool) -> dict[str, int]:
    """How many rows move, by table and column; moved when `apply`, with an event that is the store's latest from then on.

    Times of events, checkpoints and context stay: they are append-only.
    """
    began: str = rows.value("SELECT min(at) FROM events WHERE at > ?", (iso(true),)) or iso(wrong)
    moved: dict[str, int] = {}
    for after, columns in ((iso(true), _PAST), (began, _AHEAD)):
        for table, column in _each(columns):
            for late in rows.column(f"SELECT DISTINCT {column} FROM {table} WHERE {column} > ?", (after,)):
                given = (iso(instant(late) - (wrong - true)), late)
                count = f"SELECT count(*) FROM {table} WHERE {column} = ?"
                name = f"{table}.{column}"
                moved[name] = moved.get(name, 0) + int(rows.value(count, (late,)))
                if apply:
                    rows.put(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", given)
    if apply:
        _move_sums(rows, wrong - true, iso(true))
        rows.put(
            "UPDATE tasks SET gates = gates | 1 WHERE status = 'pending' AND not_before > ? AND (gates & 1) = 0",
            (iso(true),),
        )
        rows.put("UPDATE store SET boot = ''")  # the next transaction counts from the machine's clock again
        data = {"from": iso(wrong), "to": iso(true), "wrong_since": began, "moved": moved}
        await Events(rows, true, caller).append("store.time_set_back", None, data)
    return moved


def _each(columns: dict[str, str]) -> Iterator[tuple[str, str]]:
    for table, names in columns.items():
        for name in names.split():
            yield table, name


def _move_sums(rows: Rows, shift: timedelta, true: str) -> None:
    for table, (key, length, summed) in _SUMS.items():
        added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in summed)
        for late in rows.column(f"SELECT DISTINCT {key} FROM {table} WHERE {key} > ?", (true[:length],)):
            given: dict[str, Any] = {"late": late, "true": iso(_start_of(late) - shift)[:length]}
            rows.put(
                f"""
                INSERT INTO {table} ({key}, provider, tier, {", ".join(summed)})
                SELECT :true, provider, tier, {", ".join(summed)} FROM {table} WHERE {key} = :late
                ON CONFLICT ({key}, provider, tier) DO UPDATE SET {added}
                """,
                given,
            )
            rows.put(f"DELETE FROM {table} WHERE {key} = :late", given)
    for table, (key, length) in _COUNTS.items():  # they are learned again
        rows.put(f"DELETE FROM {table} WHERE {key} > ?", (true[:length],))


def _start_of(key: str) -> datetime:
    return instant(f"{key}T00:00:00.000Z" if len(key) == 10 else f"{key}:00.000Z")
