"""The floor of the store: the fewest statements that do the same to the same file, on a bare connection of the library.

No checks, no idempotence, no limits, no explanations: what is left when everything that makes it a product is taken away.
"""

import random
import time
from pathlib import Path
from typing import Any

from wvo_mcp.store.sqlite.connection import DatabaseError, sqlite


class Bare:
    """One bare connection, in the calling thread."""

    def __init__(self, path: Path, *, synchronous: str = "FULL", agent: str = "bare") -> None:
        self._raw = sqlite.connect(str(path), isolation_level=None, timeout=0, cached_statements=256)
        for pragma in ("journal_mode = WAL", f"synchronous = {synchronous}", "cache_size = -8000", "busy_timeout = 0"):
            self._raw.execute(f"PRAGMA {pragma}")
        self._agent = agent
        self._count = 0

    def close(self) -> None:
        self._raw.close()

    def begin(self) -> None:
        """BEGIN IMMEDIATE, tried again after short jittered naps, as the store does."""
        nap = 0.0003
        while True:
            try:
                self._raw.execute("BEGIN IMMEDIATE")
            except DatabaseError:
                time.sleep(random.uniform(nap / 2, nap))
                nap = min(nap * 1.5, 0.008)
            else:
                return

    def claim(self) -> str | None:
        """Pick by the partial index, take, and write the event; the task's id."""
        self.begin()
        row = self._raw.execute(
            """
            UPDATE tasks SET status = 'in_progress', assigned_to = :agent, session_id = :agent,
              lease_token = lease_token + 1, lease_expires_at = :until, version = version + 1, updated_at = :at
            WHERE id = (
              SELECT id FROM tasks INDEXED BY tasks_ready WHERE status = 'pending' AND unmet_deps = 0 AND gates = 0
              ORDER BY score DESC, seq LIMIT 1)
            RETURNING id, lease_token, title, description
            """,
            {"agent": self._agent, "until": "2027-01-01T00:10:00.000Z", "at": "2027-01-01T00:00:00.000Z"},
        ).fetchall()
        task_id = row[0][0] if row else None
        self._event("task.claimed", task_id)
        self._raw.execute("COMMIT")
        return task_id

    def release(self, task_id: str) -> None:
        self.begin()
        self._raw.execute(
            """
            UPDATE tasks SET status = 'pending', assigned_to = NULL, session_id = NULL, lease_expires_at = NULL,
              version = version + 1, updated_at = ?
            WHERE id = ? AND status = 'in_progress'
            """,
            ("2027-01-01T00:00:00.000Z", task_id),
        )
        self._event("task.released", task_id)
        self._raw.execute("COMMIT")

    def complete(self, task_id: str) -> None:
        self.begin()
        self._raw.execute(
            """
            UPDATE tasks SET status = 'done', session_id = NULL, lease_expires_at = NULL, version = version + 1,
              updated_at = :at, finished_at = :at
            WHERE id = :id AND status = 'in_progress'
            """,
            {"at": "2027-01-01T00:00:00.000Z", "id": task_id},
        )
        self._raw.execute(
            "UPDATE tasks SET unmet_deps = unmet_deps - 1"
            " WHERE id IN (SELECT task_id FROM task_dependencies WHERE depends_on_task_id = ?)",
            (task_id,),
        )
        self._event("task.completed", task_id)
        self._raw.execute("COMMIT")

    def claim_and_complete(self) -> None:
        task_id = self.claim()
        if task_id is not None:
            self.complete(task_id)

    def plan(self) -> list[Any]:
        """The best five, five that wait, the counters."""
        self._raw.execute("BEGIN")
        found: list[Any] = []
        for index, condition in (("tasks_ready", "= 0"), ("tasks_waiting", "> 0")):
            found += self._raw.execute(
                f"""
                SELECT id, title, score, priority, epic_id, complexity, bundle_value, bundle_size, tail
                FROM tasks INDEXED BY {index}
                WHERE status = 'pending' AND unmet_deps {condition} AND score > -1
                ORDER BY score DESC, seq LIMIT 5
                """
            ).fetchall()
        found += self._raw.execute("SELECT name, n FROM counters").fetchall()
        self._raw.execute("COMMIT")
        return found

    def remember(self) -> None:
        """One version of a topic."""
        self._count += 1
        self.begin()
        self._raw.execute(
            """
            INSERT INTO context_entries (topic, version, content, agent_id, created_at)
            SELECT :topic, coalesce(max(version), 0) + 1, :content, :agent, :at FROM context_entries WHERE topic = :topic
            """,
            {
                "topic": f"bare-{self._count % 20}",
                "content": note(self._count),
                "agent": self._agent,
                "at": "2027-01-01T00:00:00.000Z",
            },
        )
        self._event("context.written", None)
        self._raw.execute("COMMIT")

    def checkpoint(self, task_id: str) -> None:
        self._count += 1
        at = "2027-01-01T00:00:00.000Z"
        self.begin()
        self._raw.execute(
            """
            INSERT INTO checkpoints (id, task_id, seq, agent_id, summary, created_at)
            SELECT :task_id || ':' || (coalesce(max(seq), 0) + 1), :task_id, coalesce(max(seq), 0) + 1, :agent, :summary, :at
            FROM checkpoints WHERE task_id = :task_id
            """,
            {"task_id": task_id, "agent": self._agent, "summary": note(self._count), "at": at},
        )
        self._raw.execute("UPDATE tasks SET lease_expires_at = ?, version = version + 1 WHERE id = ?", (at, task_id))
        self._event("task.checkpoint", task_id)
        self._raw.execute("COMMIT")

    def close_epic(self, epic_id: str) -> None:
        """No task of the epic may be claimed from now on."""
        self._raw.execute("UPDATE epics SET wip_limit = 0 WHERE id = ?", (epic_id,))

    def append(self, task_id: str, behind: str) -> None:
        """One more task at the end of a chain."""
        at = "2027-01-01T00:00:00.000Z"
        self.begin()
        self._raw.execute(
            """
            INSERT INTO tasks (id, seq, title, score, unmet_deps, lane_id, created_at, updated_at)
            VALUES (?, (SELECT max(seq) + 1 FROM tasks), ?, 1, 1, 1, ?, ?)
            """,
            (task_id, task_id, at, at),
        )
        self._raw.execute(
            "INSERT INTO task_dependencies (task_id, depends_on_task_id) VALUES (?, ?)", (task_id, behind)
        )
        self._event("task.created", task_id)
        self._raw.execute("COMMIT")

    def _event(self, kind: str, task_id: str | None) -> None:
        self._raw.execute(
            """
            INSERT INTO events (at, kind, task_id, agent_id, session_id, data, prev_hash, hash)
            VALUES ((SELECT max(at) FROM (SELECT at FROM events ORDER BY seq DESC LIMIT 1)), ?, ?, ?, ?, '{}', '', '')
            """,
            (kind, task_id, self._agent, self._agent),
        )


def note(number: int) -> str:
    """A text as agents write it, about 200 characters."""
    return f"Step {number}: the parser accepts nested groups now; " + "the tests of the old path still pass, " * 4
