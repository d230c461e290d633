"""What people are told of an alert, and how often that is tried."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.redaction import redacted

SEVERITIES = ("info", "warning", "critical")
"""From least to worst."""
FAILED = "alert_delivery_failed"
"""The kind of alert that says that a channel takes no news. It is not told through the channel that it is about."""

MOST_ATTEMPTS = 10
_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 900.0
_SHOWN = (
    "id", "kind", "severity", "task_id", "message", "evidence", "times", "raised_at", "last_seen_at", "acknowledged_at",
    "acknowledged_by", "escalated_at", "resolved_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Message:
    """One piece of news for one channel. `id` is the same at every attempt, so that receivers can drop repeats; `body` is
    JSON-ready: {type: alert.raised | alert.escalated | alert.resolved, timestamp, id, data: {store, alert}}."""

    id: str
    body: Mapping[str, Any]


def message(row: Mapping[str, Any], store: str) -> Message:
    """Of a row {news_id, change, at, alert}; secrets in its texts are made unreadable."""
    alert: Mapping[str, Any] = row["alert"]
    # News ids alone could come again, with other news, after a backup was restored.
    parts = (row["news_id"], row["change"], row["at"], alert["id"], alert["kind"], alert["task_id"], alert["raised_at"])
    name = "news_" + hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:32]
    shown = {field: redacted(alert[field], field) for field in _SHOWN}
    body = {
        "type": f"alert.{row['change']}",
        "timestamp": row["at"],
        "id": name,
        "data": {"store": store, "alert": shown},
    }
    return Message(name, body)


def wanted(row: Mapping[str, Any], channel: str, least: str, *, begun: bool) -> bool:
    """Is this news for the channel? `begun`: it was told something of this alert before, and so hears its end."""
    alert: Mapping[str, Any] = row["alert"]
    if alert["kind"] == FAILED and channel in dead_channels(alert):
        return False
    if row["change"] == "resolved":
        return begun
    if alert["acknowledged_at"] is not None:
        return False
    return SEVERITIES.index(alert["severity"]) >= SEVERITIES.index(least)


def dead_channels(alert: Mapping[str, Any] | None) -> dict[str, str]:
    """Channel -> its last error, as the alert `alert_delivery_failed` tells; none without that alert."""
    return {} if alert is None else dict(alert["evidence"].get("channels", {}))


def next_attempt(now: datetime, attempts: int, spread: float) -> datetime | None:
    """After so many failed attempts: 5 s, 10 s, 20 s ... up to 15 min, each up to a quarter longer by `spread` (0 to 1), so
    that what failed together does not come back together. None: given up, after three quarters of an hour."""
    if attempts >= MOST_ATTEMPTS:
        return None
    pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** (attempts - 1))
    return now + timedelta(seconds=pause * (1 + spread / 4))
