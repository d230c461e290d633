"""Streams of `/mcp` last no longer than what admitted them, and nobody has all of them, nor all sessions."""

from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager, suppress

import anyio
from anyio.abc import TaskGroup

from wvo_mcp.domain.access import MOST_EACH, Principal, Via
from wvo_mcp.errors import StoreBusy, WvoError

SESSIONS_EACH = 1_000
"""Open at once, of one who has signed in: the SDK knows only how many there are in all, and they rest for hours."""
SESSIONS_HERE = 5_000
"""Of all who show nothing, from this machine."""
LOOK_SECONDS = 15.0
"""How often it is asked whether what admitted a stream still does so."""


class Lasting:
    def __init__(self, most: int) -> None:
        """`most`: of both kinds, whatever the SDK counts. Half of them are for all who show nothing, from this machine."""
        self._most, self._most_here = most, most // 2
        self._open = Counter[str]()
        """By whose share they take."""
        self._opening = Counter[str]()
        self.holds: Callable[[Principal], Awaitable[bool]] = _always

    @contextmanager
    def session(self, principal: Principal, known: Iterable[Principal]) -> Generator[None]:
        """While one is opened; `known` are those of the open ones. Raises StoreBusy."""
        share = principal.share
        most = SESSIONS_HERE if principal.via is Via.LOOPBACK else SESSIONS_EACH
        if self._opening[share] + sum(one.share == share for one in known) >= most:
            hint = "End some (DELETE), or try again: those that rest are forgotten."
            raise StoreBusy(f"{most} MCP sessions of yours are open: no more are served.", hint=hint)
        self._opening[share] += 1  # so that many at once are not all let in
        try:
            yield
        finally:
            self._opening[share] -= 1
            if not self._opening[share]:
                del self._opening[share]

    @contextmanager
    def stream(self, tasks: TaskGroup, principal: Principal, end: Callable[[], None]) -> Generator[None]:
        """`end` is called when what admitted the principal no longer does. Raises StoreBusy."""
        most = self._most_here if principal.via is Via.LOOPBACK else MOST_EACH
        if self._open[principal.share] >= most:
            raise StoreBusy(f"{most} streams of yours are open: no more are served.", hint="Close one, or try again.")
        if self._open.total() >= self._most:
            raise StoreBusy(f"{self._most} streams are open: no more are served.", hint="Try again.")
        self._open[principal.share] += 1
        watching = anyio.CancelScope()
        tasks.start_soon(self._watch, principal, end, watching)
        try:
            yield
        finally:
            watching.cancel()
            self._open[principal.share] -= 1
            if not self._open[principal.share]:
                del self._open[principal.share]

    async def _watch(self, principal: Principal, end: Callable[[], None], watching: anyio.CancelScope) -> None:
        with watching:
            held = True
            while held:
                await anyio.sleep(LOOK_SECONDS)
                with suppress(WvoError):  # a store that is away revokes nothing
                    held = await self.holds(principal)
            end()


async def _always(principal: Principal) -> bool:
    return True
