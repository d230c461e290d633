"""Epics and milestones."""

import difflib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wvo_mcp.domain.lease import Caller
from wvo_mcp.store.records.rows import Repository, encoded_all
from wvo_mcp.store.sql import Rows


class Groups(Repository):
    """The part of `ports.TaskRepository` that is about groups of tasks."""

    def __init__(self, rows: Rows, now: datetime, caller: Caller) -> None:
        super().__init__(rows, now, caller)
        self._known_epics: set[str] = set()

    async def ensure_epic(self, epic_id: str, title: str | None = None, wip_limit: int | None = None) -> bool:
        if epic_id in self._known_epics:
            return False
        self._known_epics.add(epic_id)
        return (
            self._rows.run(
                "INSERT INTO epics (id, title, wip_limit, created_at, updated_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (epic_id, title or epic_id, wip_limit, self._at, self._at),
            )
            > 0
        )

    async def epic(self, epic_id: str) -> dict[str, Any] | None:
        return self._rows.one("SELECT id, title, wip_limit, in_progress FROM epics WHERE id = ?", (epic_id,))

    async def change_epic(self, epic_id: str, fields: Mapping[str, Any]) -> None:
        self._put("epics", epic_id, fields)

    async def epics(self) -> list[dict[str, Any]]:
        return self._rows.all("SELECT id, title, wip_limit, in_progress FROM epics ORDER BY rowid")

    async def milestone(self, milestone_id: str) -> dict[str, Any] | None:
        return self._rows.one("SELECT id, epic_id, title, due_at FROM milestones WHERE id = ?", (milestone_id,))

    async def milestones(self) -> list[dict[str, Any]]:
        return self._rows.all("SELECT id, epic_id, title, due_at FROM milestones ORDER BY rowid")

    async def near_milestones(self, wanted: str) -> list[str]:
        known = self._rows.column("SELECT id FROM milestones LIMIT 3000")
        return difflib.get_close_matches(wanted, known, n=5, cutoff=0.5)

    async def put_milestone(self, milestone_id: str, fields: Mapping[str, Any]) -> None:
        new = {"id": milestone_id, "title": milestone_id, "created_at": self._at, "updated_at": self._at}
        self._insert("milestones", new, "ON CONFLICT DO NOTHING")
        self._put("milestones", milestone_id, fields)

    async def of_milestone(self, milestone_id: str) -> list[str]:
        return self._rows.column("SELECT id FROM tasks WHERE milestone_id = ? ORDER BY id", (milestone_id,))

    def _put(self, table: str, row_id: str, fields: Mapping[str, Any]) -> None:
        values = {**encoded_all(fields), "updated_at": self._at}
        self._rows.put(
            f"UPDATE {table} SET {', '.join(f'{name} = :{name}' for name in values)} WHERE id = :this",
            {**values, "this": row_id},
        )
