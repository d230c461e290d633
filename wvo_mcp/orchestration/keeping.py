"""Every server renews the leases of its own session, and gives them up when its client goes away."""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

import anyio

from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.task import Task
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.leader import ROLE
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Clock, Store, Transaction, WatchedStore
from wvo_mcp.ports.store import SOON

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Keeper:
    """Renews the leases of one session at a third of their length, as long as its client was heard within the limit."""

    def __init__(
        self,
        store: Store,
        caller: Callable[[], Caller],
        clock: Clock,
        quiet_max_seconds: float,
        grace_seconds: float = 3_600.0,
    ) -> None:
        self._store = store
        self._caller = caller
        self._clock = clock
        self._quiet_max = quiet_max_seconds
        self._look_seconds = max(0.5, grace_seconds / 3)
        self._heard_at = clock.steady()
        self._changed = anyio.Event()

    def heard(self) -> None:
        """The client called a tool."""
        now = self._clock.steady()
        if now - self._heard_at > self._quiet_max:
            self._changed.set()  # its leases were not renewed meanwhile, and the next look may be too late for them
        self._heard_at = now

    def wrote(self) -> None:
        """This session changed something, perhaps its leases."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled. A store that cannot be reached is tried again."""
        while True:
            try:
                wait = await self.renew()
            except WvoError as error:
                logger.warning("leases not renewed: %s", error.message)
                wait = 1.0
            with anyio.move_on_after(wait):
                await self._changed.wait()
                # Many writes in a row are one change.
                await anyio.sleep(min(0.2, wait / 4))
            self._changed = anyio.Event()

    async def renew(self) -> float:
        """Renew what is due; seconds until the next look."""
        caller = self._caller()

        async def come_back(tx: Transaction) -> None:
            await tx.sessions.ensure()
            await tx.queue.renew(caller.session_id)

        held, taken_for_dead, read_at = await self._store.read(caller, self._look)
        if not held:
            return 3_600.0
        now = self._clock.steady()
        if now - self._heard_at > self._quiet_max:
            return max(1.0, min(task.lease_seconds or 60 for task in held) / 3)
        if taken_for_dead:
            await self._store.write(caller, come_back)
        shortest = min(self._look_seconds * 3, *(task.lease_seconds or 60 for task in held))
        left = min(
            (task.lease_expires_at - read_at).total_seconds() - (task.lease_seconds or 0) * 2 / 3
            for task in held
            if task.lease_expires_at is not None
        )
        if left <= 0.02:
            await self._store.write(caller, lambda tx: tx.queue.renew(caller.session_id))
            return shortest / 3
        return max(0.05, min(left, shortest / 3))

    async def _look(self, tx: Transaction) -> tuple[list[Task], bool, datetime]:
        """What the session holds, whether it was taken for dead, and the store's time. A database that restarts forgets for
        a moment who is connected, and somebody may have looked just then."""
        session_id = self._caller().session_id
        held = await tx.queue.held_by_session(session_id)
        session = await tx.sessions.get(session_id) if held else None
        return held, session is not None and session["ended_at"] is not None, tx.now


class NotifyingStore:
    """The store of a server: calls `wrote` after every write of this session."""

    def __init__(self, store: WatchedStore, wrote: Callable[[], None]) -> None:
        self._store = store
        self._wrote = wrote

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await self._store.read(caller, work)

    async def wait_for_change(self, seconds: float, *, within: float = SOON) -> bool:
        return await self._store.wait_for_change(seconds, within=within)

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        try:
            return await self._store.write(caller, work, keep=keep)
        finally:
            self._wrote()


async def end(store: Store, caller: Caller, policy: Policy) -> None:
    """The client is gone: end the session, cut its leases to the grace, give leadership away."""

    async def ending(tx: Transaction) -> None:
        if await tx.sessions.get(caller.session_id) is not None:
            await lifecycle.end_session(tx, policy, caller.session_id)
        await tx.state.resign(ROLE)

    await store.write(caller, ending)
