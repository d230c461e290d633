"""What the last sync of the roadmap left in the store: facts that a start reads before it imports what a sync needs."""

from wvo_mcp.domain.lease import Caller
from wvo_mcp.ports import RoadmapFiles, Store, Transaction

SYNCED = "roadmap"
"""Name of the fact {digest, at, tasks, sync_ratio} about the last sync."""

GUARD = "roadmap_guard"
"""Name of the fact {digest, waiting, message} while cancellations wait, and kind of the alert."""

INVALID = "roadmap_invalid"
"""Kind of the alert while the file cannot be synced."""


async def is_of(store: Store, files: RoadmapFiles, caller: Caller) -> bool:
    """The file is the version that was merged last, nothing waits for a person, and no alert speaks of it."""
    if files.location is not None:  # of several files, only one is followed
        return False
    digest = await files.digest()

    async def settled(tx: Transaction) -> bool:
        last = await tx.state.get(SYNCED)
        return (
            last is not None
            and last["digest"] == digest
            and await tx.state.get(GUARD) is None
            and await tx.alerts.find(INVALID, None) is None
        )

    return await store.read(caller, settled)
