"""Tasks, epics and milestones of the virtual store."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from wvo_mcp.domain.task import GATE_BITS, Gate, Origin, Priority, Status, Task, TaskType, check_move
from wvo_mcp.errors import NotFound
from wvo_mcp.store.virtual.world import Record, World, altered

_GATING = frozenset({"not_before", "requires_approval", "approved_at", "parent_id"})
_LISTS = frozenset({"labels", "files", "capabilities", "acceptance"})
_NONE = (
    "epic_id", "milestone_id", "parent_id", "business_value", "approved_at", "not_before", "assigned_to", "session_id",
    "lease_expires_at", "lease_seconds", "progress", "blocked_reason", "block_author", "last_error", "started_at",
    "finished_at",
)  # fmt: skip
_ZERO = (
    "unmet_deps", "open_children", "gates", "lane_id", "lease_token", "attempts", "expiries", "tail",
)  # fmt: skip
_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(_NONE),
    **dict.fromkeys(_ZERO, 0),
    **dict.fromkeys(_LISTS, ()),
    "description": "",
    "type": TaskType.OTHER,
    "status": Status.PENDING,
    "priority": Priority.MEDIUM,
    "complexity": 5,
    "score": 0.0,
    "bundle_value": 0.0,
    "bundle_size": 1.0,
    "heard_value": 0.0,
    "heard_size": 1.0,
    "requires_approval": False,
    "max_attempts": 3,
    "origin": Origin.AGENT,
    "version": 1,
    "event_head": "",
}


class VirtualTasks:
    """`ports.TaskRepository`."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def find(self, task_id: str) -> Task | None:
        record = self._world.records.get(task_id)
        return None if record is None else record.present()

    async def get(self, task_id: str, field: str = "task_id") -> Task:
        record = self._world.records.get(task_id)
        if record is None:
            raise NotFound("task", task_id, await self.near(task_id), field=field)
        return record.present()

    async def known(self, task_ids: Iterable[str]) -> set[str]:
        return {task_id for task_id in task_ids if task_id in self._world.records}

    async def near(self, wanted: str) -> list[str]:
        folded = {task_id.casefold(): task_id for task_id in self._world.records}
        return [folded[name] for name in difflib.get_close_matches(wanted.casefold(), folded, n=5, cutoff=0.6)]

    async def add(self, fields: Mapping[str, Any]) -> Task:
        world = self._world
        now = world.now
        given = {name: tuple(value) if name in _LISTS else value for name, value in fields.items()}
        values: dict[str, Any] = {**_DEFAULTS, **given, "created_at": now, "updated_at": now}
        values["seq"] = len(world.records) + 1
        values.setdefault("metadata", {})
        values["gates"] = self._gates(values)
        world.events["task.created"] += 1
        record = world.put(Task.model_validate(values))
        record.behind = True  # its lane has a number now
        return record.present()

    async def change(self, task: Task, kind: str, fields: Mapping[str, Any], data: Mapping[str, Any]) -> Task:
        status = fields.get("status")
        if status is not None and status is not task.status:
            check_move(task.id, task.status, status)
        world = self._world
        record = world.records[task.id]
        changed = {**fields, "version": task.version + 1, "updated_at": world.now}
        for name in _LISTS & fields.keys():
            changed[name] = tuple(fields[name])
        world.events[kind] += 1
        fresh = altered(record.present(), changed)
        if not _GATING.isdisjoint(fields):
            gates = self._gates(fresh.__dict__ | {"open_children": record.children})
            if gates != record.gates:
                record.gates = gates
        world.change(record, fresh)
        return record.present()

    def _gates(self, values: Mapping[str, Any]) -> int:
        gates = 0
        if values["not_before"] is not None and values["not_before"] > self._world.now:
            gates |= GATE_BITS[Gate.NOT_BEFORE]
        if values["requires_approval"] and values["approved_at"] is None:
            gates |= GATE_BITS[Gate.APPROVAL]
        if values["open_children"]:
            gates |= GATE_BITS[Gate.CHILDREN]
        return gates

    # Links.

    async def dependencies(self, task_id: str) -> list[dict[str, Any]]:
        found = [self._world.records[other].task for other in sorted(self._world.needs.get(task_id, ()))]
        return [{"id": task.id, "status": task.status.value, "title": task.title} for task in found]

    async def dependents(self, task_id: str, limit: int) -> list[dict[str, Any]]:
        found = [self._world.records[other] for other in sorted(self._world.needed_by.get(task_id, ()))[:limit]]
        return [
            {"id": one.task.id, "status": one.task.status.value, "unmet_deps": one.unmet, "gates": one.gates}
            for one in found
        ]

    async def unmet(self, task_id: str) -> list[str]:
        return [row["id"] for row in await self.dependencies(task_id) if row["status"] != Status.DONE]

    async def add_dependencies(self, task_id: str, on: Sequence[str]) -> None:
        world = self._world
        needs = world.needs.setdefault(task_id, [])
        record = world.records[task_id]
        for other in on:
            if other not in needs:
                needs.append(other)
                world.needed_by.setdefault(other, []).append(task_id)
                if world.records[other].task.status is not Status.DONE:
                    world.unmet(record, 1)

    async def remove_dependencies(self, task_id: str, on: Sequence[str]) -> None:
        world = self._world
        needs = world.needs.get(task_id, [])
        for other in on:
            if other in needs:
                needs.remove(other)
                world.needed_by[other].remove(task_id)
                if world.records[other].task.status is not Status.DONE:
                    world.unmet(world.records[task_id], -1)

    async def settle_dependents(self, task_id: str, *, done: bool) -> None:
        world = self._world
        for other in world.needed_by.get(task_id, ()):
            world.unmet(world.records[other], -1 if done else 1)

    async def open_children(self, task_id: str) -> list[str]:
        parts = self._world.parts.get(task_id, ())
        return sorted(part for part in parts if self._world.records[part].open)[:100]

    async def waits(self, task_id: str) -> list[str]:
        waits = self._world.waits.get(task_id, ())
        return sorted(other for other in waits if self._world.records[other].task.status is not Status.DONE)

    async def set_waits(self, task_id: str, on: Sequence[str]) -> None:
        world = self._world
        for other in world.waits.pop(task_id, ()):
            world.waited_for[other].pop(task_id, None)
        if on:
            world.waits[task_id] = list(on)
            for other in on:
                world.waited_for.setdefault(other, {})[task_id] = None

    # Groups.

    async def ensure_epic(self, epic_id: str, title: str | None = None, wip_limit: int | None = None) -> bool:
        if epic_id in self._world.epics:
            return False
        epic = {"id": epic_id, "title": title or epic_id, "wip_limit": wip_limit, "in_progress": 0}
        self._world.epics[epic_id] = epic
        return True

    async def epic(self, epic_id: str) -> dict[str, Any] | None:
        return self._world.epics.get(epic_id)

    async def change_epic(self, epic_id: str, fields: Mapping[str, Any]) -> None:
        self._world.epics[epic_id].update(fields)

    async def epics(self) -> list[dict[str, Any]]:
        return [dict(epic) for epic in self._world.epics.values()]

    async def milestones(self) -> list[dict[str, Any]]:
        return [dict(one) for one in self._world.milestones.values()]

    async def milestone(self, milestone_id: str) -> dict[str, Any] | None:
        return self._world.milestones.get(milestone_id)

    async def near_milestones(self, wanted: str) -> list[str]:
        return difflib.get_close_matches(wanted, self._world.milestones, n=5, cutoff=0.5)

    async def put_milestone(self, milestone_id: str, fields: Mapping[str, Any]) -> None:
        new = {"id": milestone_id, "epic_id": None, "title": milestone_id, "due_at": None}
        self._world.milestones.setdefault(milestone_id, new).update(fields)

    async def of_milestone(self, milestone_id: str) -> list[str]:
        return sorted(one.task.id for one in self._world.records.values() if one.task.milestone_id == milestone_id)

    # Lists.

    async def page(self, where: Mapping[str, Any], after: int, limit: int) -> list[Task]:
        found: list[Task] = []
        for record in self._matching(where):
            if record.task.seq > after:
                found.append(record.present())
                if len(found) == limit:
                    break
        return found

    async def count(self, where: Mapping[str, Any], limit: int) -> int:
        return min(limit, sum(1 for _ in self._matching(where)))

    def _matching(self, where: Mapping[str, Any]) -> Iterator[Record]:
        """In order of creation, for that is the order in which they were put. Texts are not searched here."""
        wanted = {
            "assigned_to" if name == "agent_id" else name: value for name, value in where.items() if name != "label"
        }
        label = where.get("label")
        for record in self._world.records.values():
            task = record.task
            if (label is None or label in task.labels) and all(getattr(task, name) == wanted[name] for name in wanted):
                yield record

    async def stranded(self, limit: int) -> list[dict[str, Any]]:
        world = self._world
        found: list[dict[str, Any]] = []
        for record in world.records.values():
            if record.task.status in (Status.CANCELLED, Status.FAILED):
                behind = [other for other in world.needed_by.get(record.task.id, ()) if world.records[other].open]
                behind += world.waited_for.get(record.task.id, {})
                found += [{"id": other, "waiting_for": record.task.id} for other in behind]
        return sorted(found, key=lambda row: (row["id"], row["waiting_for"]))[:limit]

    async def counts(self) -> dict[str, int]:
        return dict(self._world.counts)
