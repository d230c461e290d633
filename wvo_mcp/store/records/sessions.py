"""Sessions and the agent pool."""

import json
import os
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from wvo_mcp.domain.instant import iso
from wvo_mcp.store.records.rows import Repository, encoded_all


class Sessions(Repository):
    """`ports.SessionRepository`."""

    async def ensure(self, *, but_agent: bool = False) -> None:
        caller = self._caller
        # The name of a client is known only after the server's own first writes.
        self._insert(
            "sessions",
            {
                "session_id": caller.session_id,
                "agent_id": caller.agent_id,
                "client": caller.client,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "durable": int(caller.durable),
                "started_at": self._at,
                "last_call_at": self._at,
            },
            "ON CONFLICT (session_id) DO UPDATE SET last_call_at = excluded.last_call_at, ended_at = NULL,"
            " agent_id = excluded.agent_id, client = coalesce(excluded.client, sessions.client)",
        )
        if but_agent:
            return
        self._rows.put(
            """
            UPDATE agent_pool
            SET last_seen_at = :at, status = CASE
              WHEN status <> 'offline' THEN status WHEN current_task_id IS NULL THEN 'idle' ELSE 'busy' END
            WHERE agent_id = :agent_id
            """,
            {"agent_id": caller.agent_id, "at": self._at},
        )

    async def touch_agent(self, agent_id: str, task_id: str | None = None) -> None:
        caller = self._caller
        if agent_id == caller.agent_id and not caller.pooled:
            return
        own = agent_id == caller.agent_id and caller.capabilities
        self._insert(
            "agent_pool",
            {
                "agent_id": agent_id,
                "provider": caller.provider,
                "status": "idle" if task_id is None else "busy",
                "capabilities": json.dumps(sorted(caller.capabilities)) if own else "[]",
                "last_seen_at": self._at,
                "current_task_id": task_id,
                "assigned_at": None if task_id is None else self._at,
            },
            """
            ON CONFLICT (agent_id) DO UPDATE SET
              last_seen_at = excluded.last_seen_at,
              current_task_id = coalesce(excluded.current_task_id, agent_pool.current_task_id),
              assigned_at = coalesce(excluded.assigned_at, agent_pool.assigned_at),
              status = CASE
                WHEN coalesce(excluded.current_task_id, agent_pool.current_task_id) IS NULL THEN 'idle' ELSE 'busy' END,
              provider = coalesce(excluded.provider, agent_pool.provider),
              capabilities = CASE WHEN excluded.capabilities = '[]' THEN agent_pool.capabilities ELSE excluded.capabilities END
            """,
        )

    async def left(self, agent_id: str) -> None:
        self._rows.put(
            """
            UPDATE agent_pool SET current_task_id = other, assigned_at = CASE WHEN other IS NULL THEN NULL ELSE assigned_at END,
              status = CASE WHEN status = 'offline' THEN status WHEN other IS NULL THEN 'idle' ELSE 'busy' END
            FROM (
              SELECT (
                SELECT id FROM tasks INDEXED BY tasks_held_agent
                WHERE assigned_to = :agent_id AND status = 'in_progress' LIMIT 1
              ) AS other
            ) AS held
            WHERE agent_id = :agent_id
            """,
            {"agent_id": agent_id},
        )

    async def get(self, session_id: str) -> dict[str, Any] | None:
        return self._rows.one(
            "SELECT session_id, agent_id, pid, ended_at, durable FROM sessions WHERE session_id = ?", (session_id,)
        )

    async def end(self, session_id: str) -> None:
        self._rows.put(
            "UPDATE sessions SET ended_at = ? WHERE session_id = ? AND ended_at IS NULL", (self._at, session_id)
        )
        self._rows.put(
            """
            UPDATE agent_pool SET status = 'offline'
            WHERE agent_id = (SELECT agent_id FROM sessions WHERE session_id = ?)
              AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.agent_id = agent_pool.agent_id AND s.ended_at IS NULL)
            """,
            (session_id,),
        )

    async def connected(self) -> list[str]:
        return self._rows.column(
            "SELECT session_id FROM sessions INDEXED BY sessions_open WHERE ended_at IS NULL AND durable = 0 ORDER BY 1"
        )

    async def forget(self, before: datetime, limit: int) -> int:
        given = {"before": iso(before), "limit": limit}
        sessions = self._rows.run(
            """
            DELETE FROM sessions WHERE session_id IN (
              SELECT session_id FROM sessions AS old
              WHERE (ended_at < :before OR (durable = 1 AND ended_at IS NULL AND last_call_at < :before))
                AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.session_id = old.session_id AND status = 'in_progress')
              LIMIT :limit
            )
            """,
            given,
        )
        agents = self._rows.run(
            """
            DELETE FROM agent_pool WHERE agent_id IN (
              SELECT agent_id FROM agent_pool AS old
              WHERE last_seen_at < :before
                AND NOT EXISTS (SELECT 1 FROM tasks WHERE assigned_to = old.agent_id AND status = 'in_progress')
                AND NOT EXISTS (SELECT 1 FROM sessions WHERE sessions.agent_id = old.agent_id AND ended_at IS NULL)
              LIMIT :limit
            )
            """,
            given,
        )
        return max(sessions, agents)

    async def latest_of(self, agent_id: str) -> str | None:
        return self._rows.value(
            "SELECT session_id FROM sessions WHERE agent_id = ? AND ended_at IS NULL ORDER BY started_at DESC LIMIT 1",
            (agent_id,),
        )

    async def has_connected(self, agent_id: str) -> bool:
        return bool(self._rows.value("SELECT 1 FROM sessions WHERE agent_id = ? LIMIT 1", (agent_id,)))

    async def known(self, agent_id: str) -> bool:
        pooled = "SELECT 1 FROM agent_pool WHERE agent_id = :agent_id"
        return bool(
            self._rows.value(
                f"{pooled} UNION ALL SELECT 1 FROM sessions WHERE agent_id = :agent_id AND ended_at IS NULL LIMIT 1",
                {"agent_id": agent_id},
            )
        )

    async def describe(self, agent_id: str, said: Mapping[str, Any]) -> None:
        own = {"agent_id": agent_id, "provider": self._caller.provider, "status": "idle", "last_seen_at": self._at}
        said = encoded_all(said)
        others = ", ".join(f"{name} = excluded.{name}" for name in ("last_seen_at", *said))
        self._insert("agent_pool", {**own, **said}, f"ON CONFLICT (agent_id) DO UPDATE SET {others}")

    async def agents(self, limit: int) -> list[dict[str, Any]]:
        return self._rows.all(
            "SELECT agent_id, provider, status, current_task_id, assigned_at, last_seen_at FROM agent_pool"
            " ORDER BY last_seen_at DESC, agent_id LIMIT ?",
            (limit,),
        )

    async def described(self, status: str | None, limit: int) -> list[dict[str, Any]]:
        wanted = "" if status is None else " WHERE status = ?"
        return self._rows.all(
            "SELECT agent_id, provider, status, current_task_id AS task_id, last_seen_at, capabilities, role, about"
            f" FROM agent_pool{wanted} ORDER BY last_seen_at DESC, agent_id LIMIT ?",
            (limit,) if status is None else (status, limit),
        )

    async def provider(self, agent_id: str) -> str | None:
        return self._rows.value("SELECT provider FROM agent_pool WHERE agent_id = ?", (agent_id,))

    async def capabilities(self, agent_id: str) -> tuple[str, ...]:
        if agent_id == self._caller.agent_id and self._caller.capabilities:
            return self._caller.capabilities
        kept = self._rows.value("SELECT capabilities FROM agent_pool WHERE agent_id = ?", (agent_id,))
        return (*self._caller.capabilities, *json.loads(kept or "[]"))
