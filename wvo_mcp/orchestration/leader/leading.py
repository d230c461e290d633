"""One server of a store at a time leads: it alone does what must be done once. A leader that was overtaken changes nothing."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.ports import Clock, Store, Transaction

T = TypeVar("T")

ROLE = "background"
TICK_SECONDS = 2.0
LEASE_SECONDS = 15.0
RENEW_SECONDS = 5.0
_AFTER_EXPIRY_SECONDS = 0.02
"""The store's time has whole milliseconds: a look just after the end finds the lease expired."""


class Overtaken(Exception):
    """Another leads by now, or its lease ran out; nothing was changed. Never leaves the background work."""


class LeaderTerm:
    """The time for which one server leads, and the store through it: `ports.Store` whose writes check the term first.

    The look and the write are one transaction, so a leader that was paused at any point finds out before it changes
    anything. A token is never given twice: once another has led, no write of this term passes again.
    """

    def __init__(self, store: Store, caller: Callable[[], Caller], token: int) -> None:
        self._store = store
        self._caller = caller
        self._session_id = caller().session_id
        self.token = token
        self.lost = False
        """Somebody found out that the term is over."""

    @property
    def caller(self) -> Caller:
        """In whose name the leader acts."""
        return self._caller()

    async def read(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Reads need no fence: what follows from them is checked when it is written."""
        return await self._store.read(caller, work)

    async def write(self, caller: Caller, work: Callable[[Transaction], Awaitable[T]], *, keep: bool = True) -> T:
        """Raises Overtaken, and then has changed nothing."""

        async def fenced(tx: Transaction) -> T:
            await self._fence(tx)
            return await work(tx)

        return await self._store.write(caller, fenced, keep=keep)

    async def check(self) -> None:
        """To be called right before an effect outside the database. Raises Overtaken.

        A pause between the check and the effect cannot be seen: such effects must be harmless when another does them too.
        """
        await self._store.read(self.caller, self._fence)

    async def _fence(self, tx: Transaction) -> None:
        row = await tx.state.leader(ROLE)
        if (
            row is None
            or row["session_id"] != self._session_id
            or row["token"] != self.token
            or row["expires_at"] <= iso(tx.now)
        ):
            self.lost = True
            raise Overtaken(f"the term {self.token} is over")


class Candidate:
    """Seeks to lead with this server: begins a term when no other leads, renews it while it lasts."""

    def __init__(self, store: Store, caller: Callable[[], Caller], clock: Clock) -> None:
        self._store = store
        self._caller = caller
        self._clock = clock
        self._term: LeaderTerm | None = None
        self._until = 0.0
        self._renew_at = 0.0
        self._pause = TICK_SECONDS

    @property
    def term(self) -> LeaderTerm | None:
        """Ours as far as is known here, None otherwise. By the steady clock, so that a store out of reach ends it too."""
        if self._term is None or self._term.lost or self._clock.steady() >= self._until:
            return None
        return self._term

    @property
    def pause(self) -> float:
        """Seconds until the next look: a tick, or less when another's lease ends before that."""
        return self._pause

    async def seek(self) -> LeaderTerm | None:
        """Begin or keep the term. Writes only when it is free or due for renewal. Raises what the store raises."""
        self._pause = TICK_SECONDS
        now = self._clock.steady()
        held = self.term
        if held is not None and now < self._renew_at:
            return held
        caller = self._caller()
        if held is None:
            free_in = await self._store.read(caller, led_for)
            if free_in > 0:
                self._term = None
                self._pause = min(TICK_SECONDS, free_in + _AFTER_EXPIRY_SECONDS)
                return None
        token = await self._store.write(caller, _take)
        if token is None:
            self._term = None
            return None
        if held is None or held.token != token:
            self._term = LeaderTerm(self._store, self._caller, token)
        # Counted from before the write, so that it never ends later here than it does in the store.
        self._until = now + LEASE_SECONDS
        self._renew_at = now + RENEW_SECONDS
        return self.term


async def led_for(tx: Transaction) -> float:
    """So many seconds somebody else leads yet, if he does not renew it; 0 when nobody does."""
    row = await tx.state.leader(ROLE)
    if row is None or row["session_id"] in (None, tx.caller.session_id) or not tx.liveness.alive(row["session_id"]):
        return 0
    return max(0.0, (instant(row["expires_at"]) - tx.now).total_seconds())


async def _take(tx: Transaction) -> int | None:
    row = await tx.state.leader(ROLE)
    dead = row is not None and row["session_id"] is not None and not tx.liveness.alive(row["session_id"])
    return await tx.state.lead(ROLE, LEASE_SECONDS, force=dead)
