"""What the health loop measures and learns. Every statement seeks or reads kept counters; plans are pinned by a test."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.event import canonical
from wvo_mcp.domain.health import SAMPLES, Held, Hour, Provider, hour_of, minute_of
from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.ports import Liveness
from wvo_mcp.store.records.rows import Repository
from wvo_mcp.store.sql import Rows

ROLLED = "throughput_rolled"
"""Name of the fact: number of the last event whose completions are in the tables."""
COMPLETED = "task.completed"
_KEEP_MINUTES = timedelta(days=2)
_KEEP_HOURS = timedelta(weeks=12)
_GONE = 2_500
"""So many of the latest cancelled, and of the failed tasks, are asked for who waits for them."""

_HELD = """
SELECT t.id, t.assigned_to, t.session_id, t.lease_token, t.lease_expires_at, t.lease_seconds, t.updated_at,
  s.session_id AS known, s.last_call_at, s.ended_at, s.durable
FROM tasks AS t {index} LEFT JOIN sessions AS s ON s.session_id = t.session_id
WHERE t.status = 'in_progress' AND {which}
"""


class Health(Repository):
    """`ports.HealthRepository`, for one transaction."""

    def __init__(self, rows: Rows, now: datetime, caller: Caller, liveness: Liveness) -> None:
        super().__init__(rows, now, caller)
        self._liveness = liveness
        self._living: dict[str, bool] = {}

    async def roll_up(self, limit: int) -> bool:
        begun = self._rolled()
        end = int(self._rows.value("SELECT max(seq) FROM events") or 0)
        minutes = self._rows.all(
            """
            SELECT substr(at, 1, 16) AS minute, min(seq) AS first_seq, max(seq) AS last_seq, count(*) AS n
            FROM (SELECT seq, at FROM events WHERE kind = ? AND seq > ? ORDER BY seq LIMIT ?) AS fresh
            GROUP BY 1 ORDER BY 1
            """,
            (COMPLETED, begun, limit),
        )
        for row in minutes:
            self._rows.put(
                "INSERT INTO throughput (minute, first_seq, completed) VALUES (?, ?, ?)"
                " ON CONFLICT (minute) DO UPDATE SET completed = throughput.completed + excluded.completed",
                (row["minute"], row["first_seq"], row["n"]),
            )
            self._rows.put(
                "INSERT INTO throughput_hours (hour, completed) VALUES (?, ?)"
                " ON CONFLICT (hour) DO UPDATE SET completed = throughput_hours.completed + excluded.completed",
                (row["minute"][:13], row["n"]),
            )
        whole = sum(row["n"] for row in minutes) < limit
        reached = end if whole else int(minutes[-1]["last_seq"])
        self._rows.put(
            "INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (ROLLED, canonical(reached)),
        )
        self._rows.put("DELETE FROM throughput WHERE minute < ?", (minute_of(self._now - _KEEP_MINUTES),))
        self._rows.put("DELETE FROM throughput_hours WHERE hour < ?", (hour_of(self._now - _KEEP_HOURS),))
        return whole

    def _rolled(self) -> int:
        text = self._rows.value("SELECT value FROM facts WHERE name = ?", (ROLLED,))
        return 0 if text is None else int(json.loads(text))

    async def rolled_up(self) -> bool:
        left = self._rows.value(
            "SELECT at FROM events WHERE kind = ? AND seq > ? ORDER BY seq LIMIT 1", (COMPLETED, self._rolled())
        )
        return left is None or instant(left) > self._now - timedelta(minutes=5)

    async def completed(self, since: datetime) -> int:
        edge, rolled = minute_of(since), self._rolled()
        row = self._rows.one(
            """
            SELECT
              (SELECT coalesce(sum(completed), 0) FROM throughput WHERE minute > :edge) AS whole,
              (SELECT first_seq FROM throughput WHERE minute = :edge) AS first_seq,
              (SELECT first_seq FROM throughput WHERE minute > :edge ORDER BY minute LIMIT 1) AS next_seq
            """,
            {"edge": edge},
        )
        assert row is not None  # noqa: S101 - it has no FROM
        found = int(row["whole"]) + self._counted(rolled, None, since)
        if row["first_seq"] is not None:
            end = rolled if row["next_seq"] is None else min(rolled, int(row["next_seq"]) - 1)
            found += self._counted(int(row["first_seq"]) - 1, end, since)
        return found

    def _counted(self, behind: int, until: int | None, since: datetime) -> int:
        """Completions among these events, one by one."""
        bound = "" if until is None else "AND seq <= :until"
        return int(
            self._rows.value(
                f"SELECT count(*) FROM events WHERE kind = :kind AND seq > :behind {bound} AND at > :since",
                {"kind": COMPLETED, "behind": behind, "since": iso(since)}
                | ({} if until is None else {"until": until}),
            )
        )

    async def per_minute(self, since: datetime) -> list[dict[str, Any]]:
        rows = self._rows.all(
            "SELECT minute, completed FROM throughput WHERE minute >= ? ORDER BY minute", (minute_of(since),)
        )
        found = {row["minute"]: int(row["completed"]) for row in rows}
        for row in self._rows.all(
            "SELECT substr(at, 1, 16) AS minute, count(*) AS n FROM events WHERE kind = ? AND seq > ? AND at >= ? GROUP BY 1",
            (COMPLETED, self._rolled(), minute_of(since)),
        ):
            found[row["minute"]] = found.get(row["minute"], 0) + int(row["n"])
        return [{"minute": minute, "completed": found[minute]} for minute in sorted(found)]

    async def hours(self, since: datetime) -> list[Hour]:
        rows = self._rows.all(
            "SELECT hour, completed, cycles, working FROM throughput_hours WHERE hour >= ? ORDER BY hour",
            (hour_of(since),),
        )
        return [
            Hour(instant(row["hour"] + ":00:00Z"), int(row["completed"]), int(row["cycles"]), int(row["working"]))
            for row in rows
        ]

    async def note_hour(self, *, working: bool) -> None:
        self._rows.put(
            "INSERT INTO throughput_hours (hour, completed, cycles, working) VALUES (:hour, 0, 1, :working)"
            " ON CONFLICT (hour) DO UPDATE SET cycles = throughput_hours.cycles + 1,"
            " working = throughput_hours.working + excluded.working",
            {"hour": hour_of(self._now), "working": int(working)},
        )

    async def add_sample(self, entry: Mapping[str, Any]) -> None:
        seq = self._rows.value(
            "INSERT INTO health_samples (at, metrics) VALUES (?, ?) RETURNING seq",
            (iso(self._now), canonical(dict(entry))),
        )
        self._rows.put("DELETE FROM health_samples WHERE seq <= ?", (int(seq) - SAMPLES,))

    async def samples(self, limit: int) -> list[dict[str, Any]]:
        rows = self._rows.column("SELECT metrics FROM health_samples ORDER BY seq DESC LIMIT ?", (limit,))
        return [json.loads(text) for text in reversed(rows)]

    async def held(self, limit: int) -> list[Held]:
        sql = _HELD.format(index="INDEXED BY tasks_leases", which="t.lease_expires_at > ''")
        rows = self._rows.all(f"{sql} ORDER BY t.lease_expires_at LIMIT ?", (limit,))
        return [self._as_held(row) for row in rows]

    async def held_one(self, task_id: str) -> Held | None:
        row = self._rows.one(_HELD.format(index="", which="t.id = ?"), (task_id,))
        return None if row is None else self._as_held(row)

    def _as_held(self, row: Mapping[str, Any]) -> Held:
        session_id = row["session_id"]
        signs = [instant(row["updated_at"])]
        if row["last_call_at"] is not None:
            signs.append(instant(row["last_call_at"]))
        ended = None if row["ended_at"] is None else instant(row["ended_at"])
        return Held(
            task_id=row["id"],
            agent_id=row["assigned_to"],
            session_id=session_id,
            token=int(row["lease_token"]),
            lease_expires_at=instant(row["lease_expires_at"] or row["updated_at"]),
            lease_seconds=float(row["lease_seconds"] or 0),
            last_sign=max(signs),
            ended_at=max(signs) if row["known"] is None else ended,
            durable=bool(row["durable"]),
            alive=session_id is not None and self._alive(session_id),
        )

    def _alive(self, session_id: str) -> bool:
        if session_id not in self._living:
            self._living[session_id] = self._liveness.alive(session_id)
        return self._living[session_id]

    async def claimable(self) -> int:
        return int(
            self._rows.value(
                """
                SELECT (
                  SELECT coalesce(sum(ready), 0) FROM lanes INDEXED BY lanes_ready WHERE ready > 0 AND id > 0 AND (
                    epic_id = ''
                    OR (SELECT wip_limit IS NULL OR in_progress < wip_limit FROM epics WHERE epics.id = lanes.epic_id)
                  )
                ) + (
                  SELECT count(*) FROM tasks INDEXED BY tasks_timed
                  WHERE status = 'pending' AND (gates & 1) = 1 AND not_before <= :now AND gates = 1 AND unmet_deps = 0
                    AND (
                      epic_id IS NULL
                      OR (SELECT wip_limit IS NULL OR in_progress < wip_limit FROM epics WHERE epics.id = tasks.epic_id)
                    )
                )
                """,
                {"now": iso(self._now)},
            )
        )

    async def agents(self) -> dict[str, int]:
        return {row[0]: row[1] for row in self._rows.execute("SELECT status, count(*) FROM agent_pool GROUP BY 1", ())}

    async def vacant(self, limit: int) -> list[str]:
        return self._rows.column(
            """
            SELECT agent_id FROM agent_pool
            WHERE (current_task_id IS NOT NULL OR status = 'busy') AND status <> 'offline' AND NOT EXISTS (
              SELECT 1 FROM tasks INDEXED BY tasks_held_agent
              WHERE assigned_to = agent_pool.agent_id AND status = 'in_progress'
            ) ORDER BY agent_id LIMIT ?
            """,
            (limit,),
        )

    async def departed(self, seen_before: datetime, limit: int) -> list[str]:
        idle = self._rows.column(
            "SELECT agent_id FROM agent_pool WHERE status = 'idle' AND last_seen_at < ? ORDER BY last_seen_at LIMIT ?",
            (iso(seen_before), limit),
        )
        return [agent_id for agent_id in idle if not self._connected(agent_id)]

    def _connected(self, agent_id: str) -> bool:
        """Does it have a session with a living server? A durable session has no process."""
        open_ones = self._rows.column(
            "SELECT session_id FROM sessions WHERE agent_id = ? AND ended_at IS NULL AND durable = 0", (agent_id,)
        )
        return any(self._alive(session_id) for session_id in open_ones)

    async def put_offline(self, agent_id: str) -> bool:
        return (
            self._rows.run(
                """
                UPDATE agent_pool SET status = 'offline', current_task_id = NULL, assigned_at = NULL
                WHERE agent_id = ? AND status <> 'offline' AND NOT EXISTS (
                  SELECT 1 FROM tasks INDEXED BY tasks_held_agent
                  WHERE assigned_to = agent_pool.agent_id AND status = 'in_progress'
                )
                """,
                (agent_id,),
            )
            > 0
        )

    async def edges(self) -> tuple[int, int]:
        row = self._rows.one("SELECT n, changes FROM edges WHERE id = 1")
        return (0, 0) if row is None else (int(row["n"]), int(row["changes"]))

    async def edges_behind(self, last: tuple[str, str], limit: int) -> list[tuple[str, str, int, int]]:
        rows = self._rows.all(
            """
            SELECT e.task_id, e.depends_on_task_id AS other, t.seq AS a, d.seq AS b
            FROM (
              SELECT task_id, depends_on_task_id FROM task_dependencies
              WHERE (task_id, depends_on_task_id) > (?, ?) ORDER BY task_id, depends_on_task_id LIMIT ?
            ) AS e
            CROSS JOIN tasks AS t ON t.id = e.task_id
            CROSS JOIN tasks AS d ON d.id = e.depends_on_task_id
            ORDER BY 1, 2
            """,
            (*last, limit),
        )
        return [(row["task_id"], row["other"], int(row["a"]), int(row["b"])) for row in rows]

    async def ids(self, seqs: Sequence[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        for seq in seqs:
            task_id = self._rows.value("SELECT id FROM tasks WHERE seq = ?", (seq,))
            if task_id is not None:
                found[seq] = task_id
        return found

    async def written_links(self, after: str, limit: int) -> tuple[str | None, int, int]:
        rows = self._rows.all(
            "SELECT task_id, entry FROM roadmap_entries WHERE task_id > ? ORDER BY task_id LIMIT ?", (after, limit)
        )
        written = {row["task_id"]: set(json.loads(row["entry"]).get("depends_on") or ()) for row in rows}
        wanted = [task_id for task_id, others in written.items() if others]
        present = 0
        if wanted:
            marks = ", ".join("?" * len(wanted))
            edges = self._rows.all(
                f"SELECT task_id, depends_on_task_id AS other FROM task_dependencies WHERE task_id IN ({marks})", wanted
            )
            present = sum(edge["other"] in written[edge["task_id"]] for edge in edges)
        last = rows[-1]["task_id"] if len(rows) == limit else None
        return last, sum(map(len, written.values())), present

    async def stranded(self, limit: int) -> list[tuple[str, str]]:
        kept = self._rows.value("SELECT sum(n) FROM counters WHERE name IN ('cancelled', 'failed')")
        if not kept:
            return []
        found: set[tuple[str, str]] = set()
        for status in ("cancelled", "failed"):
            rows = self._rows.all(
                f"""
                WITH gone (id) AS (
                  SELECT id FROM tasks WHERE status = '{status}' AND seq > 0 ORDER BY seq DESC LIMIT {_GONE}
                )
                SELECT t.id, gone.id AS waiting_for
                FROM gone CROSS JOIN task_dependencies AS d ON d.depends_on_task_id = gone.id
                CROSS JOIN tasks AS t ON t.id = d.task_id
                WHERE t.status NOT IN ('done', 'cancelled')
                UNION ALL
                SELECT t.id, gone.id
                FROM gone CROSS JOIN task_waits AS w ON w.waits_for_task_id = gone.id
                CROSS JOIN tasks AS t ON t.id = w.task_id
                WHERE t.status = 'blocked'
                LIMIT ?
                """,
                (limit,),
            )
            found.update((row["id"], row["waiting_for"]) for row in rows)
        return sorted(found)[:limit]

    async def providers(self) -> list[Provider]:
        rows = self._rows.all("SELECT provider, state, used, capacity FROM provider_states ORDER BY provider")
        return [Provider(row["provider"], row["state"], row["used"], row["capacity"]) for row in rows]
