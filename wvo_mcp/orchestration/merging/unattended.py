"""Work that waits to land while no runner is there to do it."""

from datetime import timedelta

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.merging import AT_WORK, OPEN, WAITS
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm, led_for, settle_alerts
from wvo_mcp.orchestration.merging.roles import role_of
from wvo_mcp.ports import Transaction

ALERT = "merge_unattended"
_LOOK_SECONDS = 10.0
_PATIENCE = timedelta(minutes=1)
_LOOKED_AT = 200


def unattended() -> LeaderJob:
    """The leader's job that tells people which command lands what waits."""
    return LeaderJob(ALERT, _LOOK_SECONDS, _look)


async def _look(term: LeaderTerm) -> None:
    waits = await term.read(term.caller, waiting)
    text = (
        f"{waits} {'submission waits' if waits == 1 else 'submissions wait'} to land, and nothing is running that lands work"
        " here. Run: wvo-mcp run"
    )
    await settle_alerts(term, {ALERT: ("warning", text) if waits else None})


async def waiting(tx: Transaction) -> int:
    """So many entries have waited for a minute while no runner had their slot."""
    found = 0
    for entry in await tx.submissions.in_states(OPEN, _LOOKED_AT):
        since = entry["updated_at"] if entry["state"] in AT_WORK else entry["retry_at"]
        if entry["review"] == WAITS or since is None or tx.now - instant(since) < _PATIENCE:
            continue
        found += await led_for(tx, role_of(entry)) == 0
    return found
