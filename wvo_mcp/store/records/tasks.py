"""Tasks with their dependencies, epics and milestones: reading, listing, writing, and the queue's kept columns."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.redaction import redact
from wvo_mcp.domain.task import GATE_BITS, Gate, Status, Task, check_move
from wvo_mcp.errors import NotFound
from wvo_mcp.store.records.events import Events
from wvo_mcp.store.records.rows import ONE_TASK, Repository, as_task, encoded_all, match_all
from wvo_mcp.store.sql import Rows, parts

_QUOTED = frozenset({"last_error", "blocked_reason"})
"""What quotes programs, and is shown wherever the task is: without secrets."""
_GATED_BY = ("not_before", "requires_approval", "approved_at", "open_children", "kept_for", "kept_until")
_GATING = {*_GATED_BY, "parent_id"} - {"open_children"}
"""Columns whose change may open or shut a gate."""
_SMALL_STORE = 3_000
_NARROW = ("epic_id", "milestone_id", "agent_id", "label", "query")
_NO_SEQ = 2**62


class Tasks(Repository):
    """`ports.TaskRepository`, for one transaction."""

    def __init__(self, rows: Rows, now: datetime, caller: Caller, events: Events) -> None:
        super().__init__(rows, now, caller)
        self._events = events
        self._lanes: dict[tuple[str, str, str], int] = {}
        self._last_seq: int | None = None
        self._known_epics: set[str] = set()

    async def find(self, task_id: str) -> Task | None:
        row = self._rows.one(ONE_TASK, (task_id,))
        return None if row is None else as_task(row)

    async def get(self, task_id: str, field: str = "task_id") -> Task:
        task = await self.find(task_id)
        if task is None:
            raise NotFound("task", task_id, await self.near(task_id), field=field)
        return task

    async def known(self, task_ids: Iterable[str]) -> set[str]:
        return set(await self.statuses(task_ids))

    async def statuses(self, task_ids: Iterable[str]) -> dict[str, Status]:
        found: dict[str, Status] = {}
        for part, marks in parts(list(task_ids)):
            rows = self._rows.execute(f"SELECT id, status FROM tasks WHERE id IN ({marks})", part)
            found |= {task_id: Status(status) for task_id, status in rows}
        return found

    async def near(self, wanted: str) -> list[str]:
        if int(self._rows.value("SELECT max(seq) FROM tasks") or 0) <= _SMALL_STORE:
            candidates = self._rows.column("SELECT id FROM tasks")
        else:
            candidates = self._around(wanted)
        folded = {candidate.casefold(): candidate for candidate in candidates}
        return [folded[name] for name in difflib.get_close_matches(wanted.casefold(), folded, n=5, cutoff=0.6)]

    def _around(self, wanted: str) -> list[str]:
        """Neighbours in id order of the wanted id and of its beginnings: typing errors mostly stand near the end."""
        found: list[str] = []
        for spelling in {wanted, wanted.upper(), wanted.lower()}:
            for length in {len(spelling), max(1, len(spelling) - 1), max(1, len(spelling) // 2)}:
                start = spelling[:length]
                found += self._rows.column("SELECT id FROM tasks WHERE id >= ? ORDER BY id LIMIT 60", (start,))
                found += self._rows.column("SELECT id FROM tasks WHERE id < ? ORDER BY id DESC LIMIT 20", (start,))
        return found

    async def add(self, fields: Mapping[str, Any]) -> Task:
        values = encoded_all(fields)
        if self._last_seq is None:
            self._last_seq = int(self._rows.value("SELECT max(seq) FROM tasks") or 0)
        self._last_seq += 1
        values |= {"seq": self._last_seq, "gates": self._gates(values), "lane_id": self._lane(values)}
        shown = ("title", "epic_id", "priority", "complexity", "origin")
        data = {name: fields[name] for name in shown if name in fields}
        head = self._events.insert("task.created", fields["id"], data, "")
        self._insert("tasks", {**values, "event_head": head, "created_at": self._at, "updated_at": self._at})
        self._label(self._last_seq, fields["id"], fields.get("labels", ()))
        task = await self.find(fields["id"])
        assert task is not None  # noqa: S101 - it was inserted above
        return task

    async def change(self, task: Task, kind: str, fields: Mapping[str, Any], data: Mapping[str, Any]) -> Task:
        if "status" in fields and fields["status"] != task.status:
            check_move(task.id, task.status, fields["status"])
            data = {"from": task.status, "to": fields["status"], **data}
            if task.kept_for is not None and task.status is Status.PENDING:
                fields = {**fields, "kept_for": None, "kept_until": None}
        redacted = {name: redact(fields[name]) for name in _QUOTED & fields.keys() if fields[name] is not None}
        fields = {**fields, **redacted} if redacted else fields
        values = encoded_all(fields)
        if values.keys() & _GATING:
            stored = encoded_all({name: getattr(task, name) for name in _GATED_BY})
            values["gates"] = self._gates({**stored, **values})
        if values.keys() & {"epic_id", "capabilities", "files"}:
            lane = encoded_all({"epic_id": task.epic_id, "capabilities": task.capabilities, "files": task.files})
            values["lane_id"] = self._lane({**lane, **values})
        head = self._events.insert(kind, task.id, data, self._events.head(task.id, task.event_head))
        values |= {"event_head": head, "version": task.version + 1}
        self._update("tasks", task.id, values)
        if "labels" in fields:
            self._rows.put("DELETE FROM task_labels WHERE task_id = ? AND seq = ?", (task.id, task.seq))
            self._label(task.seq, task.id, fields["labels"])
        changed = {**fields, "version": values["version"], "event_head": head, "updated_at": self._now}
        changed |= {name: values[name] for name in ("gates", "lane_id") if name in values}
        return task.model_copy(update=changed)

    def _gates(self, values: Mapping[str, Any]) -> int:
        shut = {
            Gate.NOT_BEFORE: (values.get("not_before") or "") > self._at,
            Gate.APPROVAL: values.get("requires_approval") and not values.get("approved_at"),
            Gate.CHILDREN: values.get("open_children"),
            Gate.KEPT: values.get("kept_for") and (values.get("kept_until") or "") > self._at,
        }
        return sum(GATE_BITS[gate] for gate, holds in shut.items() if holds)

    def _lane(self, values: Mapping[str, Any]) -> int:
        key = (values.get("epic_id") or "", values.get("capabilities") or "[]", values.get("files") or "[]")
        lane_id = self._lanes.get(key)
        if lane_id is None:
            find = "SELECT id FROM lanes WHERE epic_id = ? AND capabilities = ? AND files = ?"
            lane_id = self._rows.value(find, key)
            if lane_id is None:
                self._rows.put("INSERT INTO lanes (epic_id, capabilities, files) VALUES (?, ?, ?)", key)
                lane_id = self._rows.value(find, key)
            self._lanes[key] = int(lane_id)
        return int(lane_id)

    def _label(self, seq: int, task_id: str, labels: Iterable[str]) -> None:
        for label in set(labels):
            self._insert("task_labels", {"label": label, "seq": seq, "task_id": task_id})

    async def dependencies(self, task_id: str) -> list[dict[str, Any]]:
        return self._rows.all(
            """
            SELECT t.id, t.status, t.title
            FROM task_dependencies AS d CROSS JOIN tasks AS t ON t.id = d.depends_on_task_id
            WHERE d.task_id = ? ORDER BY d.depends_on_task_id
            """,
            (task_id,),
        )

    async def dependents(self, task_id: str, limit: int) -> list[dict[str, Any]]:
        return self._rows.all(
            """
            SELECT t.id, t.status, t.unmet_deps, t.gates
            FROM task_dependencies AS d CROSS JOIN tasks AS t ON t.id = d.task_id
            WHERE d.depends_on_task_id = ? ORDER BY d.task_id LIMIT ?
            """,
            (task_id, limit),
        )

    async def unmet(self, task_id: str) -> list[str]:
        return [row["id"] for row in await self.dependencies(task_id) if row["status"] != Status.DONE]

    async def add_dependencies(self, task_id: str, on: Sequence[str]) -> None:
        for other in on:
            self._rows.put(
                """
                INSERT INTO task_dependencies (task_id, depends_on_task_id, ratio, tail)
                SELECT t.id, :on, CASE WHEN crowd.ratio IS NOT NULL THEN t.heard_value / t.heard_size END,
                  CASE WHEN crowd.ratio IS NOT NULL THEN t.tail END
                FROM tasks AS t LEFT JOIN (
                  SELECT ratio FROM task_dependencies WHERE depends_on_task_id = :on AND ratio IS NOT NULL LIMIT 1
                ) AS crowd ON TRUE
                WHERE t.id = :id ON CONFLICT DO NOTHING
                """,
                {"id": task_id, "on": other},
            )
        self._recount_unmet(task_id)

    async def remove_dependencies(self, task_id: str, on: Sequence[str]) -> None:
        edges = [(task_id, other) for other in on]
        self._rows.run_many("DELETE FROM task_dependencies WHERE task_id = ? AND depends_on_task_id = ?", edges)
        self._recount_unmet(task_id)

    def _recount_unmet(self, task_id: str) -> None:
        self._rows.put(
            """
            UPDATE tasks SET unmet_deps = counted.unmet
            FROM (
              SELECT count(*) AS unmet FROM task_dependencies AS d CROSS JOIN tasks AS t ON t.id = d.depends_on_task_id
              WHERE d.task_id = :id AND t.status <> 'done'
            ) AS counted
            WHERE id = :id AND unmet_deps <> counted.unmet
            """,
            {"id": task_id},
        )

    async def settle_dependents(self, task_id: str, *, done: bool) -> None:
        self._rows.put(
            """
            UPDATE tasks SET unmet_deps = unmet_deps + :by
            WHERE id IN (SELECT task_id FROM task_dependencies WHERE depends_on_task_id = :id)
            """,
            {"id": task_id, "by": -1 if done else 1},
        )

    async def open_children(self, task_id: str) -> list[str]:
        return self._rows.column(
            "SELECT id FROM tasks WHERE parent_id = ? AND status NOT IN ('done', 'cancelled') ORDER BY id LIMIT 100",
            (task_id,),
        )

    async def below(self, task_id: str) -> dict[str, str]:
        found = self._rows.execute(
            """
            WITH RECURSIVE below (id, origin) AS (
              SELECT id, origin FROM tasks WHERE parent_id = :id
              UNION
              SELECT t.id, t.origin FROM below AS b CROSS JOIN tasks AS t WHERE t.parent_id = b.id
            )
            SELECT id, origin FROM below
            """,
            {"id": task_id},
        )
        return dict(iter(found))

    async def waits(self, task_id: str) -> list[str]:
        return self._rows.column(
            """
            SELECT t.id FROM task_waits AS w CROSS JOIN tasks AS t ON t.id = w.waits_for_task_id
            WHERE w.task_id = ? AND t.status <> 'done' ORDER BY t.id
            """,
            (task_id,),
        )

    async def set_waits(self, task_id: str, on: Sequence[str]) -> None:
        self._rows.put("DELETE FROM task_waits WHERE task_id = ?", (task_id,))
        for other in on:
            self._insert("task_waits", {"task_id": task_id, "waits_for_task_id": other})

    async def page(self, where: Mapping[str, Any], after: int, limit: int) -> list[Task]:
        condition, values = self._condition(where)
        # SQLite takes the index of statuses: all pending tasks, of which few wait for an approval.
        advice = "INDEXED BY tasks_unapproved " if where.get("unapproved") else ""
        rest = f"{advice}WHERE {condition} AND seq > :after ORDER BY seq LIMIT :limit"
        return self._tasks(rest, {**values, "after": after, "limit": limit})

    async def latest(self, where: Mapping[str, Any], before: int | None, limit: int) -> list[Task]:
        condition, values = self._condition(where)
        rest = f"WHERE {condition} AND seq < :before ORDER BY seq DESC LIMIT :limit"
        return self._tasks(rest, {**values, "before": before or _NO_SEQ, "limit": limit})

    async def statuses_of(self, where: Mapping[str, Any], limit: int) -> list[tuple[int, Status]]:
        condition, values = self._condition(where)
        sql = f"SELECT seq, status FROM tasks WHERE {condition} AND seq > 0 ORDER BY seq LIMIT :limit"
        return [(seq, Status(status)) for seq, status in self._rows.execute(sql, {**values, "limit": limit})]

    async def numbered(self, seqs: Sequence[int]) -> list[Task]:
        marks = ", ".join("?" * len(seqs))
        return self._tasks(f"WHERE seq IN ({marks}) ORDER BY seq", tuple(seqs)) if seqs else []

    async def count(self, where: Mapping[str, Any], limit: int) -> int:
        condition, values = self._condition(where)
        matching = f"SELECT 1 FROM tasks WHERE {condition} AND seq > 0 LIMIT :limit"
        return int(self._rows.value(f"SELECT count(*) FROM ({matching}) AS found", {**values, "limit": limit}))

    async def counts(self) -> dict[str, int]:
        rows = self._rows.all("SELECT name, n FROM counters WHERE name > '' AND name <> 'open_size'")
        return {row["name"]: row["n"] for row in rows}

    def _condition(self, where: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """A condition and its parameters."""
        # Of the index of statuses, which may be nearly all tasks, nothing is read where something else narrows more.
        narrow = any(where.get(name) is not None for name in _NARROW)
        parts = {
            "status": "status || '' = :status" if narrow else "status = :status",
            "epic_id": "epic_id = :epic_id",
            "milestone_id": "milestone_id = :milestone_id",
            "agent_id": "assigned_to = :agent_id",
            "label": "seq IN (SELECT seq FROM task_labels WHERE label = :label)",
            "query": self._rows.dialect.task_matches,
            "unapproved": "status = 'pending' AND (gates & 2) = 2",
        }
        sql = " AND ".join(sql for name, sql in parts.items() if where.get(name) is not None) or "TRUE"
        if where.get("query") is None:
            return sql, dict(where)
        return sql, {**where, "query": match_all(self._rows.dialect, where["query"])}

    async def ensure_epic(self, epic_id: str, title: str | None = None, wip_limit: int | None = None) -> bool:
        if epic_id in self._known_epics:
            return False
        self._known_epics.add(epic_id)
        added = self._rows.run(
            "INSERT INTO epics (id, title, wip_limit, created_at, updated_at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            (epic_id, title or epic_id, wip_limit, self._at, self._at),
        )
        return added > 0

    async def epic(self, epic_id: str) -> dict[str, Any] | None:
        return self._rows.one("SELECT id, title, wip_limit, in_progress FROM epics WHERE id = ?", (epic_id,))

    async def change_epic(self, epic_id: str, fields: Mapping[str, Any]) -> None:
        self._update("epics", epic_id, encoded_all(fields))

    async def epics(self) -> list[dict[str, Any]]:
        return self._rows.all("SELECT id, title, wip_limit, in_progress FROM epics ORDER BY rowid")

    async def milestone(self, milestone_id: str) -> dict[str, Any] | None:
        return self._rows.one("SELECT id, epic_id, title, due_at FROM milestones WHERE id = ?", (milestone_id,))

    async def milestones(self) -> list[dict[str, Any]]:
        return self._rows.all("SELECT id, epic_id, title, due_at FROM milestones ORDER BY rowid")

    async def near_milestones(self, wanted: str) -> list[str]:
        known = self._rows.column("SELECT id FROM milestones LIMIT 3000")
        return difflib.get_close_matches(wanted, known, n=5, cutoff=0.5)

    async def put_milestone(self, milestone_id: str, fields: Mapping[str, Any]) -> None:
        new = {"id": milestone_id, "title": milestone_id, "created_at": self._at, "updated_at": self._at}
        self._insert("milestones", new, "ON CONFLICT DO NOTHING")
        self._update("milestones", milestone_id, encoded_all(fields))

    async def of_milestone(self, milestone_id: str) -> list[str]:
        return self._rows.column("SELECT id FROM tasks WHERE milestone_id = ? ORDER BY id", (milestone_id,))

    def _update(self, table: str, row_id: str, values: Mapping[str, Any]) -> None:
        values = {**values, "updated_at": self._at}
        self._rows.put(
            f"UPDATE {table} SET {', '.join(f'{name} = :{name}' for name in values)} WHERE id = :this",
            {**values, "this": row_id},
        )
