"""What happens by itself: every server renews its own leases; one leader among all does what must run once."""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

import anyio

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.errors import NotFound, WvoError
from wvo_mcp.orchestration import claims, lifecycle, roadmap
from wvo_mcp.ports import Clock, RoadmapFiles, Store, Transaction

logger = logging.getLogger(__name__)

ROLE = "background"
TICK_SECONDS = 2.0
LEAD_SECONDS = 15.0
_RENEW_LEADERSHIP_SECONDS = 5.0
_RESCORE_SECONDS = 300.0
_FORGET_SECONDS = 3_600.0
_BATCH = 200
KEEP_REPLAYS = timedelta(hours=24)


class Keeper:
    """Renews the leases of one session at a third of their length, as long as its client was heard within the limit."""

    def __init__(self, store: Store, caller: Callable[[], Caller], clock: Clock, quiet_max_seconds: float) -> None:
        self._store = store
        self._caller = caller
        self._clock = clock
        self._quiet_max = quiet_max_seconds
        self._heard_at = clock.steady()
        self._changed = anyio.Event()

    def heard(self) -> None:
        """The client called a tool."""
        self._heard_at = self._clock.steady()

    def wrote(self) -> None:
        """This session changed something, perhaps its leases."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled. A store that cannot be reached is tried again."""
        while True:
            wait = await self._guarded()
            with anyio.move_on_after(wait):
                await self._changed.wait()
                # Many writes in a row are one change.
                await anyio.sleep(min(0.2, wait / 4))
            self._changed = anyio.Event()

    async def _guarded(self) -> float:
        try:
            return await self.renew()
        except WvoError as error:
            logger.warning("leases not renewed: %s", error.message)
            return 1.0

    async def renew(self) -> float:
        """Renew what is due; seconds until the next look."""
        caller = self._caller()
        held = await self._store.read(caller, lambda tx: tx.queue.held_by_session(caller.session_id))
        if not held:
            return 3_600.0
        now = self._clock.steady()
        if now - self._heard_at > self._quiet_max:
            return max(1.0, min(task.lease_seconds or 60 for task in held) / 3)
        shortest = min(task.lease_seconds or 60 for task in held)
        read_at = await self._store.read(caller, _now)
        left = min(
            (task.lease_expires_at - read_at).total_seconds() - (task.lease_seconds or 0) * 2 / 3
            for task in held
            if task.lease_expires_at is not None
        )
        if left <= 0.02:
            await self._store.write(caller, lambda tx: tx.queue.renew(caller.session_id))
            return shortest / 3
        return max(0.05, min(left, shortest / 3))


async def _now(tx: Transaction) -> datetime:
    return tx.now


class Leader:
    """One server of a store at a time: watches the roadmap, refreshes scores, returns expired tasks, forgets old replays."""

    def __init__(
        self, store: Store, files: RoadmapFiles, caller: Callable[[], Caller], clock: Clock, policy: Policy
    ) -> None:
        self._store = store
        self._files = files
        self._caller = caller
        self._clock = clock
        self._policy = policy
        self._leading_until = 0.0
        self._renew_at = 0.0
        self._seen: str | None = None
        self._synced: str | None = None
        self._due: dict[str, float] = {}

    async def run(self) -> None:
        """Until cancelled; a step that fails is logged and tried again at the next tick."""
        while True:
            try:
                if await self.leads():
                    await self.tick()
            except WvoError as error:
                logger.warning("background work: %s", error.message)
            except Exception:  # one of the three edges: the loop must outlive a defect of one step
                logger.exception("background work failed")
            await anyio.sleep(TICK_SECONDS)

    async def leads(self) -> bool:
        """Take or keep the leader lease. Writes only when it is free or due for renewal."""
        now = self._clock.steady()
        caller = self._caller()
        if now < self._renew_at and now < self._leading_until:
            return True

        async def free(tx: Transaction) -> bool:
            row = await tx.state.leader(ROLE)
            return (
                row is None
                or row["session_id"] in (None, caller.session_id)
                or row["expires_at"] <= iso(tx.now)
                or not tx.liveness.alive(row["session_id"])
            )

        if not await self._store.read(caller, free):
            self._leading_until = 0.0
            return False

        async def take(tx: Transaction) -> int | None:
            row = await tx.state.leader(ROLE)
            dead = row is not None and row["session_id"] is not None and not tx.liveness.alive(row["session_id"])
            return await tx.state.lead(ROLE, LEAD_SECONDS, force=dead)

        if await self._store.write(caller, take) is None:
            self._leading_until = 0.0
            return False
        self._leading_until = now + LEAD_SECONDS
        self._renew_at = now + _RENEW_LEADERSHIP_SECONDS
        return True

    async def tick(self) -> None:
        """One round of everything that is due."""
        await self.watch_roadmap()
        await self._expire()
        await self._refresh()
        await self._every("rescore", _RESCORE_SECONDS, self._rescore)
        await self._every("forget", _FORGET_SECONDS, self._forget)

    async def watch_roadmap(self) -> None:
        """Sync when the file changed; what is wrong in it becomes an alert, and the store stays as it was.

        A file is read once it has stood still for a tick: an editor that writes in place may have saved half of it, and
        half a roadmap is a valid one, with tasks removed.
        """
        fingerprint = self._files.fingerprint()
        if fingerprint != self._seen:
            self._seen = fingerprint
            return
        if fingerprint is None or fingerprint == self._synced:
            return
        self._synced = fingerprint
        await sync_or_alert(self._store, self._files, self._caller())

    async def _expire(self) -> None:
        caller = self._caller()

        async def anything(tx: Transaction) -> bool:
            if await tx.queue.expired():
                return True
            return any(not tx.liveness.alive(session) for session in await tx.queue.held_sessions())

        if await self._store.read(caller, anything):
            await self._store.write(caller, lambda tx: claims.reap(tx, self._policy))

    async def _refresh(self) -> None:
        caller = self._caller()
        for _ in range(50):
            if not await self._store.read(caller, lambda tx: tx.graph.stale()):
                return
            await self._store.write(caller, lambda tx: tx.graph.refresh(_BATCH))

    async def _rescore(self) -> None:
        after: str | None = None
        while True:
            batch = partial(_rescored, after=after)
            after = await self._store.write(self._caller(), batch)
            if after is None:
                return

    async def _forget(self) -> None:
        await self._store.write(self._caller(), lambda tx: tx.replays.forget(tx.now - KEEP_REPLAYS))

    async def _every(self, name: str, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        now = self._clock.steady()
        if now >= self._due.get(name, 0.0):
            self._due[name] = now + seconds
            await step()


async def _rescored(tx: Transaction, after: str | None) -> str | None:
    return await tx.graph.rescore_due(after, _BATCH)


async def sync_or_alert(store: Store, files: RoadmapFiles, caller: Caller) -> None:
    """Merge the roadmap if there is one; a mistake in it is logged and raised as an alert."""
    try:
        await roadmap.sync_file(store, files, caller)
    except NotFound as error:
        if error.details.get("kind") == "file":
            return
        await _alert(store, caller, error)
    except WvoError as error:
        if error.retryable:
            raise
        await _alert(store, caller, error)
    else:

        async def resolve(tx: Transaction) -> None:
            await tx.events.resolve_alert("roadmap_invalid", None)

        if await store.read(caller, _alerted):
            await store.write(caller, resolve)


async def _alerted(tx: Transaction) -> bool:
    return any(row["kind"] == "roadmap_invalid" for row in await tx.events.open_alerts(1_000))


async def _alert(store: Store, caller: Caller, error: WvoError) -> None:
    logger.error("the roadmap was not synced: %s", error.message)

    async def replace(tx: Transaction) -> None:
        await tx.events.resolve_alert("roadmap_invalid", None)
        await tx.events.raise_alert("roadmap_invalid", "warning", None, error.message[:2_000])

    await store.write(caller, replace)


async def end(store: Store, caller: Caller, policy: Policy) -> None:
    """The client is gone: end the session, cut its leases to the grace, give leadership away."""

    async def ending(tx: Transaction) -> None:
        if await tx.sessions.get(caller.session_id) is not None:
            await lifecycle.end_session(tx, policy, caller.session_id)
        await tx.state.resign(ROLE)

    await store.write(caller, ending)
