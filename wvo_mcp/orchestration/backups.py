"""Backups by the clock, and what is told when one fails."""

import logging
from datetime import datetime

from wvo_mcp.domain.backup import Kind, due
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import IncompatibleStore, StoreBusy, WvoError
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.backups import Backups, Made

logger = logging.getLogger(__name__)

FAILED = "backup_failed"
DAMAGED = "database"


async def hourly(store: Store, backups: Backups, caller: Caller) -> bool:
    """Take the backup of this clock hour unless there is one; True when it was taken.

    What exists is judged by the folder, and the hour by the store's time: a new leader repeats nothing, and a wall clock
    that is set back skips nothing. A failure becomes an alert; the next good backup ends it.
    """
    now = await store.read(caller, _now)
    try:
        existing = await backups.all()
        if not due(now, (backup.at for backup in existing if backup.kind is not Kind.SAFETY)):
            return False
        await take(store, backups, caller)
        await backups.prune(now)
    except StoreBusy:
        return False  # somebody makes one just now
    except WvoError as error:
        await _alert(store, caller, error)
        return False
    return True


async def take(store: Store, backups: Backups, caller: Caller) -> Made:
    """One backup now. Raises as `Backups.create`."""
    made = await backups.create(await store.read(caller, _now))

    async def resolve(tx: Transaction) -> None:
        for kind in (FAILED, DAMAGED):
            await tx.events.resolve_alert(kind, None)

    if await store.read(caller, _alerted):
        await store.write(caller, resolve)
    return made


async def _now(tx: Transaction) -> datetime:
    return tx.now


async def _alerted(tx: Transaction) -> bool:
    return any(row["kind"] in (FAILED, DAMAGED) for row in await tx.events.open_alerts(1_000))


async def _alert(store: Store, caller: Caller, error: WvoError) -> None:
    logger.error("no backup was made: %s", error.message)
    damaged = isinstance(error, IncompatibleStore)
    kind, severity = (DAMAGED, "critical") if damaged else (FAILED, "warning")
    message = f"{error.message} {error.hint}"[:2_000]

    async def replace(tx: Transaction) -> None:
        await tx.events.resolve_alert(kind, None)
        await tx.events.raise_alert(kind, severity, None, message)

    async def told(tx: Transaction) -> bool:
        return any(row["kind"] == kind and row["message"] == message for row in await tx.events.open_alerts(1_000))

    try:
        if not await store.read(caller, told):
            await store.write(caller, replace)
    except WvoError as worse:
        # A full disk takes no alert either; the log has both.
        logger.error("the failed backup could not be put on record: %s", worse.message)
