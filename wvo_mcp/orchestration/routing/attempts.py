"""What was reported of the attempt that a task is in."""

from wvo_mcp.ports import Transaction

REPORTED, REROUTED = "provider.reported", "task.rerouted"
_BEGINS = ("task.claimed", REROUTED)
_LOOKED_AT = 50


async def reported(tx: Transaction, task_id: str) -> list[tuple[str, str]]:
    """(provider, tier) of each report since the task was given its present route, the latest first. A route is advice: who
    reports another provider did the work with that one."""
    found: list[tuple[str, str]] = []
    for event in reversed(await tx.events.of_task(task_id, _LOOKED_AT)):
        if event.kind in _BEGINS:
            break
        if event.kind == REPORTED:
            found.append((event.data["provider"], event.data["tier"]))
    return found
