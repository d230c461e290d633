"""Small durable facts, leadership, what the roadmap said at the last sync, and the way back from a wrong clock."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.event import canonical
from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.task import Task
from wvo_mcp.store.records.events import Events
from wvo_mcp.store.records.rows import Repository

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
    "workers": "since started_at ended_at",
    "workspaces": "created_at updated_at",
    "merge_entries": "created_at updated_at",
    "approvals": "created_at decided_at",
    "violations": "at",
    "verifications": "created_at",
    "workspace_checkpoints": "created_at",
    "messages": "delivered_at acked_at created_at",
    "file_reservations": "created_at ended_at",
    "reviews": "asked_at answered_at",
    "orchestrations": "created_at updated_at",
    "access_tokens": "created_at last_used_at used_at revoked_at",
    "error_patterns": "created_at used_at",
    "pattern_uses": "at",
}
"""Columns that tell when something happened: none can lie ahead of the true time."""
_AHEAD = {
    "tasks": "not_before kept_until lease_expires_at",
    "workers": "resets_at",
    "approvals": "expires_at",
    "merge_entries": "retry_at",
    "messages": "deadline",
    "file_reservations": "expires_at",
    "reviews": "deadline",
    "leaders": "expires_at",
    "access_tokens": "expires_at",
    "error_patterns": "kept_until",
    "alert_deliveries": "next_at",
    "provider_states": "resets_at",
    "breakers": "until probe_until",
    "budget_raises": "until",
}
"""Columns that tell until when: what lies behind the first wrong event was counted from the wrong time."""
_SUMS = {"usage_minutes": ("minute", 16, ("tokens",)), "usage_days": ("day", 10, ("tokens", "cost", "attempts"))}


class State(Repository):
    """`ports.StateRepository`."""

    async def get(self, name: str) -> Any:
        text = self._rows.value("SELECT value FROM facts WHERE name = ?", (name,))
        return None if text is None else json.loads(text)

    async def put(self, name: str, value: Any) -> None:
        self._upsert("facts", ("name",), {"name": name, "value": canonical(value)})

    async def named(self, prefix: str) -> dict[str, Any]:
        after = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        rows = self._rows.all("SELECT name, value FROM facts WHERE name >= ? AND name < ?", (prefix, after))
        return {row["name"]: json.loads(row["value"]) for row in rows}

    async def drop(self, name: str) -> None:
        self._rows.put("DELETE FROM facts WHERE name = ?", (name,))

    async def lead(self, role: str, seconds: float, *, force: bool = False) -> int | None:
        own = self._caller.session_id
        row = await self.leader(role)
        until = iso(self._now + timedelta(seconds=seconds))
        if row is None:
            token = 1
        elif row["session_id"] == own:
            token = int(row["token"])
        elif force or row["session_id"] is None or row["expires_at"] <= self._at:
            token = int(row["token"]) + 1
        else:
            return None
        lease = {"session_id": own, "token": token, "expires_at": until}
        self._upsert("leaders", ("role",), {"role": role, **lease})
        return token

    async def leader(self, role: str) -> dict[str, Any] | None:
        return self._rows.one("SELECT role, session_id, token, expires_at FROM leaders WHERE role = ?", (role,))

    async def resign(self, role: str) -> None:
        self._rows.put(
            "UPDATE leaders SET session_id = NULL WHERE role = ? AND session_id = ?", (role, self._caller.session_id)
        )

    async def set_time_back(self, to: datetime, *, apply: bool) -> dict[str, int]:
        # Times of events, checkpoints and context stay: they are append-only.
        true, shift = iso(to), self._now - to
        began: str = self._rows.value("SELECT min(at) FROM events WHERE at > ?", (true,)) or self._at
        moved: dict[str, int] = {}
        for after, tables in ((true, _PAST), (began, _AHEAD)):
            for table, column in ((table, column) for table, names in tables.items() for column in names.split()):
                for late in self._rows.column(f"SELECT DISTINCT {column} FROM {table} WHERE {column} > ?", (after,)):
                    count = f"SELECT count(*) FROM {table} WHERE {column} = ?"
                    name = f"{table}.{column}"
                    moved[name] = moved.get(name, 0) + int(self._rows.value(count, (late,)))
                    if apply:
                        given = (iso(instant(late) - shift), late)
                        self._rows.put(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", given)
        if apply:
            self._move_sums(shift, true)
            self._rows.put(
                "UPDATE tasks SET gates = gates | 1 WHERE status = 'pending' AND not_before > ? AND (gates & 1) = 0",
                (true,),
            )
            self._rows.put(
                "UPDATE tasks SET gates = gates | 8"
                " WHERE status = 'pending' AND kept_for IS NOT NULL AND kept_until > ? AND (gates & 8) = 0",
                (true,),
            )
            self._rows.put("UPDATE store SET boot = ''")  # the next transaction counts from the machine's clock again
            data = {"from": self._at, "to": true, "wrong_since": began, "moved": moved}
            await Events(self._rows, to, self._caller).append("store.time_set_back", None, data)
        return moved

    def _move_sums(self, shift: timedelta, true: str) -> None:
        for table, (key, length, summed) in _SUMS.items():
            added = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in summed)
            for late in self._rows.column(f"SELECT DISTINCT {key} FROM {table} WHERE {key} > ?", (true[:length],)):
                begin = instant(f"{late}T00:00:00.000Z" if length == 10 else f"{late}:00.000Z")
                given = {"late": late, "true": iso(begin - shift)[:length]}
                self._rows.put(
                    f"""
                    INSERT INTO {table} ({key}, provider, tier, {", ".join(summed)})
                    SELECT :true, provider, tier, {", ".join(summed)} FROM {table} WHERE {key} = :late
                    ON CONFLICT ({key}, provider, tier) DO UPDATE SET {added}
                    """,
                    given,
                )
                self._rows.put(f"DELETE FROM {table} WHERE {key} = :late", given)
        # What was learned of these hours is learned again.
        self._rows.put("DELETE FROM throughput_hours WHERE hour > ?", (true[:13],))

    async def roadmap_entries(self) -> dict[str, dict[str, Any]]:
        rows = self._rows.all("SELECT task_id, entry FROM roadmap_entries")
        return {row["task_id"]: json.loads(row["entry"]) for row in rows}

    async def put_roadmap_entries(self, entries: Mapping[str, dict[str, Any]], gone: Iterable[str]) -> None:
        for task_id, entry in entries.items():
            self._upsert("roadmap_entries", ("task_id",), {"task_id": task_id, "entry": canonical(entry)})
        for task_id in gone:
            self._rows.put("DELETE FROM roadmap_entries WHERE task_id = ?", (task_id,))

    async def roadmap_tasks(self) -> list[Task]:
        return self._tasks("WHERE seq > 0 ORDER BY seq", ())

    async def dependency_edges(self) -> list[tuple[str, str]]:
        """(task, what it depends on) of the whole store."""
        return list(self._rows.execute("SELECT task_id, depends_on_task_id FROM task_dependencies", ()))
