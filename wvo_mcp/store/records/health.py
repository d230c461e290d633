"""What the health loop measures and learns. Every statement seeks or reads kept counters; plans are pinned by a test."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.event import canonical
from wvo_mcp.domain.health import SAMPLES, Held, Hour, Provider, hour_of
from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.ports import Liveness
from wvo_mcp.store.records.rows import Repository
from wvo_mcp.store.sql import Rows

_CAUGHT_UP = timedelta(days=1)
"""What was completed earlier without any leader is not counted by hour any more: it says nothing of what is usual."""
_KEEP_HOURS = timedelta(weeks=12)
_GONE = 2_500
"""So many of the latest cancelled, and of the failed tasks, are asked for who waits for them."""

_HELD = """
SELECT t.id, t.assigned_to, t.session_id, t.lease_token, t.lease_expires_at, t.lease_seconds, t.updated_at,
  s.session_id AS known, s.last_call_at, s.ended_at, s.durable
FROM tasks AS t {index} LEFT JOIN sessions AS s ON s.session_id = t.session_id
WHERE t.status = 'in_progress' AND {which}
"""

_HOLDS_NONE = """NOT EXISTS (
  SELECT 1 FROM tasks INDEXED BY tasks_held_agent WHERE assigned_to = agent_pool.agent_id AND status = 'in_progress')"""


class Health(Repository):
    """`ports.HealthRepository`, for one transaction."""

    def __init__(self, rows: Rows, now: datetime, caller: Caller, liveness: Liveness) -> None:
        super().__init__(rows, now, caller)
        self._liveness = liveness
        self._living: dict[str, bool] = {}

    async def completions(self, since: datetime) -> dict[str, int]:
        return self._completions(iso(since))

    def _completions(self, since: str) -> dict[str, int]:
        newest = "SELECT at, seq FROM events WHERE kind = 'task.completed' ORDER BY seq DESC LIMIT"
        reach = 64  # so many events back, twice as many each time: what came before them costs nothing
        while (self._rows.value(f"{newest} 1 OFFSET ?", (reach,)) or "") > since:
            reach *= 2
        # What was completed by a clock that ran ahead, before it was set back, has no time that could be counted.
        back = "SELECT seq, at FROM events WHERE kind = 'store.time_set_back' ORDER BY seq DESC LIMIT 1"
        corrected = self._rows.one(back, ()) or {"seq": 0, "at": ""}
        rows = self._rows.execute(
            f"""
            SELECT substr(at, 1, 16), count(*) FROM ({newest} ?) AS newest
            WHERE at > ? AND at <= ? AND (seq > ? OR at <= ?) GROUP BY 1 ORDER BY 1
            """,
            (reach, since, self._at, corrected["seq"], corrected["at"]),
        )
        return {row[0]: row[1] for row in rows}

    async def count_hours(self) -> None:
        this = hour_of(self._now)
        last = self._rows.value("SELECT max(hour) FROM throughput_hours WHERE hour <= ?", (this,)) or this
        found = {this: 0}
        for minute, completed in self._completions(max(last, hour_of(self._now - _CAUGHT_UP))).items():
            found[minute[:13]] = found.get(minute[:13], 0) + completed
        for hour, completed in found.items():
            self._upsert("throughput_hours", ("hour",), {"hour": hour, "completed": completed})
        self._rows.put("DELETE FROM throughput_hours WHERE hour < ?", (hour_of(self._now - _KEEP_HOURS),))

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
        last_sign = instant(max(row["updated_at"], row["last_call_at"] or ""))
        ended = None if row["ended_at"] is None else instant(row["ended_at"])
        return Held(
            task_id=row["id"],
            agent_id=row["assigned_to"],
            session_id=session_id,
            token=int(row["lease_token"]),
            lease_expires_at=instant(row["lease_expires_at"] or row["updated_at"]),
            lease_seconds=float(row["lease_seconds"] or 0),
            last_sign=last_sign,
            ended_at=last_sign if row["known"] is None else ended,
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
                  SELECT count(*) FROM (
                    SELECT epic_id FROM tasks INDEXED BY tasks_timed
                    WHERE status = 'pending' AND (gates & 1) = 1 AND not_before <= :now AND unmet_deps = 0
                      AND (gates = 1 OR (gates = 9 AND kept_until <= :now))
                    UNION ALL
                    SELECT epic_id FROM tasks INDEXED BY tasks_kept
                    WHERE status = 'pending' AND (gates & 8) = 8 AND kept_until <= :now AND gates = 8 AND unmet_deps = 0
                  ) AS due WHERE epic_id IS NULL
                    OR (SELECT wip_limit IS NULL OR in_progress < wip_limit FROM epics WHERE epics.id = due.epic_id)
                )
                """,
                {"now": iso(self._now)},
            )
        )

    async def agents(self) -> dict[str, int]:
        return {row[0]: row[1] for row in self._rows.execute("SELECT status, count(*) FROM agent_pool GROUP BY 1", ())}

    async def vacant(self, limit: int) -> list[str]:
        return self._rows.column(
            f"""
            SELECT agent_id FROM agent_pool
            WHERE (current_task_id IS NOT NULL OR status = 'busy') AND status <> 'offline' AND {_HOLDS_NONE}
            ORDER BY agent_id LIMIT ?
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
        changed = self._rows.run(
            f"""
            UPDATE agent_pool SET status = 'offline', current_task_id = NULL, assigned_at = NULL
            WHERE agent_id = ? AND status <> 'offline' AND {_HOLDS_NONE}
            """,
            (agent_id,),
        )
        return changed > 0

    async def edge_changes(self) -> int:
        return int(self._rows.value("SELECT changes FROM edges WHERE id = 1") or 0)

    async def edges_behind(self, last: tuple[str, str], limit: int) -> list[tuple[str, str, int, int]]:
        return list(
            self._rows.execute(
                """
            SELECT e.task_id, e.depends_on_task_id, t.seq, d.seq
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
        )

    async def ids(self, seqs: Sequence[int]) -> dict[int, str]:
        found = {seq: self._rows.value("SELECT id FROM tasks WHERE seq = ?", (seq,)) for seq in seqs}
        return {seq: task_id for seq, task_id in found.items() if task_id is not None}

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
