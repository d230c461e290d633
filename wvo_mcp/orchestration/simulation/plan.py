"""The plan that is worked through: rows of a store, none of which is held by anybody."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wvo_mcp.domain.task import SETTLED, Status, Task
from wvo_mcp.ports import Transaction


@dataclass(frozen=True, slots=True)
class PlanRows:
    """Tasks by `seq`; edges are (task, what it depends on); `waits` tells what blocked tasks wait for."""

    tasks: Sequence[Task]
    edges: Sequence[tuple[str, str]]
    epics: Sequence[Mapping[str, Any]]
    milestones: Sequence[Mapping[str, Any]]
    waits: Mapping[str, Sequence[str]]

    def dependents(self) -> dict[str, list[str]]:
        """Of each open task, the open ones that wait for it directly: by a dependency, as its parent, or blocked until it is
        done."""
        found: dict[str, list[str]] = {task.id: [] for task in self.tasks if task.status not in SETTLED}
        links = [
            *self.edges,
            *((task.parent_id, task.id) for task in self.tasks if task.parent_id is not None),
            *((task_id, other) for task_id, others in self.waits.items() for other in others),
        ]
        for waiting, other in dict.fromkeys(links):
            if waiting in found and other in found:
                found[other].append(waiting)
        return found


async def rows(tx: Transaction) -> PlanRows:
    """All of the store. What is in progress counts as not begun: its holders are no part of the simulation."""
    tasks = await tx.state.roadmap_tasks()
    blocked = [task.id for task in tasks if task.status is Status.BLOCKED]
    return PlanRows(
        tasks=[_given_back(task) for task in tasks],
        edges=await tx.state.dependency_edges(),
        epics=await tx.tasks.epics(),
        milestones=await tx.tasks.milestones(),
        waits={task_id: await tx.tasks.waits(task_id) for task_id in blocked},
    )


def _given_back(task: Task) -> Task:
    if task.status is not Status.IN_PROGRESS:
        return task
    lease = {"assigned_to": None, "session_id": None, "lease_expires_at": None}
    return task.model_copy(update={"status": Status.PENDING, **lease})
