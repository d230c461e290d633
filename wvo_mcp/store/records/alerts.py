"""What people should look at: one open alert per kind and task, the news of each change, and how far each channel has come
with it."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from wvo_mcp.domain.event import canonical
from wvo_mcp.domain.instant import iso
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
_ALERT_NAMES = [f"a_{name}" for name in COLUMNS.split(", ")]
_ALERT = ", ".join(f"a.{name.removeprefix('a_')} AS {name}" for name in _ALERT_NAMES)
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
            await self._events.append(
                "alert.worsened", task_id, {**data, "alert": known["id"], "was": known["severity"]}
            )
            self._add_escalation(known)
        return False

    async def resolve_alert(self, kind: str, task_id: str | None) -> bool:
        known = await self.find(kind, task_id)
        if known is None:
            return False
        await self._resolve(known, {"kind": kind, "alert": known["id"]})
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
        which = "kind = ? AND coalesce(task_id, '') = ? AND resolved_at IS NULL"
        return next(iter(self._alerts(which, (kind, task_id or ""))), None)

    async def get(self, alert_id: int) -> dict[str, Any]:
        for row in self._alerts("id = ?", (alert_id,)):
            return row
        near = [str(row["id"]) for row in await self.open_alerts(5)]
        raise NotFound("alert", str(alert_id), near, field="alert_id", hint="The tool alerts lists them.")

    async def open_alerts(self, limit: int) -> list[dict[str, Any]]:
        return self._alerts(f"resolved_at IS NULL ORDER BY CASE severity {_ORDER} END DESC, id DESC LIMIT ?", (limit,))

    async def page(self, where: Mapping[str, Any], before: int | None, limit: int) -> list[dict[str, Any]]:
        parts = {
            "open": "resolved_at IS NULL",
            "kind": "kind = :kind",
            "least": f"CASE severity {_ORDER} END >= :least",
            "before": "id < :before",
        }
        given: dict[str, Any] = {**where, "before": before, "least": _RANK.get(where.get("least") or "info")}
        used = [name for name in parts if given.get(name)]
        return self._alerts(
            f"{' AND '.join(parts[name] for name in used) or 'TRUE'} ORDER BY id DESC LIMIT :limit",
            {**{name: given[name] for name in used if name != "open"}, "limit": limit},
        )

    def _alerts(self, which: str, params: Any) -> list[dict[str, Any]]:
        return [_shown(row) for row in self._rows.all(f"SELECT {COLUMNS} FROM alerts WHERE {which}", params)]

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


class News(Repository):
    """`ports.records.NewsRepository`."""

    async def last(self) -> int:
        return int(self._rows.value("SELECT coalesce(max(id), 0) FROM alert_news"))

    async def behind(self, news_id: int, channel: str, limit: int) -> list[dict[str, Any]]:
        return self._news(
            f"""
            SELECT n.id AS news_id, n.change, n.at, {_ALERT}, (
              SELECT count(*) FROM alert_news AS earlier
              CROSS JOIN alert_deliveries AS d ON d.news_id = earlier.id AND d.channel = ?
              WHERE earlier.alert_id = n.alert_id AND earlier.id < n.id) AS begun
            FROM alert_news AS n JOIN alerts AS a ON a.id = n.alert_id
            WHERE n.id > ? ORDER BY n.id LIMIT ?
            """,
            (channel, news_id, limit),
        )

    async def open_now(self, limit: int) -> list[dict[str, Any]]:
        return self._news(
            f"""
            SELECT n.id AS news_id, n.change, n.at, {_ALERT}
            FROM alerts AS a JOIN alert_news AS n
              ON n.id = (SELECT max(newest.id) FROM alert_news AS newest WHERE newest.alert_id = a.id)
            WHERE a.resolved_at IS NULL AND a.acknowledged_at IS NULL
            ORDER BY CASE a.severity {_ORDER} END DESC, n.id DESC LIMIT ?
            """,
            (limit,),
        )

    async def enrol(self, channel: str, news_ids: Sequence[int]) -> None:
        for news_id in news_ids:
            row = {"news_id": news_id, "channel": channel, "next_at": self._at}
            self._insert("alert_deliveries", row, "ON CONFLICT DO NOTHING")

    async def due(self, channel: str, limit: int) -> list[dict[str, Any]]:
        return self._news(
            f"""
            SELECT n.id AS news_id, n.change, n.at, d.attempts, {_ALERT}
            FROM alert_deliveries AS d INDEXED BY alert_deliveries_due
            CROSS JOIN alert_news AS n ON n.id = d.news_id
            CROSS JOIN alerts AS a ON a.id = n.alert_id
            WHERE d.channel = ? AND d.next_at IS NOT NULL AND d.next_at <= ? AND NOT EXISTS (
              SELECT 1 FROM alert_news AS before_n
              CROSS JOIN alert_deliveries AS before_d ON before_d.news_id = before_n.id AND before_d.channel = d.channel
              WHERE before_n.alert_id = n.alert_id AND before_n.id < n.id AND before_d.next_at IS NOT NULL)
            ORDER BY d.news_id LIMIT ?
            """,
            (channel, self._at, limit),
        )

    async def delivered(self, channel: str, news_id: int) -> None:
        self._keep(channel, news_id, "attempts = attempts + 1, delivered_at = :at, next_at = NULL")

    async def failed(self, channel: str, news_id: int, error: str, again_at: datetime | None) -> None:
        after = "next_at = NULL, given_up_at = :at" if again_at is None else "next_at = :next, given_up_at = NULL"
        following = None if again_at is None else iso(again_at)
        self._keep(channel, news_id, f"attempts = attempts + 1, last_error = :why, {after}", why=error, next=following)

    async def dropped(self, channel: str, news_id: int, why: str) -> None:
        self._keep(channel, news_id, "last_error = :why, next_at = NULL, given_up_at = :at", why=why)

    def _keep(self, channel: str, news_id: int, changes: str, **values: str | None) -> None:
        params = {"news_id": news_id, "channel": channel, "at": self._at, **values}
        self._rows.put(f"UPDATE alert_deliveries SET {changes} WHERE news_id = :news_id AND channel = :channel", params)

    async def forget(self, before: datetime) -> int:
        # The newest stays: SQLite would give its number again, and the channels have counted it.
        old = (
            "SELECT n.id FROM alert_news AS n JOIN alerts AS a ON a.id = n.alert_id"
            " WHERE a.resolved_at < ? AND n.id < (SELECT max(id) FROM alert_news)"
        )
        self._rows.put(f"DELETE FROM alert_deliveries WHERE news_id IN ({old})", (iso(before),))
        return self._rows.run(f"DELETE FROM alert_news WHERE id IN ({old})", (iso(before),))

    def _news(self, sql: str, params: Sequence[Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for row in self._rows.all(sql, params):
            alert = {name.removeprefix("a_"): row.pop(name) for name in _ALERT_NAMES}
            found.append({**row, "alert": _shown(alert)})
        return found


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "evidence": json.loads(row["evidence"])}
