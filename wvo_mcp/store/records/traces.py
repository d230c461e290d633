"""The trace of each task that is under way, so that whoever ends it, in whichever process, ends the same one."""

from typing import Any

from wvo_mcp.store.sql import Rows


class Traces:
    """`ports.TraceRepository`."""

    def __init__(self, rows: Rows, at: str) -> None:
        self._rows = rows
        self._at = at

    async def get(self, task_id: str) -> dict[str, Any] | None:
        return self._rows.one(
            "SELECT lease_token, traceparent, started_at FROM task_traces WHERE task_id = ?", (task_id,)
        )

    async def put(self, task_id: str, lease_token: int, traceparent: str) -> None:
        self._rows.put(
            "INSERT INTO task_traces (task_id, lease_token, traceparent, started_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (task_id) DO UPDATE SET lease_token = excluded.lease_token,"
            " traceparent = excluded.traceparent, started_at = excluded.started_at",
            (task_id, lease_token, traceparent, self._at),
        )

    async def forget(self, task_id: str) -> None:
        self._rows.put("DELETE FROM task_traces WHERE task_id = ?", (task_id,))
