"""Whoever follows the events by their numbers, when an earlier store took the place of theirs."""

from wvo_mcp.orchestration.hourly import RESTORED
from wvo_mcp.ports import Transaction


async def gone_back(tx: Transaction, after: int) -> int | None:
    """For who has read up to `after`, where the store does not reach that far: its events go on after this one, the last
    before it was restored. None where it does."""
    last = await tx.events.last_seq()
    if last >= after:
        return None
    restored = await tx.events.of_kinds({RESTORED}, 1)
    return restored[0].seq - 1 if restored else last
