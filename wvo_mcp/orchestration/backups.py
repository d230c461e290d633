"""Backups by the clock, and what is told when one fails."""

import logging
from datetime import datetime

from wvo_mcp.domain.backup import Kind, due
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import IncompatibleStore, StoreBusy, StoreUnavailable, WvoError
from wvo_mcp.orchestration import running_context
from wvo_mcp.orchestration.chores import Chore
from wvo_mcp.orchestration.leading import Post
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.backups import Backups, Made, Snapshots

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 60.0
FAILED = "backup_failed"
DAMAGED = "database"


async def hourly(store: Store, backups: Backups, caller: Caller) -> bool:
    """Take the backup of this clock hour unless there is one; True when it was taken. A store without a history has none.

    What exists is judged by the folder, and the hour by the store's time: a new leader repeats nothing, and a wall clock
    that is set back skips nothing. A failure becomes an alert; the next good backup ends it.
    """
    now, anything = await store.read(caller, _looked)
    if not anything:
        return False
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


def chores(backups: Backups | None, snapshots: Snapshots) -> tuple[Chore, ...]:
    """For the leader: looked at every minute, done once an hour."""

    async def copy(post: Post) -> None:
        if backups is not None:
            await post.check()  # two at once do no harm, and cost
            await hourly(post, backups, post.caller)

    async def describe(post: Post) -> None:
        await post.check()
        try:
            await running_context.hourly(post, snapshots, post.caller)
        except StoreUnavailable as error:
            logger.warning("no context snapshot: %s", error.message)

    return (Chore("backup", _LOOK_SECONDS, copy), Chore("context_snapshot", _LOOK_SECONDS, describe))


async def take(store: Store, backups: Backups, caller: Caller) -> Made:
    """One backup now. Raises as `Backups.create`."""
    made = await backups.create(await store.read(caller, _now))

    async def resolve(tx: Transaction) -> None:
        for kind in (FAILED, DAMAGED):
            await tx.events.resolve_alert(kind, None)

    if await store.read(caller, _alerted):
        await store.write(caller, resolve)
    return made


async def _looked(tx: Transaction) -> tuple[datetime, bool]:
    return tx.now, await tx.events.last_seq() > 0


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
