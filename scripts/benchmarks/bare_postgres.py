"""The floor of the store on PostgreSQL: what a claim and a release have to read and write, on a bare connection.

The same tables, triggers, order of writers and durability as the product's, and what needs no answer sent together; no
checks, no idempotence, no liveness, no explanations, no objects.
"""

from typing import Any, LiteralString

import psycopg

from wvo_mcp.store.postgres.address import WRITE_LOCK

_AT = """to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""

_TAKE: LiteralString = f"""
UPDATE tasks SET status = 'in_progress', assigned_to = %(agent)s, session_id = %(agent)s, lease_token = lease_token + 1,
  lease_expires_at = {_AT}, lease_seconds = 600, version = version + 1, updated_at = {_AT}, started_at = {_AT}
WHERE id = (
  SELECT id FROM tasks WHERE status = 'pending' AND unmet_deps = 0 AND gates = 0
  ORDER BY score DESC, seq LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, lease_token, title, description, epic_id, labels, files, acceptance
"""
_STANDING = """
SELECT (SELECT count(*) FROM tasks WHERE assigned_to = %(agent)s AND status = 'in_progress'),
  (SELECT n FROM counters WHERE name = 'in_progress'), (SELECT value FROM facts WHERE name = 'paused')
"""
_GIVE_BACK: LiteralString = f"""
UPDATE tasks SET status = 'pending', assigned_to = NULL, session_id = NULL, lease_expires_at = NULL,
  version = version + 1, updated_at = {_AT}
WHERE id = %(id)s AND status = 'in_progress'
"""
_EVENT: LiteralString = f"""
INSERT INTO events (seq, at, kind, task_id, agent_id, session_id, data, prev_hash, hash)
SELECT coalesce(max(seq), 0) + 1, {_AT}, %(kind)s, %(id)s, %(agent)s, %(agent)s, '{{}}', repeat('0', 64), repeat('0', 64)
FROM events
"""
_AGENT: LiteralString = f"""
INSERT INTO agent_pool (agent_id, status, current_task_id, last_seen_at)
VALUES (%(agent)s, %(status)s, %(id)s, {_AT})
ON CONFLICT (agent_id) DO UPDATE SET status = excluded.status, current_task_id = excluded.current_task_id,
  last_seen_at = excluded.last_seen_at
"""
_SESSION: LiteralString = f"UPDATE sessions SET last_call_at = {_AT} WHERE session_id = %(agent)s"
_CHECKPOINT = "SELECT id, seq, summary, next_steps FROM checkpoints WHERE task_id = %(id)s ORDER BY seq DESC LIMIT 1"
_ANSWER: LiteralString = f"""
INSERT INTO lease_writes (task_id, lease_token, tool, input_hash, session_id, agent_id, result, created_at)
VALUES (%(id)s, %(token)s, 'release_task', repeat('0', 64), %(agent)s, %(agent)s, repeat('r', 300), {_AT})
"""


class BarePostgres:
    """One bare connection, in the calling thread."""

    def __init__(self, url: str, agent: str = "bare") -> None:
        self._raw: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True, prepare_threshold=0)
        self._agent = agent
        self._token = 0
        self._raw.execute(
            "INSERT INTO sessions (session_id, agent_id, started_at) VALUES (%s, %s, '') ON CONFLICT DO NOTHING",
            [agent] * 2,
        )

    def close(self) -> None:
        self._raw.close()

    def claim(self) -> str | None:
        """Judge, pick by the partial index, take, write event and agent, read the last checkpoint; the task's id."""
        run = self._raw.execute
        with self._raw.pipeline(), self._raw.transaction():
            run(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})".encode())
            standing = run(_STANDING, {"agent": self._agent})
            row = run(_TAKE, {"agent": self._agent}).fetchone()
            standing.fetchone()
            if row is None:
                return None
            task_id, self._token = row[0], row[1]
            named = {"agent": self._agent, "id": task_id}
            run(_SESSION, named)
            run(_EVENT, {**named, "kind": "task.claimed"})
            run(_AGENT, {**named, "status": "busy"})
            resume = run(_CHECKPOINT, named)
        resume.fetchone()
        return task_id

    def release(self, task_id: str) -> None:
        named = {"agent": self._agent, "id": task_id, "token": self._token}
        run = self._raw.execute
        with self._raw.pipeline(), self._raw.transaction():
            run(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})".encode())
            run(_SESSION, named)
            run(_GIVE_BACK, named)
            run(_EVENT, {**named, "kind": "task.released"})
            run(_AGENT, {**named, "id": None, "status": "idle"})
            run(_ANSWER, named)
