"""The ready queue and the leases. Plans are pinned by a test: every statement seeks, none scans."""

import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.task import Task
from wvo_mcp.ports.work import ClaimState, Outline
from wvo_mcp.store.records.memory import NEWEST
from wvo_mcp.store.records.rows import COLUMNS, Repository, as_task

HEADS = 24
"""So many of the best tasks are tried one by one before the lanes are asked."""

Lane = dict[str, Any]
_LISTS = ("labels", "capabilities")

_FOR_AGENT = "(kept_for = :agent_id OR substr(:agent_id, 1, length(kept_for) + 1) = kept_for || '.')"
_CLAIM_STATE = f"""
SELECT
  (SELECT count(*) FROM tasks INDEXED BY tasks_held_agent
   WHERE assigned_to = :agent_id AND status = 'in_progress') AS holding,
  (SELECT n FROM counters WHERE name = 'in_progress') AS in_progress,
  (SELECT value FROM facts WHERE name = 'paused') AS paused,
  EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_leases
    WHERE status = 'in_progress' AND lease_expires_at <= :now)
  OR EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_timed
    WHERE status = 'pending' AND (gates & 1) = 1 AND not_before <= :now)
  OR EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_kept
    WHERE status = 'pending' AND (gates & 8) = 8 AND kept_until <= :now) AS overdue,
  EXISTS (SELECT 1 FROM tasks INDEXED BY tasks_kept
    WHERE status = 'pending' AND (gates & 8) = 8 AND kept_until > :now AND {_FOR_AGENT}) AS kept,
  EXISTS (SELECT 1 FROM messages INDEXED BY messages_addressed
    WHERE acked_at IS NULL AND to_task IS NOT NULL) AS addressed"""


class Queue(Repository):
    """`ports.QueueRepository`, for one transaction."""

    @property
    def _best(self) -> str:
        return f"""
            SELECT {COLUMNS} FROM tasks INDEXED BY tasks_ready
            WHERE status = 'pending' AND unmet_deps = 0 AND score > -1
            ORDER BY score DESC, seq LIMIT 1 {self._rows.dialect.row_lock_suffix}
            """

    async def prefetch_reads(self, agent_id: str) -> None:
        self._rows.prefetch_statement(_CLAIM_STATE, {"agent_id": agent_id, "now": self._at})
        self._rows.prefetch_statement(self._best)
        # A task that is given out comes with what is remembered.
        self._rows.prefetch_statement(NEWEST, of="context_entries")

    async def ready(self, epics: Collection[str] | None, limit: int, skip: int = 0) -> list[Task]:
        return self._listed("unmet_deps = 0", "tasks_ready", epics, limit, skip)

    async def outlines(
        self, epics: Collection[str] | None, limit: int, behind: Sequence[Any] | None = None
    ) -> list[Outline]:
        if behind is None:
            return self._outlined("TRUE", "score DESC, seq", (), epics, limit)
        score, seq = behind
        # One range after the other, for the order runs down and up at once: each is a seek in the same index.
        equals = ("score = ? AND seq > ?", "seq", (score, seq))
        found = self._outlined(*equals, epics, limit)
        if len(found) < limit:
            found += self._outlined("score < ?", "score DESC, seq", (score,), epics, limit - len(found))
        return found

    def _outlined(
        self, behind: str, order: str, place: tuple[Any, ...], epics: Collection[str] | None, limit: int
    ) -> list[Outline]:
        rows = self._rows.all(
            f"""
            SELECT id, score, seq, complexity, labels, capabilities, files, gates, lane_id, epic_id
            FROM tasks INDEXED BY tasks_ready
            WHERE status = 'pending' AND unmet_deps = 0 AND score > -1 AND {behind} AND {_of(epics)}
            ORDER BY {order} LIMIT ?
            """,
            (*place, *(epics or ()), limit),
        )
        return [_outline(row) for row in rows]

    async def waiting(self, epics: Collection[str] | None, limit: int, skip: int = 0) -> list[Task]:
        return self._listed("unmet_deps > 0", "tasks_waiting", epics, limit, skip)

    def _listed(
        self, condition: str, index: str, epics: Collection[str] | None, limit: int, skip: int = 0
    ) -> list[Task]:
        # `score > -1` turns a scan of the index into a seek; `INDEXED BY` makes a lost index an error, not a slow day.
        chosen = f"INDEXED BY {index}" if epics is None else ""
        return self._tasks(
            f"{chosen} WHERE status = 'pending' AND {condition} AND score > -1 AND {_of(epics)}"
            " ORDER BY score DESC, seq LIMIT ? OFFSET ?",
            (*(epics or ()), limit, skip),
        )

    async def pick(self, fits: Callable[[Lane], Awaitable[bool]], epics: Collection[str] | None = None) -> Task | None:
        asked: dict[int, bool] = {}
        if epics is not None:
            return await self._pick_by_lane(fits, asked, epics)
        best = self._rows.one(self._best)
        if best is None and not self._rows.dialect.row_lock_suffix:
            return None
        if best is not None and best["gates"] == 0:
            # Mostly this is it, so nothing else is read before it was tried; the task itself names its lane.
            asked[best["lane_id"]] = await fits(_lane_of(best))
            if asked[best["lane_id"]]:
                return as_task(best)
        heads = self._rows.all(
            """
            SELECT id, lane_id, gates FROM tasks INDEXED BY tasks_ready
            WHERE status = 'pending' AND unmet_deps = 0 AND score > -1
            ORDER BY score DESC, seq LIMIT ?
            """,
            (HEADS,),
        )
        for head in heads:
            if head["gates"] == 0:
                lane_id = head["lane_id"]
                if lane_id not in asked:
                    lane = self._rows.one("SELECT id, epic_id, capabilities, files FROM lanes WHERE id = ?", (lane_id,))
                    asked[lane_id] = lane is not None and await fits(lane)
                if asked[lane_id]:
                    task = self._locked(head["id"])
                    if task is not None:
                        return task
        if len(heads) < HEADS:
            return None
        return await self._pick_by_lane(fits, asked, epics)

    async def _pick_by_lane(
        self, fits: Callable[[Lane], Awaitable[bool]], asked: dict[int, bool], epics: Collection[str] | None
    ) -> Task | None:
        found: list[tuple[float, int, str]] = []
        lanes = self._rows.all(
            "SELECT id, epic_id, capabilities, files FROM lanes INDEXED BY lanes_ready"
            f" WHERE ready > 0 AND id > 0 AND {_of(epics)}",
            tuple(epics or ()),
        )
        for lane in lanes:
            if (lane["id"] in asked and not asked[lane["id"]]) or not await fits(lane):
                continue
            row = self._rows.one(
                f"""
                SELECT score, seq, id FROM tasks INDEXED BY tasks_lane
                WHERE lane_id = ? AND status = 'pending' AND unmet_deps = 0 AND gates = 0
                ORDER BY score DESC, seq LIMIT 1 {self._rows.dialect.row_lock_suffix}
                """,
                (lane["id"],),
            )
            if row is not None:
                found.append((-row["score"], row["seq"], row["id"]))
        return self._locked(min(found)[2]) if found else None

    def _locked(self, task_id: str) -> Task | None:
        """The task, locked; None when another connection has locked its row, as a person at a database prompt may."""
        return next(iter(self._tasks(f"WHERE id = ? {self._rows.dialect.row_lock_suffix}", (task_id,))), None)

    async def claim_state(self, agent_id: str) -> ClaimState:
        row = self._rows.one(_CLAIM_STATE, {"agent_id": agent_id, "now": self._at})
        assert row is not None  # noqa: S101 - it has no FROM
        return ClaimState(
            holding=row["holding"],
            in_progress=row["in_progress"],
            paused=row["paused"] not in (None, "null", "false"),
            overdue=bool(row["overdue"]),
            kept=bool(row["kept"]),
            addressed=bool(row["addressed"]),
        )

    async def kept(self, agent_id: str) -> list[Task]:
        return self._tasks(
            "INDEXED BY tasks_kept WHERE status = 'pending' AND (gates & 8) = 8 AND kept_until > :now"
            f" AND gates = 8 AND unmet_deps = 0 AND {_FOR_AGENT} ORDER BY score DESC, seq LIMIT 20",
            {"agent_id": agent_id, "now": self._at},
        )

    async def open_gates(self) -> None:
        self._rows.put(
            """
            UPDATE tasks INDEXED BY tasks_timed SET gates = gates & ~1
            WHERE status = 'pending' AND (gates & 1) = 1 AND not_before <= ?
            """,
            (self._at,),
        )
        self._rows.put(
            """
            UPDATE tasks INDEXED BY tasks_kept SET gates = gates & ~8
            WHERE status = 'pending' AND (gates & 8) = 8 AND kept_until <= ?
            """,
            (self._at,),
        )

    async def expired(self, *, lock: bool = False) -> list[Task]:
        suffix = self._rows.dialect.row_lock_suffix if lock else ""
        return self._tasks(
            "INDEXED BY tasks_leases"
            f" WHERE status = 'in_progress' AND lease_expires_at <= ? ORDER BY lease_expires_at {suffix}",
            (self._at,),
        )

    async def held_sessions(self) -> list[str]:
        return self._rows.column(
            """
            SELECT session_id FROM (
              SELECT DISTINCT session_id FROM tasks INDEXED BY tasks_held_session
              WHERE status = 'in_progress' AND session_id > ''
            ) AS held
            WHERE (SELECT ended_at IS NULL AND durable = 0 FROM sessions WHERE sessions.session_id = held.session_id)
            """
        )

    async def held_by_agent(self, agent_id: str) -> list[Task]:
        return self._held("assigned_to = ?", "tasks_held_agent", agent_id)

    async def held_by_session(self, session_id: str) -> list[Task]:
        return self._held("session_id = ?", "tasks_held_session", session_id)

    def _held(self, whose: str, index: str, value: str) -> list[Task]:
        rest = f"INDEXED BY {index} WHERE {whose} AND status = 'in_progress' ORDER BY started_at, id"
        return self._tasks(rest, (value,))

    async def holding(self, agent_id: str) -> int:
        held = "tasks INDEXED BY tasks_held_agent WHERE assigned_to = ? AND status = 'in_progress'"
        return int(self._rows.value(f"SELECT count(*) FROM {held}", (agent_id,)))

    async def scopes(self) -> list[dict[str, Any]]:
        return self._rows.all(
            """
            SELECT id, files FROM tasks INDEXED BY tasks_scopes
            WHERE status = 'in_progress' AND files <> '[]' AND id > ''
            UNION ALL
            SELECT t.id, t.files FROM tasks AS t INDEXED BY tasks_in_review
            WHERE t.status = 'in_review' AND t.files <> '[]' AND EXISTS (
              SELECT 1 FROM merge_entries AS m
              WHERE m.task_id = t.id AND m.state IN ('queued', 'building', 'verifying', 'landing')
            )"""
        )

    async def orphan_of(self, agent_id: str) -> Task | None:
        for task in await self.held_by_agent(agent_id):
            ended = self._rows.value("SELECT ended_at FROM sessions WHERE session_id = ?", (task.session_id,))
            if ended is not None:
                return task
        return None

    async def renew(self, session_id: str) -> int:
        renewed = 0
        for task in await self.held_by_session(session_id):
            expires = iso(self._now + timedelta(seconds=task.lease_seconds or 0))
            renewed += self._rows.run(
                "UPDATE tasks SET lease_expires_at = ? WHERE id = ? AND lease_expires_at < ?",
                (expires, task.id, expires),
            )
        return renewed

    async def cut(self, session_id: str, grace_seconds: int) -> int:
        until = iso(self._now + timedelta(seconds=grace_seconds))
        return self._rows.run(
            """
            UPDATE tasks INDEXED BY tasks_held_session SET lease_expires_at = :until
            WHERE session_id = :session_id AND status = 'in_progress' AND lease_expires_at > :until
            """,
            {"session_id": session_id, "until": until},
        )

    async def next_change(self) -> datetime | None:
        nearest = self._rows.column(
            """
            SELECT at FROM (
              SELECT min(lease_expires_at) AS at FROM tasks INDEXED BY tasks_leases
              WHERE status = 'in_progress' AND lease_expires_at > ''
              UNION ALL
              SELECT min(not_before) FROM tasks INDEXED BY tasks_timed
              WHERE status = 'pending' AND (gates & 1) = 1 AND not_before > ''
              UNION ALL
              SELECT min(kept_until) FROM tasks INDEXED BY tasks_kept
              WHERE status = 'pending' AND (gates & 8) = 8 AND kept_until > ''
            ) AS nearest WHERE at IS NOT NULL
            """
        )
        return instant(min(nearest)) if nearest else None


def _outline(row: dict[str, Any]) -> Outline:
    labels, capabilities = (() if row[name] == "[]" else tuple(json.loads(row[name])) for name in _LISTS)
    cursor = (row["score"], row["seq"])
    return Outline(row["id"], cursor, row["complexity"], labels, capabilities, row["gates"], _lane_of(row))


def _lane_of(task: dict[str, Any]) -> Lane:
    return {
        "id": task["lane_id"],
        "epic_id": task["epic_id"] or "",
        "capabilities": task["capabilities"],
        "files": task["files"],
    }


def _of(epics: Collection[str] | None) -> str:
    """A condition with a parameter for each epic."""
    if epics is None:
        return "TRUE"
    return f"epic_id IN ({', '.join('?' * len(epics))})" if epics else "FALSE"
