"""What every store needs done for it: the roadmap watched and synced, expired tasks returned, scores refreshed."""

import logging
from datetime import datetime, timedelta
from functools import partial

from wvo_mcp.domain.instant import AHEAD_SECONDS, iso
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.errors import NotFound, WvoError
from wvo_mcp.orchestration.leader import LeaderJob, LeaderTerm, led_for, resolve_alert
from wvo_mcp.orchestration.plan import guard, roadmap
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Clock, RoadmapFiles, Store, Transaction

logger = logging.getLogger(__name__)

_ABSENCE_SECONDS = 60.0
_RESCORE_SECONDS = 300.0
_FORGET_SECONDS = 3_600.0
_BATCH = 200
KEEP_REPLAYS = timedelta(hours=24)
KEEP_USAGE = timedelta(days=40)
KEEP_EVENTS = timedelta(days=30)
"""Heartbeats and events without a task; all others stay for good."""
_PRUNED = 500
KEEP_SESSIONS = timedelta(days=7)
"""Ended sessions, and durable ones and agents that nobody has heard of since. Longer than anything is repeated."""
KEEP_ACCESS = timedelta(days=90)
"""Tokens, links and logins that have expired: until then people see when they were used last."""


def leader_jobs(files: RoadmapFiles, policy: Policy) -> tuple[LeaderJob, ...]:
    """What every store needs: the roadmap watched, expired tasks returned, scores refreshed, what is old forgotten."""
    return (
        LeaderJob("roadmap_watch", 0, RoadmapWatch(files).look),
        LeaderJob("expiry", 0, partial(_expire, policy)),
        LeaderJob("absence", _ABSENCE_SECONDS, partial(_end_absent, policy)),
        LeaderJob("refresh", 0, _refresh),
        LeaderJob("rescore", _RESCORE_SECONDS, _rescore),
        LeaderJob("forget", _FORGET_SECONDS, _forget),
    )


class RoadmapWatch:
    """Syncs when the file changed; what is wrong in it becomes an alert, and the store stays as it was.

    A file is read once it has stood still for a tick: an editor that writes in place may have saved half of it, and
    half a roadmap is a valid one, with tasks removed.
    """

    def __init__(self, files: RoadmapFiles) -> None:
        self._files = files
        self._seen: str | None = None
        self._synced: str | None = None

    async def look(self, term: LeaderTerm) -> None:
        fingerprint = self._files.fingerprint()
        if fingerprint != self._seen:
            self._seen = fingerprint
            return
        if fingerprint is None or (fingerprint == self._synced and not await term.read(term.caller, guard.is_outdated)):
            return
        await sync_or_alert(term, self._files, term.caller)
        self._synced = fingerprint


async def _expire(policy: Policy, term: LeaderTerm) -> None:
    async def anything(tx: Transaction) -> bool:
        if await tx.queue.expired():
            return True
        return any(not tx.liveness.alive(session) for session in await tx.queue.held_sessions())

    if await term.read(term.caller, anything):
        await term.write(term.caller, lambda tx: claims.reap(tx, policy))


async def _end_absent(policy: Policy, term: LeaderTerm) -> None:
    """End the sessions of servers that were killed while they held nothing: no claim has a reason to look for those."""

    async def absent(tx: Transaction) -> list[str]:
        return [session_id for session_id in await tx.sessions.connected() if not tx.liveness.alive(session_id)]

    async def end(tx: Transaction) -> None:
        for session_id in gone[:_BATCH]:
            await lifecycle.ended(tx, policy, session_id)

    gone = await term.read(term.caller, absent)
    while gone:
        await term.write(term.caller, end)
        del gone[:_BATCH]


def watch_time(clock: Clock) -> LeaderJob:
    """Raises an alert while the store's time is ahead of the machine's."""

    async def watch(term: LeaderTerm) -> None:
        async def look(tx: Transaction) -> tuple[datetime, bool]:
            return tx.now, await tx.alerts.find("clock_ahead", None) is not None

        now, alerted = await term.read(term.caller, look)
        true = clock.now()
        ahead = (now - true).total_seconds() > AHEAD_SECONDS
        if ahead and not alerted:
            message = (
                f"The store's time is {iso(now)}, ahead of this machine's {iso(true)}: it was written under a wrong clock."
                " Due dates, waits and budgets follow it. Run wvo-mcp doctor to see how to set it back."
            )
            logger.warning("%s", message)
            await term.write(term.caller, lambda tx: tx.alerts.raise_alert("clock_ahead", "critical", None, message))
        elif alerted and not ahead:
            await term.write(term.caller, lambda tx: tx.alerts.resolve_alert("clock_ahead", None))

    return LeaderJob("clock", _ABSENCE_SECONDS, watch)


async def _refresh(term: LeaderTerm) -> None:
    for _ in range(50):
        if not await term.read(term.caller, lambda tx: tx.graph.stale()):
            return
        await term.write(term.caller, lambda tx: tx.graph.refresh(_BATCH))


async def refresh_unled(store: Store, caller: Caller) -> None:
    """Make a batch of marked scores anew while no server leads, which would do it: of those who use commands alone, each
    change takes the marks of those before it a step further."""

    async def due(tx: Transaction) -> bool:
        return await led_for(tx) == 0 and await tx.graph.stale()

    if await store.read(caller, due):
        await store.write(caller, lambda tx: tx.graph.refresh(_BATCH))


async def _rescore(term: LeaderTerm) -> None:
    after: str | None = None

    async def batch(tx: Transaction) -> str | None:
        return await tx.graph.rescore_due(after, _BATCH)

    while (after := await term.write(term.caller, batch)) is not None:
        pass


async def _forget(term: LeaderTerm) -> None:
    async def forget(tx: Transaction) -> None:
        await tx.replays.forget(tx.now - KEEP_REPLAYS)
        await tx.routing.forget(tx.now - KEEP_USAGE)

    await term.write(term.caller, forget)
    while await term.write(term.caller, lambda tx: tx.sessions.forget(tx.now - KEEP_SESSIONS, _BATCH)) >= _BATCH:
        pass
    while await term.write(term.caller, lambda tx: tx.access.forget(tx.now - KEEP_ACCESS, _BATCH)) >= _BATCH:
        pass
    while await term.write(term.caller, lambda tx: tx.events.prune(tx.now - KEEP_EVENTS, _PRUNED)) >= _PRUNED:
        pass


async def sync_first(store: Store, files: RoadmapFiles, caller: Caller) -> None:
    """Merge the roadmap into a store that has never seen one: whoever comes first finds its tasks, server or command."""
    if files.fingerprint() is not None and not await store.read(caller, lambda tx: tx.state.get(roadmap.SYNCED)):
        await sync_or_alert(store, files, caller)


async def roadmap_problem(store: Store, files: RoadmapFiles, caller: Caller) -> str | None:
    """What is wrong in the roadmap file, while no server leads, which would raise an alert; None when nothing is."""
    digest = await files.digest()

    async def known(tx: Transaction) -> bool:
        last = await tx.state.get(roadmap.SYNCED)
        return (last is not None and last["digest"] == digest) or await led_for(tx) > 0

    if digest is None or await store.read(caller, known):
        return None
    try:
        await roadmap.read_file(store, files, caller)
    except WvoError as error:
        return error.message
    return None


async def sync_or_alert(store: Store, files: RoadmapFiles, caller: Caller) -> None:
    """Merge the roadmap if there is one; a mistake in it is logged and raised as an alert."""
    if files.fingerprint() is not None and (elsewhere := await roadmap.kept_elsewhere(store, files, caller)):
        logger.warning(
            "the roadmap of this store is %s; %s is not read (wvo-mcp roadmap-sync makes it the one)",
            elsewhere,
            files.location,
        )
        return
    try:
        report = await roadmap.sync_file(store, files, caller)
    except WvoError as error:
        if isinstance(error, NotFound) and error.details.get("kind") == "file":
            return
        if error.retryable:
            raise
        logger.error("the roadmap was not synced: %s", error.message)
        message = error.message[:2_000]
        # One that is open takes the new message, and is no news again while somebody looks for the mistake.
        await store.write(caller, lambda tx: tx.alerts.raise_alert(guard.INVALID, "warning", None, message))
    else:
        if report.guard is not None:
            logger.warning("%s", report.guard)
        await resolve_alert(store, caller, guard.INVALID)
