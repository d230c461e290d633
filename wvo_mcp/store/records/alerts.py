"""What people should look at: one open alert per kind and task, and the news of each change."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wvo_mcp.domain.event import canonical
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.redaction import redact, redacted
from wvo_mcp.errors import NotFound
from wvo_mcp.store.records.events import Events
from wvo_mcp.store.records.rows import Repository
from wvo_mcp.store.sql import Rows

COLUMNS = (
    "id, kind, severity, task_id, message, evidence, times, raised_at, last_seen_at, acknowledged_at, acknowledged_by,"
    " remedy_failures, escalated_at, resolved_at"
)
_RANK = {"info": 0, "warning": 1, "critical": 2}
_ORDER = " ".join(f"WHEN '{severity}' THEN {rank}" for severity, rank in _RANK.items())


class Alerts(Repository):
    """`ports.AlertRepository`."""

    def __init__(self, rows: Rows, now: datetime, caller: Caller, events: Events) -> None:
        super().__init__(rows, now, caller)
        self._events = events

    async def raise_alert(
        self,
        kind: str,
        severity: str,
        task_id: str | None,
        message: str,
        evidence: Mapping[str, Any] | None = None,
    ) -> bool:
        message = redact(message)
        shown = canonical(redacted(dict(evidence or {})))
        alert_id = self._rows.value(
            "INSERT INTO alerts (kind, severity, task_id, message, evidence, raised_at, last_seen_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
            (kind, severity, task_id, message, shown, self._at, self._at),
        )
        data = {"kind": kind, "severity": severity, "message": message}
        if alert_id is not None:
            await self._events.append("alert.raised", task_id, data)
            self._add_news(int(alert_id), "raised")
            return True
        known = await self.find(kind, task_id)
        if known is None:
            return False
        if known["escalated_at"] is not None:
            severity = known["severity"]  # what a remedy failed at twice stays as bad until it is over
        self._rows.put(
            "UPDATE alerts SET severity = ?, message = ?, evidence = ?, times = times + 1, last_seen_at = ? WHERE id = ?",
            (severity, message, shown, self._at, known["id"]),
        )
        if _RANK.get(severity, 1) > _RANK.get(known["severity"], 1):
            await self._events.append("alert.worsened", task_id, {**data, "was": known["severity"]})
            self._add_escalation(known)
        return False

    async def resolve_alert(self, kind: str, task_id: str | None) -> bool:
        known = await self.find(kind, task_id)
        if known is None:
            return False
        await self._resolve(known, {"kind": kind})
        return True

    async def close(self, alert_id: int, reason: str | None) -> dict[str, Any]:
        row = await self.get(alert_id)
        if row["resolved_at"] is None:
            await self._resolve(row, {"kind": row["kind"], "alert": alert_id, **({"reason": reason} if reason else {})})
        return await self.get(alert_id)

    async def _resolve(self, known: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        self._rows.put("UPDATE alerts SET resolved_at = ? WHERE id = ?", (self._at, known["id"]))
        await self._events.append("alert.resolved", known["task_id"], data)
        self._add_news(known["id"], "resolved")

    async def acknowledge(self, alert_id: int, note: str | None = None) -> dict[str, Any]:
        row = await self.get(alert_id)
        if row["acknowledged_at"] is None:
            self._rows.put(
                "UPDATE alerts SET acknowledged_at = ?, acknowledged_by = ? WHERE id = ?",
                (self._at, self._caller.agent_id, alert_id),
            )
            data = {"kind": row["kind"], "alert": alert_id, **({"note": note} if note else {})}
            await self._events.append("alert.acknowledged", row["task_id"], data)
        return await self.get(alert_id)

    async def remedy_failed(self, kind: str, task_id: str | None) -> int:
        known = await self.find(kind, task_id)
        if known is None:
            return 0
        self._rows.put("UPDATE alerts SET remedy_failures = remedy_failures + 1 WHERE id = ?", (known["id"],))
        return int(known["remedy_failures"]) + 1

    async def escalate(self, kind: str, task_id: str | None, why: str) -> bool:
        known = await self.find(kind, task_id)
        if known is None or known["escalated_at"] is not None:
            return False
        self._rows.put(
            "UPDATE alerts SET escalated_at = ?, severity = 'critical' WHERE id = ?", (self._at, known["id"])
        )
        await self._events.append("alert.escalated", task_id, {"kind": kind, "alert": known["id"], "why": why})
        self._add_escalation(known)
        return True

    async def find(self, kind: str, task_id: str | None) -> dict[str, Any] | None:
        row = self._rows.one(
            f"SELECT {COLUMNS} FROM alerts WHERE kind = ? AND coalesce(task_id, '') = ? AND resolved_at IS NULL",
            (kind, task_id or ""),
        )
        return None if row is None else _shown(row)

    async def get(self, alert_id: int) -> dict[str, Any]:
        row = self._rows.one(f"SELECT {COLUMNS} FROM alerts WHERE id = ?", (alert_id,))
        if row is None:
            near = [str(open_["id"]) for open_ in await self.open_alerts(5)]
            raise NotFound("alert", str(alert_id), near, field="alert_id", hint="The tool alerts lists them.")
        return _shown(row)

    async def open_alerts(self, limit: int) -> list[dict[str, Any]]:
        rows = self._rows.all(
            f"""
            SELECT {COLUMNS} FROM alerts WHERE resolved_at IS NULL
            ORDER BY CASE severity {_ORDER} END DESC, id DESC LIMIT ?
            """,
            (limit,),
        )
        return [_shown(row) for row in rows]

    async def page(self, where: Mapping[str, Any], before: int | None, limit: int) -> list[dict[str, Any]]:
        parts = {
            "open": "resolved_at IS NULL",
            "kind": "kind = :kind",
            "least": f"CASE severity {_ORDER} END >= :least",
            "before": "id < :before",
        }
        given: dict[str, Any] = {**where, "before": before, "least": _RANK.get(where.get("least") or "info")}
        used = [name for name in parts if given.get(name)]
        rows = self._rows.all(
            f"SELECT {COLUMNS} FROM alerts WHERE {' AND '.join(parts[name] for name in used) or 'TRUE'}"
            " ORDER BY id DESC LIMIT :limit",
            {**{name: given[name] for name in used if name != "open"}, "limit": limit},
        )
        return [_shown(row) for row in rows]

    async def open_counts(self) -> list[dict[str, Any]]:
        return self._rows.all(
            "SELECT kind, severity, count(*) AS n FROM alerts WHERE resolved_at IS NULL"
            " GROUP BY kind, severity ORDER BY kind, severity"
        )

    def _add_escalation(self, known: Mapping[str, Any]) -> None:
        if known["acknowledged_at"] is None:
            self._add_news(known["id"], "escalated")

    def _add_news(self, alert_id: int, change: str) -> None:
        self._insert("alert_news", {"alert_id": alert_id, "change": change, "at": self._at})


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "evidence": json.loads(row["evidence"])}
