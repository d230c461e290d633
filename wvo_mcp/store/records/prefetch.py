"""The prefetch queue: at most twenty rows, written as a whole."""

import json
from collections.abc import Sequence
from datetime import datetime

from wvo_mcp.domain.instant import instant
from wvo_mcp.ports.prefetch import Member, Prefetched
from wvo_mcp.store.sql import Rows


class Prefetch:
    """`ports.PrefetchRepository`."""

    def __init__(self, rows: Rows, at: str) -> None:
        self._rows = rows
        self._at = at

    async def entries(self) -> list[Prefetched]:
        rows = self._rows.all("SELECT task_id, agent_id, reason FROM prefetch_queue ORDER BY position, task_id")
        return [Prefetched(row["task_id"], row["agent_id"], row["reason"]) for row in rows]

    async def current(self) -> list[Prefetched]:
        rows = self._rows.all(
            """
            SELECT kept.task_id, agent_pool.agent_id, kept.reason
            FROM prefetch_queue AS kept
            JOIN tasks ON tasks.id = kept.task_id AND tasks.status = 'pending' AND tasks.unmet_deps = 0
            LEFT JOIN agent_pool ON agent_pool.agent_id = kept.agent_id AND agent_pool.status <> 'offline'
            ORDER BY kept.position, kept.task_id
            """
        )
        return [Prefetched(row["task_id"], row["agent_id"], row["reason"]) for row in rows]

    async def since(self) -> datetime | None:
        oldest = self._rows.value("SELECT min(queued_at) FROM prefetch_queue")
        return None if oldest is None else instant(oldest)

    async def replace(self, entries: Sequence[Prefetched]) -> None:
        staying = {entry.task_id for entry in entries}
        for known in await self.entries():
            if known.task_id not in staying:
                self._rows.put("DELETE FROM prefetch_queue WHERE task_id = ?", (known.task_id,))
        for position, entry in enumerate(entries):
            self._rows.put(
                """
                INSERT INTO prefetch_queue (task_id, position, agent_id, reason, queued_at) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (task_id) DO UPDATE SET
                  position = excluded.position, agent_id = excluded.agent_id, reason = excluded.reason
                """,
                (entry.task_id, position, entry.agent_id, entry.reason, self._at),
            )

    async def pool(self, limit: int) -> list[Member]:
        rows = self._rows.all(
            "SELECT agent_id, status, capabilities FROM agent_pool WHERE status <> 'offline'"
            " ORDER BY last_seen_at DESC, agent_id LIMIT ?",
            (limit,),
        )
        return [
            Member(row["agent_id"], frozenset(json.loads(row["capabilities"])), row["status"] == "idle") for row in rows
        ]
