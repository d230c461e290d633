"""Edges between tasks: they must lead somewhere, and never in a circle."""

import difflib
from collections.abc import Iterable, Sequence

from wvo_mcp.errors import DependencyCycle, NotFound
from wvo_mcp.ports import Transaction


async def existing(tx: Transaction, task_ids: Iterable[str], field: str) -> list[str]:
    """The distinct ids, in order. Raises NotFound, naming `field` and near matches, for the first that no task has."""
    wanted = list(dict.fromkeys(task_ids))
    known = await tx.tasks.known(wanted)
    for task_id in wanted:
        if task_id not in known:
            raise NotFound("task", task_id, await tx.tasks.near(task_id), field=field)
    return wanted


async def check_epic(tx: Transaction, epic_id: str | None) -> None:
    """Raises NotFound with near matches for the id of an epic that is not there."""
    if epic_id is not None and await tx.tasks.epic(epic_id) is None:
        near = difflib.get_close_matches(epic_id, [row["id"] for row in await tx.tasks.epics()], 5, 0.5)
        raise NotFound("epic", epic_id, near, field="epic_id", hint="Use the epic_id of a task, or leave it out.")


async def check_no_cycle(tx: Transaction, task_id: str, waits_for: Sequence[str]) -> None:
    """Would `task_id` wait for itself? Raises DependencyCycle with the path."""
    for other in waits_for:
        back = await tx.graph.path(other, task_id)
        if back is not None:
            raise DependencyCycle([task_id, *back])
