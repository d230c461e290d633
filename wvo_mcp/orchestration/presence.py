"""Clients that no process stands for: their leases are renewed while they are connected, and else whenever they call."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

import anyio
from anyio.abc import TaskGroup

from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.keeping import Keeper
from wvo_mcp.ports import Clock, Store

logger = logging.getLogger(__name__)

_REMEMBERED = 10_000


class Presence:
    """Of any number of sessions, in one process."""

    def __init__(self, store: Store, policy: Policy, clock: Clock, quiet_max_seconds: float) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._quiet_max = quiet_max_seconds
        self._connected: dict[str, list[Keeper]] = {}
        self._looks_at: dict[str, float] = {}
        """When a session without a connection may have a lease to renew; what it wrote since then is not known here."""

    @contextmanager
    def connected(self, caller: Caller, tasks: TaskGroup) -> Generator[None]:
        """While the block lasts the caller's leases are renewed, as long as it calls within the limit."""
        keeper, scope = self._keeper(caller), anyio.CancelScope()

        async def keep() -> None:
            with scope:
                await keeper.run()

        keepers = self._connected.setdefault(caller.session_id, [])
        keepers.append(keeper)
        tasks.start_soon(keep)
        try:
            yield
        finally:
            scope.cancel()
            keepers.remove(keeper)
            if not keepers:
                del self._connected[caller.session_id]

    def is_connected(self, caller: Caller) -> bool:
        return caller.session_id in self._connected

    async def called(self, caller: Caller, *, wrote: bool) -> None:
        """A call of the caller was answered. What it may have claimed is renewed from now on; without a connection at once,
        where it is due."""
        keepers = self._connected.get(caller.session_id, ())
        for keeper in keepers:
            keeper.heard()
            if wrote:
                keeper.wrote()
        now = self._clock.steady()
        if keepers or not (wrote or self._looks_at.get(caller.session_id, now) <= now):
            return
        try:
            wait = await self._keeper(caller).renew()
        except WvoError as error:
            logger.warning("leases of %s not renewed: %s", caller.session_id, error.message)
            wait = 0.0
        if len(self._looks_at) >= _REMEMBERED:
            self._looks_at.clear()
        self._looks_at[caller.session_id] = now + min(wait, self._policy.lease_seconds / 3)

    def _keeper(self, caller: Caller) -> Keeper:
        return Keeper(self._store, lambda: caller, self._clock, self._quiet_max, self._policy.grace_seconds)
