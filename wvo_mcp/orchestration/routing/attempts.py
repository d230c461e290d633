"""What was reported of the attempt that a task is in."""

from typing import Any

from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Spent

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


async def note(tx: Transaction, spent: Spent, **more: Any) -> None:
    """Append the event of a report."""
    data: dict[str, Any] = {"provider": spent.provider, "tier": spent.tier, "model": spent.model}
    data |= {"tokens_in": spent.tokens_in, "tokens_out": spent.tokens_out, "tokens_cached": spent.tokens_cached}
    data |= {"tokens": spent.counted, "cost": round(spent.cost, 6)}
    await tx.events.append(REPORTED, spent.task_id, data | more)
