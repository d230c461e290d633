"""Lists and counts of tasks."""

from collections.abc import Mapping
from typing import Any

from wvo_mcp.domain.task import Task
from wvo_mcp.store.records.rows import COLUMNS, as_task
from wvo_mcp.store.records.words import match_all
from wvo_mcp.store.sql import Rows

_COUNTS = "SELECT name, n FROM counters WHERE name > '' AND name <> 'open_size'"


class Listing:
    """The part of `ports.TaskRepository` that lists."""

    _rows: Rows

    async def page(self, where: Mapping[str, Any], after: int, limit: int) -> list[Task]:
        rows = self._rows.all(
            f"SELECT {COLUMNS} FROM tasks WHERE {self._condition(where)} AND seq > :after ORDER BY seq LIMIT :limit",
            {**self._values(where), "after": after, "limit": limit},
        )
        return [as_task(row) for row in rows]

    async def count(self, where: Mapping[str, Any], limit: int) -> int:
        return int(
            self._rows.value(
                f"SELECT count(*) FROM (SELECT 1 FROM tasks WHERE {self._condition(where)} AND seq > 0 LIMIT :limit) AS found",
                {**self._values(where), "limit": limit},
            )
        )

    async def counts(self) -> dict[str, int]:
        return {row["name"]: row["n"] for row in self._rows.all(_COUNTS)}

    def _values(self, where: Mapping[str, Any]) -> dict[str, Any]:
        if where.get("query") is None:
            return dict(where)
        return {**where, "query": match_all(self._rows.dialect, where["query"])}

    def _condition(self, where: Mapping[str, Any]) -> str:
        parts = {
            "status": "status = :status",
            "epic_id": "epic_id = :epic_id",
            "agent_id": "assigned_to = :agent_id",
            "label": "seq IN (SELECT seq FROM task_labels WHERE label = :label)",
            "query": self._rows.dialect.task_matches,
            "unapproved": "status = 'pending' AND (gates & 2) = 2",
        }
        return " AND ".join(sql for name, sql in parts.items() if where.get(name) is not None) or "TRUE"
