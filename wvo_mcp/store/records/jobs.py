"""Long work and what came of it."""

from datetime import datetime
from typing import Any

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.store.sql import Rows

_COLUMNS = (
    "id, tool, agent_id, session_id, state, progress, note, input, result, error, created_at, updated_at, finished_at"
)


class Jobs:
    """`ports.JobRepository`."""

    def __init__(self, rows: Rows, at: str, caller: Caller) -> None:
        self._rows = rows
        self._at = at
        self._caller = caller

    async def begin(self, job_id: str, tool: str, agent_id: str, request: str) -> None:
        self._rows.put(
            "INSERT INTO jobs (id, tool, agent_id, session_id, input, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (job_id, tool, agent_id, self._caller.session_id, request, self._at, self._at),
        )

    async def get(self, job_id: str) -> dict[str, Any] | None:
        return self._rows.one(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (job_id,))

    async def latest(self, tool: str, agent_id: str, request: str) -> dict[str, Any] | None:
        return self._rows.one(
            f"SELECT {_COLUMNS} FROM jobs WHERE tool = ? AND agent_id = ? AND input = ? ORDER BY created_at DESC, id LIMIT 1",
            (tool, agent_id, request),
        )

    async def tell(self, job_id: str, progress: float, note: str) -> None:
        self._rows.put(
            "UPDATE jobs SET progress = ?, note = ?, updated_at = ? WHERE id = ? AND state = 'running'",
            (progress, note, self._at, job_id),
        )

    async def end(self, job_id: str, *, result: str | None = None, error: str | None = None) -> bool:
        return (
            self._rows.run(
                """
                UPDATE jobs SET state = :state, progress = CASE WHEN :state = 'succeeded' THEN 1 ELSE progress END,
                  result = :result, error = :error, updated_at = :at, finished_at = :at
                WHERE id = :id AND state = 'running'
                """,
                {
                    "state": "succeeded" if error is None else "failed",
                    "result": result,
                    "error": error,
                    "at": self._at,
                    "id": job_id,
                },
            )
            > 0
        )

    async def forget(self, before: datetime) -> None:
        # What runs is heard of every few seconds; what was not for so long has died with its server.
        self._rows.put("DELETE FROM jobs WHERE created_at < ? AND updated_at < ?", (iso(before), iso(before)))
