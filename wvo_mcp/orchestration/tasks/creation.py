"""New tasks: all of a batch or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wvo_mcp.domain.dependency import find_cycle, in_order
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import Origin
from wvo_mcp.errors import Conflict, DependencyCycle, NotFound
from wvo_mcp.orchestration.tasks.lifecycle import check_no_cycle, existing
from wvo_mcp.ports import Transaction


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
    await _check(tx, drafts)
    by_id = {draft.id: draft for draft in drafts}
    # Parents first, so that a child finds its parent's row; the order given decides the rest.
    for task_id in in_order({d.id: [d.parent_id] if d.parent_id in by_id else [] for d in drafts}):
        draft = by_id[task_id]
        if draft.fields.get("epic_id") is not None:
            await tx.tasks.ensure_epic(draft.fields["epic_id"])
        await tx.tasks.add({**draft.fields, "id": draft.id, "parent_id": draft.parent_id, "origin": origin})
    for draft in drafts:
        if draft.depends_on:
            await tx.tasks.add_dependencies(draft.id, list(dict.fromkeys(draft.depends_on)))
    for draft in drafts:
        # Only through a parent that exists already can something old come to wait for something new.
        if draft.parent_id is not None and draft.parent_id not in by_id:
            await check_no_cycle(tx, draft.parent_id, [draft.id])
    await tx.graph.added([draft.id for draft in drafts])
    return [draft.id for draft in drafts]


async def _check(tx: Transaction, drafts: Sequence[Draft]) -> None:
    new: set[str] = set()
    for place, draft in enumerate(drafts):
        if draft.id in new:
            raise Conflict(f"Duplicate id {draft.id} in this call.", field=f"tasks.{place}.id", id=draft.id)
        new.add(draft.id)
    taken = await tx.tasks.known(new)
    for place, draft in enumerate(drafts):
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
