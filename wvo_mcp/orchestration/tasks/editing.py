"""New tasks, all of a batch or none; and changes of a task that need no lease."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from wvo_mcp.domain.dependency import find_cycle, in_order
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import BlockAuthor, Origin, Status, Task
from wvo_mcp.errors import Conflict, DependencyCycle, Forbidden, IllegalTransition, NotFound
from wvo_mcp.orchestration.tasks import asked, lifecycle
from wvo_mcp.orchestration.tasks.lifecycle import check_no_cycle, existing
from wvo_mcp.ports import Transaction

_GUARDED = ("acceptance", "files", "max_attempts", "requires_approval")
"""What work is judged by: agents set it for tasks of their own making only."""
_JUDGED = (*_GUARDED, "capabilities", "epic_id")
"""What a claim was judged by: limits of the epic, files, the agent; and the promise of further attempts."""
_HELD = (Status.IN_PROGRESS, Status.IN_REVIEW, Status.AWAITING_APPROVAL)
_APPROVED = ("title", "description", "acceptance", "files")
_SCORING = frozenset({"priority", "complexity", "business_value", "milestone_id"})
_RECOVERY = {
    Status.BLOCKED: "task.unblocked",
    Status.FAILED: "task.retried",
    Status.DONE: "task.reopened",
    Status.CANCELLED: "task.restored",
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A task to be created: its columns (without id and links), and what it waits for."""

    id: str
    fields: Mapping[str, Any]
    depends_on: Sequence[str] = field(default_factory=tuple[str, ...])
    parent_id: str | None = None


def origin_of(caller: Caller) -> Origin:
    """Who made what this caller creates."""
    return Origin.HUMAN if caller.person else Origin.AGENT


async def create(tx: Transaction, drafts: Sequence[Draft], origin: Origin) -> list[str]:
    """Insert the tasks with their links; unknown epics are made. The ids, in the order given.

    Raises Conflict (an id exists or is duplicate), NotFound (a milestone, parent or dependency), DependencyCycle.
    """
    if tx.caller.admitted is not None:
        from wvo_mcp.orchestration.tasks import admission  # only workers are admitted

        await admission.check_below(tx, tx.caller.admitted, [(draft.parent_id, draft.id) for draft in drafts])
    await _check_new(tx, drafts)
    by_id = {draft.id: draft for draft in drafts}
    # Parents first, so that a child finds its parent's row; the order given decides the rest.
    for task_id in in_order({d.id: [d.parent_id] if d.parent_id in by_id else [] for d in drafts}):
        draft = by_id[task_id]
        if draft.fields.get("epic_id") is not None:
            await tx.tasks.ensure_epic(draft.fields["epic_id"])
        made = await tx.tasks.add({**draft.fields, "id": draft.id, "parent_id": draft.parent_id, "origin": origin})
        if made.requires_approval:
            await asked.gate(tx, made)
    for draft in drafts:
        if draft.depends_on:
            await tx.tasks.add_dependencies(draft.id, list(dict.fromkeys(draft.depends_on)))
    for draft in drafts:
        # Only through a parent that exists already can something old come to wait for something new.
        if draft.parent_id is not None and draft.parent_id not in by_id:
            await check_no_cycle(tx, draft.parent_id, [draft.id])
    await tx.graph.added([draft.id for draft in drafts])
    return [draft.id for draft in drafts]


async def _check_new(tx: Transaction, drafts: Sequence[Draft]) -> None:
    new = {draft.id for draft in drafts}
    taken = await tx.tasks.known(new)
    seen: set[str] = set()
    for place, draft in enumerate(drafts):
        if draft.id in seen:
            raise Conflict(f"Duplicate id {draft.id} in this call.", field=f"tasks.{place}.id", id=draft.id)
        seen.add(draft.id)
        if draft.id in taken:
            raise Conflict(
                f"A task {draft.id} exists already.",
                hint="Use another id, or update_task to change the task that is there.",
                field=f"tasks.{place}.id",
                id=draft.id,
            )
        milestone_id = draft.fields.get("milestone_id")
        if milestone_id is not None and await tx.tasks.milestone(milestone_id) is None:
            near = await tx.tasks.near_milestones(milestone_id)
            raise NotFound("milestone", milestone_id, near, field=f"tasks.{place}.milestone_id")
        await existing(tx, [d for d in draft.depends_on if d not in new], f"tasks.{place}.depends_on")
        if draft.parent_id is not None and draft.parent_id not in new:
            await existing(tx, [draft.parent_id], f"tasks.{place}.parent_id")
    waits: dict[str, list[str]] = {draft.id: list(draft.depends_on) for draft in drafts}
    for draft in drafts:
        if draft.parent_id is not None:
            waits.setdefault(draft.parent_id, []).append(draft.id)
    cycle = find_cycle(waits)
    if cycle is not None:
        raise DependencyCycle(cycle)


@dataclass(frozen=True, slots=True)
class Edit:
    """What to change: columns as given, dependencies to set (None: leave), add and remove, a status to move to."""

    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    depends_on: Sequence[str] | None = None
    add_depends_on: Sequence[str] = ()
    remove_depends_on: Sequence[str] = ()
    status: Status | None = None
    reason: str | None = None
    expected_version: int | None = None


async def update(tx: Transaction, task_id: str, edit: Edit) -> Task:
    """Apply the edit, all of it or nothing. Raises NotFound, Conflict, DependencyCycle, IllegalTransition, Forbidden."""
    task = await tx.tasks.get(task_id)
    if edit.expected_version is not None and edit.expected_version != task.version:
        raise Conflict(
            f"Task {task_id} has version {task.version}, not {edit.expected_version}.",
            expected=edit.expected_version,
            version=task.version,
        )
    if task.requires_approval and edit.fields.get("requires_approval") is False and not tx.caller.person:
        raise Forbidden(f"Task {task_id} requires an approval: only people lift that.")
    fields = dict(edit.fields)
    if not tx.caller.person:
        _check_judged(task, fields)
        if task.approved_at is not None and any(fields.get(n, getattr(task, n)) != getattr(task, n) for n in _APPROVED):
            fields["approved_at"] = None  # people approved what it said before
    await change_fields(tx, task, fields)
    await change_links(tx, task, edit, by_people=tx.caller.person)
    if edit.status is not None and edit.status is not task.status:
        await set_status(tx, await tx.tasks.get(task_id), edit.status, edit.reason)
    return await tx.tasks.get(task_id)


def _check_judged(task: Task, fields: Mapping[str, Any]) -> None:
    """Raises Forbidden when an agent would change what the work on a task that people made is judged by, and Conflict when a
    claim was judged by a field that would change while the task is held."""
    judged = sorted(name for name in _JUDGED if name in fields and fields[name] != getattr(task, name))
    guarded = [name for name in _GUARDED if name in judged]
    if guarded and task.origin is not Origin.AGENT:
        author = "comes from the roadmap" if task.origin is Origin.ROADMAP else "was added by a person"
        raise Forbidden(
            f"Task {task.id} {author}: only people change its {', '.join(guarded)}.",
            hint="Ask a person; put work that is missing into create_tasks.",
            fields=guarded,
        )
    if task.status in _HELD and judged:
        raise Conflict(
            f"Task {task.id} is {task.status}: {', '.join(judged)} cannot change before it is released.",
            hint="Release the task first, or ask the person who owns the roadmap.",
            fields=judged,
        )


async def change_fields(tx: Transaction, task: Task, fields: Mapping[str, Any]) -> None:
    """Write the columns that differ; the score follows. Raises NotFound, DependencyCycle."""
    changed = {name: value for name, value in fields.items() if getattr(task, name) != value}
    if not changed:
        return
    if changed.get("epic_id") is not None:
        await tx.tasks.ensure_epic(changed["epic_id"])
    milestone_id = changed.get("milestone_id")
    if milestone_id is not None and await tx.tasks.milestone(milestone_id) is None:
        raise NotFound("milestone", milestone_id, await tx.tasks.near_milestones(milestone_id), field="milestone_id")
    parent_id = changed.get("parent_id")
    if parent_id is not None:
        await existing(tx, [parent_id], "parent_id")
        await check_no_cycle(tx, parent_id, [task.id])
    before = {name: getattr(task, name) for name in changed}
    # What is overwritten stays whole in the trail: nothing that was written is ever lost.
    data = {"before": _plain(before), "after": _plain(changed, 500)}
    after = await tx.tasks.change(task, "task.updated", changed, data)
    if task.requires_approval or after.requires_approval:
        await asked.follow(tx, task, after)
    if changed.keys() & _SCORING:
        await tx.graph.rescore([task.id])
    if "parent_id" in changed:
        await tx.graph.moved(task.id, [one for one in (task.parent_id, parent_id) if one is not None])


async def change_links(tx: Transaction, task: Task, edit: Edit, *, by_people: bool) -> None:
    """Set, add and remove dependencies; the audit names the edges. People may, in the roadmap too, let a task wait for others
    that is done, cancelled or in progress. Raises NotFound, Conflict, DependencyCycle."""
    present = [row["id"] for row in await tx.tasks.dependencies(task.id)]
    add = list(edit.add_depends_on)
    remove = list(edit.remove_depends_on)
    if edit.depends_on is not None:
        add += [other for other in edit.depends_on if other not in present]
        remove += [other for other in present if other not in edit.depends_on]
    add = [other for other in dict.fromkeys(add) if other not in present]
    remove = [other for other in dict.fromkeys(remove) if other in present]
    await existing(tx, add, "add_depends_on" if edit.depends_on is None else "depends_on")
    await existing(tx, edit.remove_depends_on, "remove_depends_on")
    if not add and not remove:
        return
    if add and task.status in (Status.DONE, Status.CANCELLED) and not by_people:
        raise Conflict(
            f"Task {task.id} is {task.status}; dependencies can no longer be added.",
            hint="Reopen it first (update_task with status pending and a reason).",
        )
    if add and task.status is Status.IN_PROGRESS and not by_people:
        open_ones = [other for other in add if (await tx.tasks.get(other, "add_depends_on")).status is not Status.DONE]
        if open_ones:
            raise Conflict(
                f"Task {task.id} is in progress and {', '.join(open_ones[:5])} not done.",
                hint="If it cannot go on without, call block_task with waiting_for.",
            )
    if remove:
        await tx.tasks.remove_dependencies(task.id, remove)
        await tx.graph.relinked(task.id, remove)
    if add:
        await check_no_cycle(tx, task.id, add)
        await tx.tasks.add_dependencies(task.id, add)
        await tx.graph.relinked(task.id, add)
    fresh = await tx.tasks.get(task.id)
    await tx.tasks.change(fresh, "task.linked", {}, {"added": add, "removed": remove})


async def set_status(tx: Transaction, task: Task, to: Status, reason: str | None) -> lifecycle.Moved:
    """The moves that need no lease. What belongs to a holder, a reviewer or a person is refused with the way to go."""
    origin = task.status
    if origin is Status.BLOCKED and task.block_author is not BlockAuthor.HOLDER and not tx.caller.person:
        raise Forbidden(
            f"Task {task.id} is blocked, and that was set by {task.block_author}: only people lift it.",
            hint="Ask a person, and take other work meanwhile.",
            block_author=task.block_author,
        )
    if to is Status.BLOCKED and origin is Status.PENDING:
        return await lifecycle.block(tx, task, lifecycle.require_reason(reason, "say why it is blocked"), [])
    if to is Status.CANCELLED:
        if origin in _HELD and not tx.caller.person:
            raise Forbidden(f"Task {task.id} is {origin}: only people and the roadmap cancel work in progress.")
        by = None if tx.caller.person else {"metadata": {**task.metadata, "cancelled_by": "agent"}}
        return await lifecycle.move(tx, task, to, "task.cancelled", by, {"reason": reason} if reason else None)
    if to is Status.PENDING and origin in _RECOVERY:
        if origin is Status.DONE:
            lifecycle.require_reason(reason, "say why a finished task is opened again")
        return await lifecycle.recover(tx, task, _RECOVERY[origin], reason)
    if to is Status.PENDING and origin is Status.AWAITING_APPROVAL and not tx.caller.person:
        raise Forbidden(f"Task {task.id} awaits the decision of a person.")
    hint = "Use the tool of that move: claim_task, complete_task, fail_task, release_task or block_task."
    raise IllegalTransition(task.id, origin, to, hint=hint)


def _plain(values: Mapping[str, Any], most: int | None = None) -> dict[str, Any]:
    """Values as the audit trail keeps them: texts cut at `most` characters, times and enums as text."""

    def plain(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return list(map(plain, cast("Sequence[Any]", value)))
        return value if value is None or isinstance(value, (bool, int, float)) else str(value)[:most]

    return {name: plain(value) for name, value in values.items()}
