"""The plan to simulate: rows of a store, and how they are copied into an empty one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wvo_mcp.domain.task import Origin, Status, Task
from wvo_mcp.orchestration.plan.roadmap import COLUMNS
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.orchestration.tasks.creation import Draft, create
from wvo_mcp.ports import Transaction

_COLUMNS = [*(name for name in COLUMNS if name != "parent_id"), "approved_at", "attempts", "expiries"]


@dataclass(frozen=True, slots=True)
class PlanRows:
    """Tasks by `seq`; edges are (task, what it depends on); `waits`: what blocked tasks wait for."""

    tasks: Sequence[Task]
    edges: Sequence[tuple[str, str]]
    epics: Sequence[Mapping[str, Any]]
    milestones: Sequence[Mapping[str, Any]]
    waits: Mapping[str, Sequence[str]]


async def rows(tx: Transaction) -> PlanRows:
    """All of the store."""
    tasks = await tx.state.roadmap_tasks()
    blocked = [task.id for task in tasks if task.status is Status.BLOCKED]
    return PlanRows(
        tasks=tasks,
        edges=await tx.state.dependency_edges(),
        epics=await tx.tasks.epics(),
        milestones=await tx.tasks.milestones(),
        waits={task_id: await tx.tasks.waits(task_id) for task_id in blocked},
    )


async def load(tx: Transaction, plan: PlanRows) -> None:
    """What is not done, into an empty store. Work in progress has not begun: its holders are no part of a simulation."""
    for epic in plan.epics:
        await tx.tasks.ensure_epic(epic["id"], epic["title"], epic["wip_limit"])
    for milestone in plan.milestones:
        await tx.tasks.put_milestone(milestone["id"], {"title": milestone["title"], "due_at": milestone["due_at"]})
    kept = {task.id: task for task in plan.tasks if task.status is not Status.DONE}
    depends_on: dict[str, list[str]] = {}
    for task_id, other in plan.edges:
        if other in kept:
            depends_on.setdefault(task_id, []).append(other)
    drafts: list[Draft] = []
    for task in kept.values():
        fields = {name: getattr(task, name) for name in _COLUMNS}
        parent_id = task.parent_id if task.parent_id in kept else None
        drafts.append(Draft(task.id, fields, depends_on.get(task.id, ()), parent_id))
    await create(tx, drafts, Origin.ROADMAP)
    for task in kept.values():
        if task.status not in (Status.PENDING, Status.IN_PROGRESS):
            begun = await tx.tasks.change(
                await tx.tasks.get(task.id), "task.claimed", {"status": Status.IN_PROGRESS}, {}
            )
            await lifecycle.move(tx, begun, task.status, f"task.{task.status}")
    for task_id, others in plan.waits.items():
        await tx.tasks.set_waits(task_id, [other for other in others if other in kept])
        await tx.graph.relinked(task_id, others)
