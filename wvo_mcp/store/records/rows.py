"""What repositories share: their beginning, the writing of a row, and how a task is kept in its own."""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import Task
from wvo_mcp.store.sql import Rows

COLUMNS = (
    "id, seq, epic_id, milestone_id, parent_id, title, description, type, status, priority, complexity, business_value,"
    " score, bundle_value, bundle_size, heard_value, heard_size, tail, unmet_deps, open_children, gates,"
    " lane_id, labels, files, capabilities, acceptance,"
    " requires_approval, approved_at, not_before, assigned_to, session_id, lease_token, lease_expires_at, lease_seconds,"
    " progress, attempts, expiries, max_attempts, origin, blocked_reason, block_author, last_error, metadata, version,"
    " event_head, created_at, updated_at, started_at, finished_at"
)

ONE_TASK = f"SELECT {COLUMNS} FROM tasks WHERE id = ?"

_LISTS = ("labels", "files", "capabilities", "acceptance")
_TIMES = (
    "approved_at", "not_before", "lease_expires_at", "created_at", "updated_at", "started_at", "finished_at"
)  # fmt: skip


class Repository:
    """Part of one transaction: its connection, its time, and who asks."""

    def __init__(self, rows: Rows, now: datetime, caller: Caller) -> None:
        self._rows = rows
        self._now = now
        self._at = iso(now)
        self._caller = caller

    def _insert(self, table: str, values: Mapping[str, Any], conflict: str = "") -> None:
        """Write one row; the statement ends in `conflict`."""
        marks = ", ".join("?" * len(values))
        self._rows.put(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks}) {conflict}", tuple(values.values()))

    def _upsert(self, table: str, key: tuple[str, ...], values: Mapping[str, Any]) -> None:
        """Write one row, over the one that has the same key."""
        others = ", ".join(f"{name} = excluded.{name}" for name in values if name not in key)
        self._insert(table, values, f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {others}")


def as_task(row: dict[str, Any]) -> Task:
    for name in _LISTS:
        text = row[name]
        row[name] = () if text == "[]" else json.loads(text)
    for name in _TIMES:
        if row[name] is not None:
            row[name] = instant(row[name])
    row["metadata"] = {} if row["metadata"] == "{}" else json.loads(row["metadata"])
    return Task.model_validate(row)


def encoded(value: Any) -> Any:
    """A value as its column holds it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return value


def encoded_all(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: encoded(value) for name, value in fields.items()}
