"""The prefetch queue: at most twenty rows, written as a whole."""

import json
from collections.abc import Sequence

from wvo_mcp.domain.instant import instant
from wvo_mcp.ports.prefetch import Prefetched
from wvo_mcp.store.sql import Rows


class Prefetch:
    """`ports.PrefetchRepository`."""

    def __init__(self, rows: Rows, at: str) -> None:
        self._rows = rows
        self._at = at

    async def entries(self) -> list[str]:
        return [row["task_id"] for row in self._rows.all("SELECT task_id FROM prefetch_queue ORDER BY position")]

    async def current(self) -> list[Prefetched]:
        rows = self._rows.all(
            """
            SELECT task_id, queued_at
            FROM prefetch_queue JOIN tasks ON tasks.id = task_id AND status = 'pending' AND unmet_deps = 0
            ORDER BY position
            """
        )
        return [Prefetched(row["task_id"], instant(row["queued_at"])) for row in rows]

    async def replace(self, task_ids: Sequence[str]) -> None:
        for known in await self.entries():
            if known not in task_ids:
                self._rows.put("DELETE FROM prefetch_queue WHERE task_id = ?", (known,))
        for position, task_id in enumerate(task_ids):
            self._rows.put(
                """
                INSERT INTO prefetch_queue (task_id, position, queued_at) VALUES (?, ?, ?)
                ON CONFLICT (task_id) DO UPDATE SET position = excluded.position, agent_id = NULL, reason = ''
                """,
                (task_id, position, self._at),
            )

    async def capabilities(self, limit: int) -> list[frozenset[str]]:
        rows = self._rows.all(
            "SELECT capabilities FROM agent_pool WHERE status <> 'offline' ORDER BY last_seen_at DESC, agent_id LIMIT ?",
            (limit,),
        )
        return [frozenset(json.loads(row["capabilities"])) for row in rows]
