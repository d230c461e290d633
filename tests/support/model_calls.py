"""The calls of the contract, played on the model: what each must answer, and what it leaves behind."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.support.model import ModelTask, Refused, World
from wvo_mcp.domain.lease import Caller

SETTLED = ("done", "cancelled")
ILLEGAL = "illegal_transition"


def overlapping(one: Sequence[str], other: Sequence[str]) -> bool:
    """For the scopes that the machine uses: everything in src meets, and equals meet."""
    return any(a.split("/")[0] == b.split("/")[0] for a in one for b in other)


class Claims:
    """claim_task, with and without an id."""

    def __init__(self, world: World, caller: Caller, label: str, lease_seconds: int | None) -> None:
        self.world = world
        self.caller = caller
        self.label = label
        self.length = lease_seconds or world.policy.lease_seconds
        world.record(caller)
        world.offline[label] = False
        world.reap(caller.session_id)

    def best(self) -> tuple[str | None, str | None]:
        """(task, None) or (None, reason)."""
        world = self.world
        if world.paused:
            return None, "paused"
        own = sorted(world.in_progress(agent=self.label), key=lambda t: (t.started_at or world.now, t.id))
        for task in own:
            if world.sessions[task.session or ""].ended:
                return self._grant(task), None
        if len(own) >= world.policy.agent_wip_limit:
            return None, "agent_wip_limit"
        if len(world.in_progress()) >= world.policy.wip_limit:
            return None, "wip_limit"
        for task in world.ranked():
            mine = world.kept_for(task, self.label) and not world.shut(task) and not world.full(task.epic)
            if mine and self._able(task) and not self._conflict(task):
                return self._grant(task), None
        fitting = [t for t in world.ranked() if not world.gated(t) and self._able(t) and not self._conflict(t)]
        for task in fitting:
            if not world.full(task.epic):
                return self._grant(task), None
        return None, "epic_wip_limit" if fitting else "no_ready_tasks"

    def named(self, task_id: str) -> str:
        world = self.world
        task = world.get(task_id)
        if world.paused:
            raise Refused("paused")
        if task.status == "in_progress":
            if task.agent == self.label and world.gone(task.session or ""):
                return self._grant(task)
            raise Refused("already_claimed")
        mine = task.status == "pending" and not world.unmet(task) and not world.shut(task)
        mine = mine and world.kept_for(task, self.label)
        if not (world.ready(task) or mine) or not self._able(task):
            raise Refused("not_ready")
        if (
            len(world.in_progress(agent=self.label)) >= world.policy.agent_wip_limit
            or len(world.in_progress()) >= world.policy.wip_limit
            or world.full(task.epic)
        ):
            raise Refused("wip_limit")
        if self._conflict(task):
            raise Refused("reservation_conflict")
        return self._grant(task)

    def _able(self, task: ModelTask) -> bool:
        return set(task.capabilities) <= set(self.caller.capabilities)

    def _conflict(self, task: ModelTask) -> bool:
        return any(overlapping(task.files, other.files) for other in self.world.in_progress())

    def _grant(self, task: ModelTask) -> str:
        world = self.world
        task.status = "in_progress"
        task.kept_for = task.kept_until = None
        task.agent = self.label
        task.session = self.caller.session_id
        task.token += 1
        task.length = self.length
        task.until = world.now + timedelta(seconds=self.length)
        task.started_at = task.started_at or world.now
        task.claimed_by.add(self.caller.session_id)
        return task.id


def held(world: World, caller: Caller, task_id: str, token: int | None, *, moves: bool) -> ModelTask:
    """The task of a holder's write. Raises Refused."""
    world.record(caller)
    task = world.get(task_id)
    if task.status != "in_progress":
        mine = caller.session_id in task.claimed_by
        raise Refused(ILLEGAL if token is None and moves and not mine else "stale_lease")
    if token is not None and token != task.token:
        raise Refused("stale_lease")
    if task.session != caller.session_id:
        holder = world.sessions[task.session or ""]
        own = caller.agent_id in (task.agent, holder.agent)
        if token is None or not own or not world.gone(task.session or ""):
            raise Refused("stale_lease")
        task.session = caller.session_id
    return task


def write(
    world: World, caller: Caller, tool: str, task_id: str, token: int | None, retry: bool, waits: list[str]
) -> set[str]:
    """Any write of a holder; the ids unlocked by complete_task."""
    if tool == "block_task" and world.get(task_id).status == "pending" and token is None:
        world.record(caller)
        world.block(caller, world.get(task_id), waits)
        return set()
    task = held(world, caller, task_id, token, moves=tool not in ("heartbeat", "checkpoint"))
    if tool in ("heartbeat", "checkpoint"):
        renew(world, task)
    elif tool == "complete_task":
        return world.move(task, "done")
    elif tool == "fail_task":
        world.fail(task, retry)
    elif tool == "release_task":
        world.move(task, "pending")
    else:
        world.block(caller, task, waits)
    return set()


def renew(world: World, task: ModelTask) -> None:
    assert task.until is not None
    task.until = max(task.until, world.now + timedelta(seconds=task.length))


def create(world: World, caller: Caller, drafts: Sequence[Mapping[str, Any]]) -> None:
    """A batch of new tasks, all or nothing."""
    world.record(caller)
    codes: set[str] = set()
    ids = [draft["id"] for draft in drafts]
    if len(set(ids)) < len(ids) or set(ids) & world.tasks.keys():
        codes.add("conflict")
    known = world.tasks.keys() | set(ids)
    for draft in drafts:
        wanted = {*draft.get("depends_on", ()), *([draft["parent_id"]] if draft.get("parent_id") else [])}
        if wanted - known or ("milestone_id" in draft and draft["milestone_id"] not in world.milestones):
            codes.add("not_found")
        _epic(world, draft.get("epic_id"))
        task = ModelTask(draft["id"], world.now, by_person=caller.person, depends_on=set(draft.get("depends_on", ())))
        world.tasks.setdefault(task.id, task)
        set_fields(task, draft)
    if not codes & {"conflict"} and world.circular():
        codes.add("dependency_cycle")
    if codes:
        raise Refused(*codes)
    world.scored(world.tasks[task_id] for task_id in ids)


FIELDS = {
    "epic_id": "epic", "milestone_id": "milestone", "parent_id": "parent", "priority": "priority",
    "complexity": "complexity", "business_value": "business_value", "files": "files", "capabilities": "capabilities",
    "requires_approval": "requires_approval", "not_before": "not_before", "max_attempts": "max_attempts",
}  # fmt: skip


def set_fields(task: ModelTask, given: Mapping[str, Any]) -> None:
    for name, attribute in FIELDS.items():
        if name in given:
            setattr(task, attribute, _value(name, given[name]))


def _value(name: str, given: Any) -> Any:
    if name == "not_before":
        return None if given is None else datetime.fromisoformat(given)
    return tuple(given) if name in ("files", "capabilities") else given


def _epic(world: World, epic: str | None) -> None:
    if epic is not None:
        world.epics.setdefault(epic, None)


def edit(world: World, caller: Caller, task_id: str, given: Mapping[str, Any]) -> None:
    """update_task with fields of the task."""
    world.record(caller)
    task = world.get(task_id)
    if task.requires_approval and given.get("requires_approval") is False and not caller.person:
        raise Refused("forbidden")
    guarded = ("files", "max_attempts", "requires_approval")
    moved = {n for n in FIELDS if n in given and getattr(task, FIELDS[n]) != _value(n, given[n])}
    if task.by_person and not caller.person and moved & {*guarded}:
        raise Refused("forbidden")
    held = task.status in ("in_progress", "in_review", "awaiting_approval")
    if held and not caller.person and moved & {*guarded, "capabilities", "epic_id"}:
        raise Refused("conflict")
    if given.get("milestone_id") is not None and given["milestone_id"] not in world.milestones:
        raise Refused("not_found")
    if given.get("parent_id") is not None:
        world.get(given["parent_id"])
    _epic(world, given.get("epic_id"))
    scoring = ("priority", "complexity", "business_value", "milestone_id")
    before = [getattr(task, FIELDS[name]) for name in scoring]
    set_fields(task, given)
    if world.circular():
        raise Refused("dependency_cycle")
    if before != [getattr(task, FIELDS[name]) for name in scoring]:
        world.scored([task])


def relink(world: World, caller: Caller, task_id: str, add: set[str], remove: set[str]) -> None:
    """update_task with add_depends_on and remove_depends_on."""
    world.record(caller)
    task = world.get(task_id)
    for other in add - task.depends_on:
        world.get(other)
    for other in remove:
        world.get(other)
    remove = remove & task.depends_on
    add = add - task.depends_on
    unmet = [other for other in add if world.tasks[other].status != "done"]
    if task.status == "in_progress" and not caller.person and unmet:
        raise Refused("conflict")
    if add and task.status in ("done", "cancelled") and not caller.person:
        raise Refused("conflict")
    task.depends_on = (task.depends_on - remove) | add
    if world.circular():
        raise Refused("dependency_cycle")


def set_status(world: World, caller: Caller, task_id: str, to: str, reason: str | None) -> None:
    """update_task with a status."""
    world.record(caller)
    task = world.get(task_id)
    origin = task.status
    if origin == to:
        return
    if origin == "blocked" and task.block_author != "holder" and not caller.person:
        raise Refused("forbidden")
    if to == "blocked" and origin == "pending":
        if reason is None:
            raise Refused("invalid_input")
        world.block(caller, task, [])
    elif to == "cancelled" and origin not in ("done", "cancelled"):
        if origin in ("in_progress", "in_review", "awaiting_approval") and not caller.person:
            raise Refused("forbidden")
        world.move(task, "cancelled")
    elif to == "pending" and origin in ("blocked", "failed", "done", "cancelled"):
        if origin == "done" and reason is None:
            raise Refused("invalid_input")
        world.recover(task)
    elif to == "pending" and origin == "awaiting_approval" and not caller.person:
        raise Refused("forbidden")
    else:
        raise Refused(ILLEGAL)


def approve(world: World, caller: Caller, task_id: str) -> None:
    world.record(caller)
    task = world.get(task_id)
    if task.status == "awaiting_approval":
        world.move(task, "pending")
    elif not task.requires_approval or task.status in ("done", "cancelled"):
        raise Refused(ILLEGAL)
    task.approved = True


def deny(world: World, caller: Caller, task_id: str) -> None:
    world.record(caller)
    task = world.get(task_id)
    if not task.requires_approval and task.status != "awaiting_approval":
        raise Refused(ILLEGAL)
    if task.status not in ("pending", "in_progress", "in_review", "awaiting_approval"):
        raise Refused(ILLEGAL)
    task.approved = False
    task.requires_approval = True
    world.move(task, "blocked", "approval")


def rescore(world: World) -> None:
    """The leader's round over what comes nearer to its due date: no worth is left further behind than a fiftieth."""
    for task in world.tasks.values():
        if task.status not in SETTLED and task.milestone is not None and world.milestones[task.milestone] is not None:
            now = world.weight_at(task, world.now)
            since = range(task.scored_since, len(world.times))
            task.scored_since = min(n for n in since if now - world.weight_at(task, world.times[n]) <= 0.021 * now)
