"""The prefetch queue: at most twenty rows, written as a whole."""

import json
from collections.abc import Sequence

from wvo_mcp.domain.instant import instant
from wvo_mcp.ports.work import Prefetched
from wvo_mcp.store.records.rows import Repository


class Prefetch(Repository):
    """`ports.PrefetchRepository`."""

    async def entries(self) -> list[str]:
        return self._rows.column("SELECT task_id FROM prefetch_queue ORDER BY position")

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
            kept = "ON CONFLICT (task_id) DO UPDATE SET position = excluded.position, agent_id = NULL, reason = ''"
            self._insert("prefetch_queue", {"task_id": task_id, "position": position, "queued_at": self._at}, kept)

    async def capabilities(self, limit: int) -> list[frozenset[str]]:
        newest = "ORDER BY last_seen_at DESC, agent_id LIMIT ?"
        texts = self._rows.column(f"SELECT capabilities FROM agent_pool WHERE status <> 'offline' {newest}", (limit,))
        return [frozenset(json.loads(text)) for text in texts]
