"""The outbox: what people are to hear of alerts, and how far each channel has come with it."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from wvo_mcp.domain.instant import iso
from wvo_mcp.store.records.alerts import COLUMNS
from wvo_mcp.store.records.rows import Repository

_ALERT = ", ".join(f"a.{name} AS a_{name}" for name in COLUMNS.split(", "))


class News(Repository):
    """`ports.records.NewsRepository`."""

    async def last(self) -> int:
        return int(self._rows.value("SELECT coalesce(max(id), 0) FROM alert_news"))

    async def behind(self, news_id: int, channel: str, limit: int) -> list[dict[str, Any]]:
        rows = self._rows.all(
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
        return [_news(row) for row in rows]

    async def open_now(self, limit: int) -> list[dict[str, Any]]:
        rows = self._rows.all(
            f"""
            SELECT n.id AS news_id, n.change, n.at, {_ALERT}
            FROM alerts AS a JOIN alert_news AS n
              ON n.id = (SELECT max(newest.id) FROM alert_news AS newest WHERE newest.alert_id = a.id)
            WHERE a.resolved_at IS NULL AND a.acknowledged_at IS NULL
            ORDER BY CASE a.severity WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END, n.id DESC LIMIT ?
            """,
            (limit,),
        )
        return [_news(row) for row in rows]

    async def enrol(self, channel: str, news_ids: Sequence[int]) -> None:
        for news_id in news_ids:
            row = {"news_id": news_id, "channel": channel, "next_at": self._at}
            self._insert("alert_deliveries", row, "ON CONFLICT DO NOTHING")

    async def due(self, channel: str, limit: int) -> list[dict[str, Any]]:
        rows = self._rows.all(
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
        return [_news(row) for row in rows]

    async def delivered(self, channel: str, news_id: int) -> None:
        self._deliver(channel, news_id, "attempts = attempts + 1, delivered_at = :at, next_at = NULL")

    async def failed(self, channel: str, news_id: int, error: str, again_at: datetime | None) -> None:
        after = "next_at = NULL, given_up_at = :at" if again_at is None else "next_at = :next, given_up_at = NULL"
        following = None if again_at is None else iso(again_at)
        self._deliver(
            channel, news_id, f"attempts = attempts + 1, last_error = :why, {after}", why=error, next=following
        )

    async def dropped(self, channel: str, news_id: int, why: str) -> None:
        self._deliver(channel, news_id, "last_error = :why, next_at = NULL, given_up_at = :at", why=why)

    def _deliver(self, channel: str, news_id: int, changes: str, **values: str | None) -> None:
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


def _news(row: Mapping[str, Any]) -> dict[str, Any]:
    alert = {name.removeprefix("a_"): value for name, value in row.items() if name.startswith("a_")}
    rest = {name: value for name, value in row.items() if not name.startswith("a_")}
    return {**rest, "alert": {**alert, "evidence": json.loads(alert["evidence"])}}
