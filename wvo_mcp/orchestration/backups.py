"""Backups by the clock, and what is told when one fails."""

from datetime import datetime

from wvo_mcp.domain.backup import Kind, due, surplus
from wvo_mcp.domain.lease import Caller
from wvo_mcp.orchestration import running_context
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm, resolve_alert
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.backend import Backups, DamagedStore, Made, Snapshots

_LOOK_SECONDS = 60.0
FAILED = "backup_failed"
DAMAGED = "database"
RESTORED = "store.restored"


async def hourly(store: Store, backups: Backups, caller: Caller) -> bool:
    """Take the backup of this clock hour unless there is one; True when it was taken. A store without a history has none.

    What exists is judged by the folder, and the hour by the store's time: a new leader repeats nothing, and a wall clock
    that is set back skips nothing. Raises as `Backups.create`: the job that fails becomes an alert, `backup_failed`.
    """

    async def look(tx: Transaction) -> tuple[datetime, bool, datetime | None]:
        behind = await tx.events.before_last(1, None, RESTORED)
        restored = await tx.events.after(behind, 1, None, RESTORED)
        return tx.now, await tx.events.last_seq() > 0, restored[0].at if restored else None

    now, anything, restored = await store.read(caller, look)
    if not anything:
        return False
    existing = await backups.all()
    # What was copied before a restore is another history, and must not be what a repair brings back.
    taken = [b.at for b in existing if b.kind is not Kind.SAFETY and (restored is None or b.at > restored)]
    if not due(now, taken):
        # Copies made by hand, or by a leader that ended, leave some behind.
        if surplus(existing, now):
            await backups.prune(now)
        return False
    try:
        await take(store, backups, caller)
    except DamagedStore as error:
        message = f"{error.message} {error.hint}"[:2_000]
        await store.write(caller, lambda tx: tx.alerts.raise_alert(DAMAGED, "critical", None, message))
        raise
    return True


def leader_jobs(backups: Backups | None, snapshots: Snapshots) -> tuple[LeaderJob, ...]:
    """Looked at every minute, done once an hour."""

    async def copy(term: LeaderTerm) -> None:
        if backups is not None:
            await term.check()  # two at once do no harm, and cost
            await hourly(term, backups, term.caller)

    async def describe(term: LeaderTerm) -> None:
        await term.check()
        await running_context.hourly(term, snapshots, term.caller)

    return (LeaderJob("backup", _LOOK_SECONDS, copy), LeaderJob("context_snapshot", _LOOK_SECONDS, describe))


async def take(store: Store, backups: Backups, caller: Caller) -> Made:
    """One backup now, and those that no rule keeps go; a good one ends the alerts of those that failed. Raises as
    `Backups.create`."""

    async def look(tx: Transaction) -> tuple[datetime, bool]:
        damaged = await tx.alerts.find(DAMAGED, None)
        # One with evidence was raised by the health cycle, for a full disk say, and is ended by it.
        return tx.now, damaged is not None and not damaged["evidence"]

    now, damaged = await store.read(caller, look)
    made = await backups.create(now)
    await backups.prune(now)
    await resolve_alert(store, caller, FAILED)
    if damaged:
        await resolve_alert(store, caller, DAMAGED)
    return made
