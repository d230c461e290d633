"""What repositories share: their beginning, how rows are read and written, and the texts that are searched for."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import Task
from wvo_mcp.store.sql import Dialect, Rows

COLUMNS = ", ".join(Task.model_fields)
ONE_TASK = f"SELECT {COLUMNS} FROM tasks WHERE id = ?"

_LISTS = ("labels", "files", "capabilities", "acceptance")
_TIMES = (
    "approved_at", "not_before", "kept_until", "lease_expires_at", "created_at", "updated_at", "started_at", "finished_at"
)  # fmt: skip


class Repository:
    """Part of one transaction: its connection, its time, and who asks."""

    def __init__(self, rows: Rows, now: datetime, caller: Caller) -> None:
        self._rows = rows
        self._now = now
        self._at = iso(now)
        self._caller = caller

    def _tasks(self, rest: str, params: Any) -> list[Task]:
        """The tasks of a SELECT that goes on like this after `FROM tasks`."""
        return [as_task(row) for row in self._rows.all(f"SELECT {COLUMNS} FROM tasks {rest}", params)]

    def _insert(self, table: str, values: Mapping[str, Any], conflict: str = "") -> None:
        """Write one row; the statement ends in `conflict`."""
        marks = ", ".join("?" * len(values))
        self._rows.put(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks}) {conflict}", tuple(values.values()))

    def _upsert(self, table: str, key: tuple[str, ...], values: Mapping[str, Any]) -> None:
        """Write one row, over the one that has the same key."""
        others = ", ".join(f"{name} = excluded.{name}" for name in values if name not in key)
        self._insert(table, values, f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {others}")


class Numbered(Repository):
    """Rows that have a number from 1 and an id that is made of it."""

    def _next(self, table: str) -> int:
        return 1 + int(self._rows.value(f"SELECT coalesce(max(seq), 0) FROM {table}"))

    def _update(self, table: str, key: tuple[str, str], fields: Mapping[str, Any]) -> None:
        written = ", ".join(f"{name} = ?" for name in fields)
        values = (*encoded_all(fields).values(), key[1])
        self._rows.put(f"UPDATE {table} SET {written} WHERE {key[0]} = ?", values)


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


def match_all(dialect: Dialect, text: str) -> str:
    """Every word must occur; the last one may be a beginning. Matches nothing when there is no word."""
    quoted = _quoted(dialect, text)
    return dialect.both.join([*quoted[:-1], quoted[-1] + dialect.start])


def match_any(dialect: Dialect, text: str) -> str:
    """Some word must occur. Matches nothing when there is no word."""
    return dialect.either.join(_quoted(dialect, text))


def _quoted(dialect: Dialect, text: str) -> list[str]:
    """Distinct words of letters and digits, in order, at most 12, so that no input is an operator."""
    words = list(dict.fromkeys(re.findall(r"\w+", text.casefold())))[:12]
    return [f"{dialect.quote}{word}{dialect.quote}" for word in words or ["_"]]
