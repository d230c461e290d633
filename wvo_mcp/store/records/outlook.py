"""The plan as a whole, read in a few passes; and the ready work at hand."""

import json
from collections.abc import Sequence

from wvo_mcp.domain.instant import instant
from wvo_mcp.ports.work import OpenRow, Prefetched
from wvo_mcp.store.records.rows import Repository


class Outlook(Repository):
    """`ports.OutlookRepository`."""

    async def last_seq(self) -> int:
        return int(self._rows.value("SELECT max(seq) FROM tasks") or 0)

    async def open_tasks(self, after: int, until: int) -> list[OpenRow]:
        found = self._rows.execute(
            """
            SELECT id, parent_id, epic_id, milestone_id, status, priority, complexity, business_value, not_before, started_at,
              score, seq
            FROM tasks
            WHERE seq > ? AND seq <= ? AND status NOT IN ('done', 'cancelled')
            """,
            (after, until),
        )
        return [OpenRow(*row) for row in found]

    async def edges(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        found = self._rows.execute(
            "SELECT task_id, depends_on_task_id FROM task_dependencies WHERE (task_id, depends_on_task_id) > (?, ?)"
            " ORDER BY task_id, depends_on_task_id LIMIT ?",
            (*after, limit),
        )
        return [(row[0], row[1]) for row in found]

    async def waits(self) -> list[tuple[str, str]]:
        found = self._rows.execute("SELECT task_id, waits_for_task_id FROM task_waits", ())
        return [(row[0], row[1]) for row in found]

    async def cancelled(self) -> set[str]:
        return set(self._rows.column("SELECT id FROM tasks WHERE status = 'cancelled'"))

    async def finished(self, limit: int) -> list[tuple[int, str, str]]:
        found = self._rows.execute(
            """
            SELECT complexity, started_at, finished_at FROM (
              SELECT seq, complexity, started_at, finished_at FROM tasks WHERE status = 'done' ORDER BY seq DESC LIMIT ?
            ) AS newest
            WHERE started_at IS NOT NULL AND finished_at IS NOT NULL ORDER BY seq DESC
            """,
            (limit,),
        )
        return [(int(row[0]), row[1], row[2]) for row in found]

    async def titles(self, task_ids: list[str]) -> dict[str, str]:
        marks = ", ".join("?" * len(task_ids)) or "''"
        return {
            row[0]: row[1] for row in self._rows.execute(f"SELECT id, title FROM tasks WHERE id IN ({marks})", task_ids)
        }


class Prefetch(Repository):
    """`ports.PrefetchRepository`: at most twenty rows, written as a whole."""

    async def entries(self) -> list[str]:
        return self._rows.column("SELECT task_id FROM prefetch_queue ORDER BY position")

    async def current(self) -> list[Prefetched]:
        rows = self._rows.all(
            """
            SELECT task_id, queued_at
            FROM prefetch_queue JOIN tasks ON tasks.id = task_id AND status = 'pending' AND unmet_deps = 0 AND (gates & 8) = 0
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
