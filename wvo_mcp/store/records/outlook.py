"""The plan as a whole, read in a few passes."""

from wvo_mcp.ports.work import OpenRow
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
