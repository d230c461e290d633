"""Tasks: reading, writing, and the queue's kept columns."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.redaction import redact
from wvo_mcp.domain.task import GATE_BITS, Gate, Status, Task, check_move
from wvo_mcp.errors import NotFound
from wvo_mcp.store.records.events import Events
from wvo_mcp.store.records.groups import Groups
from wvo_mcp.store.records.listing import Listing
from wvo_mcp.store.records.rows import ONE_TASK, as_task, encoded_all
from wvo_mcp.store.sql import Rows, parts

_QUOTED = frozenset({"last_error", "blocked_reason"})
"""What quotes programs, and is shown wherever the task is: without secrets."""
_SMALL_STORE = 3_000


class Tasks(Groups, Listing):
    """`ports.TaskRepository`, for one transaction."""

    def __init__(self, rows: Rows, now: datetime, caller: Caller, events: Events) -> None:
        super().__init__(rows, now, caller)
        self._events = events
        self._lanes: dict[tuple[str, str, str], int] = {}
        self._last_seq: int | None = None

    async def find(self, task_id: str) -> Task | None:
        row = self._rows.one(ONE_TASK, (task_id,))
        return None if row is None else as_task(row)

    async def get(self, task_id: str, field: str = "task_id") -> Task:
        task = await self.find(task_id)
        if task is None:
            raise NotFound("task", task_id, await self.near(task_id), field=field)
        return task

    async def known(self, task_ids: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for part, marks in parts(list(task_ids)):
            found.update(self._rows.column(f"SELECT id FROM tasks WHERE id IN ({marks})", part))
        return found

    async def statuses(self, task_ids: Iterable[str]) -> dict[str, Status]:
        found: dict[str, Status] = {}
        for part, marks in parts(list(task_ids)):
            rows = self._rows.all(f"SELECT id, status FROM tasks WHERE id IN ({marks})", part)
            found |= {row["id"]: Status(row["status"]) for row in rows}
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
        values["seq"] = self._last_seq
        values["gates"] = self._gates(values)
        values["lane_id"] = self._lane(values)
        values["created_at"] = values["updated_at"] = self._at
        data = {
            name: fields[name] for name in ("title", "epic_id", "priority", "complexity", "origin") if name in fields
        }
        values["event_head"] = self._events.insert("task.created", fields["id"], data, "")
        self._insert("tasks", values)
        self._label(values["seq"], fields["id"], fields.get("labels", ()))
        task = await self.find(fields["id"])
        assert task is not None  # noqa: S101 - it was inserted above
        return task

    async def change(self, task: Task, kind: str, fields: Mapping[str, Any], data: Mapping[str, Any]) -> Task:
        if "status" in fields and fields["status"] != task.status:
            check_move(task.id, task.status, fields["status"])
            data = {"from": task.status, "to": fields["status"], **data}
        redacted = {name: redact(fields[name]) for name in _QUOTED & fields.keys() if fields[name] is not None}
        fields = {**fields, **redacted} if redacted else fields
        values = encoded_all(fields)
        if values.keys() & {"not_before", "requires_approval", "approved_at"} or "parent_id" in values:
            values["gates"] = self._gates({**_gating(task), **values})
        if values.keys() & {"epic_id", "capabilities", "files"}:
            lane = encoded_all({"epic_id": task.epic_id, "capabilities": task.capabilities, "files": task.files})
            values["lane_id"] = self._lane({**lane, **values})
        head = self._events.insert(kind, task.id, data, self._events.head(task.id, task.event_head))
        values["event_head"] = head
        values["updated_at"] = self._at
        values["version"] = task.version + 1
        self._rows.put(
            f"UPDATE tasks SET {', '.join(f'{name} = :{name}' for name in values)} WHERE id = :this",
            {**values, "this": task.id},
        )
        if "labels" in fields:
            self._rows.put("DELETE FROM task_labels WHERE task_id = ? AND seq = ?", (task.id, task.seq))
            self._label(task.seq, task.id, fields["labels"])
        changed = {**fields, "version": values["version"], "event_head": head, "updated_at": self._now}
        for name in ("gates", "lane_id"):
            if name in values:
                changed[name] = values[name]
        return task.model_copy(update=changed)

    def _gates(self, values: Mapping[str, Any]) -> int:
        gates = 0
        if values.get("not_before") and values["not_before"] > self._at:
            gates |= GATE_BITS[Gate.NOT_BEFORE]
        if values.get("requires_approval") and not values.get("approved_at"):
            gates |= GATE_BITS[Gate.APPROVAL]
        if values.get("open_children"):
            gates |= GATE_BITS[Gate.CHILDREN]
        return gates

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
        for other in on:
            self._rows.put(
                "DELETE FROM task_dependencies WHERE task_id = ? AND depends_on_task_id = ?", (task_id, other)
            )
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


def _gating(task: Task) -> dict[str, Any]:
    return encoded_all(
        {
            "not_before": task.not_before,
            "requires_approval": task.requires_approval,
            "approved_at": task.approved_at,
            "open_children": task.open_children,
        }
    )
