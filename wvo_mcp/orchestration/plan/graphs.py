"""What was last worked out of the plan, for all who ask a server."""

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from wvo_mcp.domain.lease import Caller
from wvo_mcp.ports import Store

if TYPE_CHECKING:
    from wvo_mcp.domain.forecast import LastForecast
    from wvo_mcp.orchestration.plan.graph import PlanGraph

_FREE_SECONDS = 0.05
_SHARE = 20
_LONGEST_SECONDS = 60.0


class PlanGraphs:
    """The last graph: read again when something has happened, but of a large plan only after a while, for that takes
    seconds."""

    def __init__(self) -> None:
        self.forecast: LastForecast | None = None
        """The last one that was asked for here."""
        self._known: PlanGraph | None = None
        self._until = 0.0
        self._reading = anyio.Lock()

    async def current(self, store: Store, caller: Caller) -> "PlanGraph":
        """At most a minute old. Raises DependencyCycle."""
        from wvo_mcp.orchestration import outlook  # large, and no server needs it before somebody looks
        from wvo_mcp.orchestration.plan.graph import graph_of

        async with self._reading:
            seq = await store.read(caller, lambda tx: tx.events.last_seq())
            known = self._known
            if known is not None and (known.seq == seq or anyio.current_time() < self._until):
                return known
            began = anyio.current_time()
            seen = await outlook.read(store, caller)
            found = await anyio.to_thread.run_sync(graph_of, seen, seq)
            now = anyio.current_time()
            pause = (now - began - _FREE_SECONDS) * _SHARE
            self._known, self._until = found, now + min(_LONGEST_SECONDS, max(0.0, pause))
            return found
