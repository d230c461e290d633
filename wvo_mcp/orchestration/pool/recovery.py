"""Launches that end badly are corrected and made again, a few times; each time is on record (WORK-5)."""

from collections.abc import Sequence

from wvo_mcp.domain.agents import AgentEvent
from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.providers.signals.reading import Signal
from wvo_mcp.domain.recovery import Act, Corrections, Remedy, remedy
from wvo_mcp.domain.task import Status
from wvo_mcp.domain.worker import Worker
from wvo_mcp.ports import Transaction

AGAIN = frozenset({Act.RELAUNCH, Act.FRESH, Act.ADD_FOLDER})
"""What is followed by another process."""


async def recovered(
    tx: Transaction,
    worker: Worker,
    kind: ProviderKind,
    stop: AgentEvent | None,
    signal: Signal | None,
    before: Corrections,
    allowed: Sequence[str],
    *,
    resumed: bool,
) -> Remedy:
    """What follows for a worker whose process ended its turn with `stop`, or without one; recorded when it is anything.
    NOT_MINE when its task is no longer its own."""
    task = await tx.tasks.get(worker.task_id)
    if task.status is not Status.IN_PROGRESS or task.lease_token != worker.lease_token:
        return Remedy(Act.NOT_MINE)
    said = "it ended with code 0, within its turn" if stop is None else stop.text
    found = remedy(kind, said, (None if stop is None else stop.signal) or signal, before, allowed, resumed=resumed)
    if found.act is not Act.NOT_MINE:
        data = {
            "worker": worker.worker_id,
            "act": found.act.value,
            "trigger": found.trigger,
            "try": found.corrections.tries,
            "folders": [*found.corrections.folders],
            "reason": found.why,
        }
        await tx.events.append("worker.recovery", worker.task_id, data)
    return found
