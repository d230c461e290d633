"""The trace of each task that is under way, so that the process that ends it ends the same one."""

from typing import Any

from wvo_mcp.store.records.rows import Repository


class Traces(Repository):
    """`ports.TraceRepository`."""

    async def get(self, task_id: str) -> dict[str, Any] | None:
        return self._rows.one(
            "SELECT lease_token, traceparent, started_at FROM task_traces WHERE task_id = ?", (task_id,)
        )

    async def put(self, task_id: str, lease_token: int, traceparent: str) -> None:
        trace = {"lease_token": lease_token, "traceparent": traceparent, "started_at": self._at}
        self._upsert("task_traces", ("task_id",), {"task_id": task_id, **trace})

    async def forget(self, task_id: str) -> None:
        self._rows.put("DELETE FROM task_traces WHERE task_id = ?", (task_id,))
