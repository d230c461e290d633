"""The plan as a whole, read in a few passes."""

from wvo_mcp.ports.outlook import OpenRow
from wvo_mcp.store.sql import Rows


class Outlook:
    """`ports.OutlookRepository`."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    async def open_tasks(self) -> list[OpenRow]:
        found = self._rows.execute(
            """
            SELECT id, parent_id, epic_id, milestone_id, status, priority, complexity, business_value, not_before, started_at
            FROM tasks
            WHERE status IN ('pending', 'in_progress', 'in_review', 'awaiting_approval', 'blocked', 'failed')
            ORDER BY score DESC, created_at, id
            """,
            (),
        )
        return [OpenRow(*row) for row in found]

    async def edges(self) -> list[tuple[str, str]]:
        found = self._rows.execute(
            "SELECT task_id, depends_on_task_id FROM task_dependencies"
            " UNION ALL SELECT task_id, waits_for_task_id FROM task_waits",
            (),
        )
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
            row["id"]: row["title"]
            for row in self._rows.all(f"SELECT id, title FROM tasks WHERE id IN ({marks})", task_ids)
        }
