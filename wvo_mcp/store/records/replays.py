"""First results of calls, for repeats."""

from datetime import datetime
from typing import Any

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import RequestIdReused
from wvo_mcp.store.records.rows import ONE_TASK
from wvo_mcp.store.sql import Rows

_LEASE_WRITE = """
SELECT result, session_id, agent_id FROM lease_writes
WHERE task_id = :task_id AND lease_token = coalesce(:token, (SELECT lease_token FROM tasks WHERE id = :task_id))
  AND tool = :tool AND input_hash = :input_hash"""


class Replays:
    """`ports.ReplayRepository`."""

    def __init__(self, rows: Rows, at: str, caller: Caller) -> None:
        self._rows = rows
        self._at = at
        self._caller = caller

    async def by_request(self, agent_id: str, tool: str, request_id: str, input_hash: str) -> str | None:
        row = self._rows.one(
            "SELECT input_hash, result FROM requests WHERE agent_id = ? AND tool = ? AND request_id = ?",
            (agent_id, tool, request_id),
        )
        if row is None:
            return None
        if row["input_hash"] != input_hash:
            raise RequestIdReused(tool, request_id)
        return str(row["result"])

    async def keep_request(self, agent_id: str, tool: str, request_id: str, input_hash: str, result: str) -> None:
        self._rows.put(
            "INSERT INTO requests (agent_id, tool, request_id, input_hash, result, created_at) VALUES (?, ?, ?, ?, ?, ?)",
            (agent_id, tool, request_id, input_hash, result, self._at),
        )

    async def by_lease(self, task_id: str, token: int | None, tool: str, input_hash: str) -> dict[str, Any] | None:
        self._rows.foresee(ONE_TASK, (task_id,))  # whoever is no repeat reads the task next
        write = {"task_id": task_id, "token": token, "tool": tool, "input_hash": input_hash}
        self._rows.foresee(_LEASE_WRITE, write)
        # Two seeks; one join over both takes twice as long.
        task = self._rows.one("SELECT status, lease_token FROM tasks WHERE id = ?", (task_id,))
        if task is None:
            return None
        done = self._rows.one(_LEASE_WRITE, write)
        return {**task, **(done or {"result": None, "session_id": None, "agent_id": None})}

    async def keep_lease(self, task_id: str, token: int, tool: str, input_hash: str, result: str) -> None:
        self._rows.put(
            "INSERT INTO lease_writes"
            " (task_id, lease_token, tool, input_hash, session_id, agent_id, result, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (task_id, token, tool, input_hash, self._caller.session_id, self._caller.agent_id, result, self._at),
        )

    async def forget(self, before: datetime) -> None:
        for table in ("requests", "lease_writes"):
            self._rows.put(f"DELETE FROM {table} WHERE created_at < ?", (iso(before),))
