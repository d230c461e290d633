"""What a call leaves for later ones: its first result, for repeats, and the trace of a task under way."""

from datetime import datetime
from typing import Any

from wvo_mcp.domain.instant import iso
from wvo_mcp.errors import RequestIdReused
from wvo_mcp.store.records.rows import ONE_TASK, Repository

_LEASE_WRITE = """
SELECT result, session_id, agent_id FROM lease_writes
WHERE task_id = :task_id AND lease_token = coalesce(:token, (SELECT lease_token FROM tasks WHERE id = :task_id))
  AND tool = :tool AND input_hash = :input_hash"""


class Replays(Repository):
    """`ports.ReplayRepository`."""

    async def by_request(self, agent_id: str, tool: str, request_id: str, input_hash: str) -> str | None:
        row = self._rows.one(
            "SELECT input_hash, result FROM requests WHERE agent_id = ? AND tool = ? AND request_id = ?",
            (agent_id, tool, request_id),
        )
        if row is None:
            return None
        if row["input_hash"] != input_hash:
            raise RequestIdReused(
                f"{tool} was already called with request_id {request_id!r} and another input.", field="request_id"
            )
        return str(row["result"])

    async def keep_request(self, agent_id: str, tool: str, request_id: str, input_hash: str, result: str) -> None:
        call = {"agent_id": agent_id, "tool": tool, "request_id": request_id}
        self._insert("requests", {**call, "input_hash": input_hash, "result": result, "created_at": self._at})

    async def by_lease(self, task_id: str, token: int | None, tool: str, input_hash: str) -> dict[str, Any] | None:
        self._rows.prefetch_statement(ONE_TASK, (task_id,))  # a call that is not a repeat reads the task next
        write = {"task_id": task_id, "token": token, "tool": tool, "input_hash": input_hash}
        self._rows.prefetch_statement(_LEASE_WRITE, write)
        # Two seeks; one join over both takes twice as long.
        task = self._rows.one("SELECT status, lease_token FROM tasks WHERE id = ?", (task_id,))
        if task is None:
            return None
        done = self._rows.one(_LEASE_WRITE, write)
        return {**task, **(done or {"result": None, "session_id": None, "agent_id": None})}

    async def keep_lease(self, task_id: str, token: int, tool: str, input_hash: str, result: str) -> None:
        call = {"task_id": task_id, "lease_token": token, "tool": tool, "input_hash": input_hash, "result": result}
        made = {"session_id": self._caller.session_id, "agent_id": self._caller.agent_id, "created_at": self._at}
        self._insert("lease_writes", {**call, **made}, "ON CONFLICT DO NOTHING")

    async def forget(self, before: datetime) -> None:
        for table in ("requests", "lease_writes"):
            self._rows.put(f"DELETE FROM {table} WHERE created_at < ?", (iso(before),))


class Traces(Repository):
    """`ports.TraceRepository`: the process that ends a task ends the trace that its claim began."""

    async def get(self, task_id: str) -> dict[str, Any] | None:
        return self._rows.one(
            "SELECT lease_token, traceparent, started_at FROM task_traces WHERE task_id = ?", (task_id,)
        )

    async def put(self, task_id: str, lease_token: int, traceparent: str) -> None:
        trace = {"lease_token": lease_token, "traceparent": traceparent, "started_at": self._at}
        self._upsert("task_traces", ("task_id",), {"task_id": task_id, **trace})

    async def forget(self, task_id: str) -> None:
        self._rows.put("DELETE FROM task_traces WHERE task_id = ?", (task_id,))
