"""Small durable facts, leadership, and what the roadmap said at the last sync."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.event import canonical
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.task import Task
from wvo_mcp.store.records.rows import COLUMNS, Repository, as_task
from wvo_mcp.store.records.time_back import set_back


class State(Repository):
    """`ports.StateRepository`."""

    async def get(self, name: str) -> Any:
        text = self._rows.value("SELECT value FROM facts WHERE name = ?", (name,))
        return None if text is None else json.loads(text)

    async def put(self, name: str, value: Any) -> None:
        self._upsert("facts", ("name",), {"name": name, "value": canonical(value)})

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
        return await set_back(self._rows, self._caller, self._now, to, apply=apply)

    async def roadmap_entries(self) -> dict[str, dict[str, Any]]:
        rows = self._rows.all("SELECT task_id, entry FROM roadmap_entries")
        return {row["task_id"]: json.loads(row["entry"]) for row in rows}

    async def put_roadmap_entries(self, entries: Mapping[str, dict[str, Any]], gone: Iterable[str]) -> None:
        for task_id, entry in entries.items():
            self._upsert("roadmap_entries", ("task_id",), {"task_id": task_id, "entry": canonical(entry)})
        for task_id in gone:
            self._rows.put("DELETE FROM roadmap_entries WHERE task_id = ?", (task_id,))

    async def roadmap_tasks(self) -> list[Task]:
        return [as_task(row) for row in self._rows.all(f"SELECT {COLUMNS} FROM tasks WHERE seq > 0 ORDER BY seq")]

    async def dependency_edges(self) -> list[tuple[str, str]]:
        """(task, what it depends on) of the whole store."""
        return [
            (row[0], row[1])
            for row in self._rows.execute("SELECT task_id, depends_on_task_id FROM task_dependencies", ())
        ]
