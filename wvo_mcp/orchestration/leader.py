"""One server of a store at a time leads: it alone does what must be done once. A leader that was overtaken changes nothing."""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import WvoError
from wvo_mcp.ports import Clock, Store, Transaction

T = TypeVar("T")
logger = logging.getLogger(__name__)

ROLE = "background"
TICK_SECONDS = 2.0
LEASE_SECONDS = 15.0
RENEW_SECONDS = 5.0
_AFTER_EXPIRY_SECONDS = 0.02
"""The store's time has whole milliseconds: a look just after the end finds the lease expired."""
_RETRY_MAX_SECONDS = 60.0
_LOAD_AGAIN_SECONDS = 60.0
_PATIENCE = 2
"""How many times in a row a job may fail for a passing reason before people are alerted."""


class Overtaken(Exception):
    """Another leads by now, or its lease ran out; nothing was changed. Never leaves the background work."""


class LeaderTerm:
    """The time for which one server leads, and the store through it: `ports.Store` whose writes check the term first.

    The look and the write are one transaction, so a leader that was paused at any point finds out before it changes
    anything. A token is never given twice: once another has led, no write of this term passes again.
    """

    def __init__(self, store: Store, caller: Callable[[], Caller], token: int, role: str = ROLE) -> None:
        self._store = store
        self._caller = caller
        self._role = role
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
        row = await tx.state.leader(self._role)
        if (
            row is None
            or row["session_id"] != self._session_id
            or row["token"] != self.token
            or row["expires_at"] <= iso(tx.now)
        ):
            self.lost = True
            raise Overtaken(f"the term {self.token} is over")


class Candidate:
    """Seeks to lead with this server in a role: begins a term when no other leads, renews it while it lasts."""

    def __init__(self, store: Store, caller: Callable[[], Caller], clock: Clock, role: str = ROLE) -> None:
        self._role = role
        self._store = store
        self._caller = caller
        self._clock = clock
        self._term: LeaderTerm | None = None
        self._until = 0.0
        self._renew_at = 0.0
        self.pause = TICK_SECONDS
        """Seconds until the next look: a tick, or less when another's lease ends before that."""

    @property
    def term(self) -> LeaderTerm | None:
        """Ours as far as is known here, None otherwise. By the steady clock, so that a store out of reach ends it too."""
        if self._term is None or self._term.lost or self._clock.steady() >= self._until:
            return None
        return self._term

    async def seek(self) -> LeaderTerm | None:
        """Begin or keep the term. Writes only when it is free or due for renewal. Raises what the store raises."""
        self.pause = TICK_SECONDS
        now = self._clock.steady()
        held = self.term
        if held is not None and now < self._renew_at:
            return held
        caller = self._caller()
        if held is None:
            free_in = await self._store.read(caller, lambda tx: led_for(tx, self._role))
            if free_in > 0:
                self._term = None
                self.pause = min(TICK_SECONDS, free_in + _AFTER_EXPIRY_SECONDS)
                return None
        token = await self._store.write(caller, lambda tx: _take(tx, self._role))
        if token is None:
            self._term = None
            return None
        if held is None or held.token != token:
            self._term = LeaderTerm(self._store, self._caller, token, self._role)
        # Counted from before the write, so that it never ends later here than it does in the store.
        self._until = now + LEASE_SECONDS
        self._renew_at = now + RENEW_SECONDS
        return self.term

    async def resign(self) -> None:
        """Others may lead at once. Raises what the store raises; the lease runs out then."""
        self._term = None
        await self._store.write(self._caller(), lambda tx: tx.state.resign(self._role))


async def led_for(tx: Transaction, role: str = ROLE) -> float:
    """So many seconds somebody else leads yet, if he does not renew it; 0 when nobody does."""
    row = await tx.state.leader(role)
    if row is None or row["session_id"] in (None, tx.caller.session_id) or not tx.liveness.alive(row["session_id"]):
        return 0
    return max(0.0, (instant(row["expires_at"]) - tx.now).total_seconds())


async def _take(tx: Transaction, role: str) -> int | None:
    row = await tx.state.leader(role)
    dead = row is not None and row["session_id"] is not None and not tx.liveness.alive(row["session_id"])
    return await tx.state.lead(role, LEASE_SECONDS, force=dead)


async def resolve_alert(store: Store, caller: Caller, kind: str) -> None:
    """Resolve the store's alert of this kind, whoever raised it; writes nothing when none is open."""

    async def is_open(tx: Transaction) -> bool:
        return await tx.alerts.find(kind, None) is not None

    if await store.read(caller, is_open):
        await store.write(caller, lambda tx: tx.alerts.resolve_alert(kind, None))


@dataclass(frozen=True, slots=True)
class LeaderJob:
    """Something that one server does for the whole store, at once when it becomes the leader and then every so often.

    `run` writes through the term it is given, asks `term.check()` right before any other effect, and has no harm in being
    done again: a leader follows another at any moment. It is cancelled when the term ends and must then stop soon: work in
    a thread is to be abandoned, a child process ended.
    """

    name: str
    every_seconds: float
    """0: at every tick."""
    run: Callable[[LeaderTerm], Awaitable[None]]


class Leader:
    """Seeks to lead, and does the jobs while it leads, each in a task of its own: none waits for, or fails with, another,
    and none runs twice at once. One in every server."""

    def __init__(
        self,
        store: Store,
        caller: Callable[[], Caller],
        clock: Clock,
        load_jobs: Callable[[], Awaitable[Sequence[LeaderJob]]],
    ) -> None:
        """`load_jobs` is awaited when this server leads for the first time: most never need what it imports."""
        self._candidate = Candidate(store, caller, clock)
        self._clock = clock
        self._load_jobs = load_jobs
        self._jobs: Sequence[LeaderJob] = ()
        self._seek_at = -math.inf
        self._term: LeaderTerm | None = None
        self._running: dict[str, anyio.CancelScope] = {}
        self._due: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._alerted: dict[str, bool] = {}
        self._ended = anyio.Event()

    @property
    def running(self) -> list[str]:
        """The jobs that are being done here."""
        return list(self._running)

    async def run(self) -> None:
        """Until cancelled. Nothing that a job does delays the renewal of the term."""
        async with anyio.create_task_group() as tasks:
            while True:
                await self.tick(tasks)
                until = anyio.current_time() + self._candidate.pause
                while (left := until - anyio.current_time()) > 0:
                    self._ended = anyio.Event()
                    with anyio.move_on_after(min(left, self._due_in())):
                        await self._ended.wait()  # the end of a job may change when the next one is due
                    if self._due_in() <= 0:
                        self._turn(self._candidate.term, tasks, tick=False)

    async def tick(self, tasks: TaskGroup) -> bool:
        """Seek or keep the lead; what is due begins in `tasks`, or what runs is cancelled. Do we lead?"""
        try:
            if self._clock.steady() >= self._seek_at and await self._candidate.seek() is not None and not self._jobs:
                await self._load()
        except WvoError as error:
            logger.warning("leadership: %s", error.message)
        except Exception:  # one of the three edges: the loop must outlive a defect of one step
            logger.exception("leadership failed")
        term = self._candidate.term  # loading may have taken longer than the term
        self._turn(term, tasks, tick=True)
        return term is not None

    async def _load(self) -> None:
        """Who cannot load the jobs must not lead: others may be able to."""
        try:
            self._jobs = await self._load_jobs()
        except Exception:  # an edge: what is missing here may be there for another server, or in a minute
            logger.exception(
                "the leader's jobs were not loaded; others may lead, until this is tried again in a minute"
            )
            self._seek_at = self._clock.steady() + _LOAD_AGAIN_SECONDS
            await self._candidate.resign()

    def _due_in(self) -> float:
        """Seconds until the next job of its own time is due; infinite while this server does not lead."""
        if self._term is None:
            return math.inf
        timed = (job.name for job in self._jobs if job.every_seconds and job.name not in self._running)
        return max(0.0, min((self._due.get(name, math.inf) for name in timed), default=math.inf) - self._clock.steady())

    def _turn(self, term: LeaderTerm | None, tasks: TaskGroup, *, tick: bool) -> None:
        """Start the jobs that are due, between two ticks only those that have a time of their own; with another term or none,
        cancel those of the last term first."""
        if term is not self._term:
            for scope in self._running.values():
                scope.cancel()
            self._term = term
            self._alerted.clear()
        if term is None:
            return
        now = self._clock.steady()
        for job in self._jobs:
            if (tick or job.every_seconds) and job.name not in self._running and now >= self._due.get(job.name, now):
                scope = self._running[job.name] = anyio.CancelScope()
                self._due[job.name] = now + job.every_seconds
                tasks.start_soon(self._run, job, term, scope, name=job.name)

    async def _run(self, job: LeaderJob, term: LeaderTerm, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                await self._guarded(job, term)
        except Overtaken as error:
            logger.info("%s: %s", job.name, error)
        except WvoError as error:
            logger.warning("the alert of %s was not changed: %s", job.name, error.message)
        finally:
            del self._running[job.name]
            self._ended.set()

    async def _guarded(self, job: LeaderJob, term: LeaderTerm) -> None:
        """Raises Overtaken, and WvoError when the alert could not be written."""
        alert, passing = f"{job.name}_failed", False
        try:
            await job.run(term)
        except Overtaken:
            raise
        except WvoError as error:
            logger.warning("%s: %s", job.name, error.message)
            why, passing = error.message, error.retryable
        except Exception as error:  # one of the three edges: the loop must outlive a defect of one job
            logger.exception("%s failed", job.name)
            why = f"{type(error).__name__}: {error}"
        else:
            self._failures.pop(job.name, None)
            if self._alerted.get(job.name) is not False:  # an earlier leader may have raised it
                await resolve_alert(term, term.caller, alert)
                self._alerted[job.name] = False
            return
        times = self._failures[job.name] = self._failures.get(job.name, 0) + 1
        pause = max(job.every_seconds / 20, min(_RETRY_MAX_SECONDS, 2.0**times))
        self._due[job.name] = self._clock.steady() + pause
        if not self._alerted.get(job.name) and (times >= _PATIENCE or not passing):
            message = f"{job.name}: {why}"[:2_000]
            await term.write(term.caller, lambda tx: tx.alerts.raise_alert(alert, "warning", None, message))
            self._alerted[job.name] = True


async def settle_alerts(term: LeaderTerm, wanted: Mapping[str, tuple[str, str] | None]) -> None:
    """Alerts of these kinds, about no task, become as wanted: (severity, message), or None where there is no reason for one."""

    async def news(tx: Transaction) -> list[str]:
        rows = {kind: await tx.alerts.find(kind, None) for kind in wanted}
        known = {kind: None if row is None else (row["severity"], row["message"]) for kind, row in rows.items()}
        return [kind for kind in wanted if known[kind] != wanted[kind]]

    async def write(tx: Transaction) -> None:
        for kind in changed:
            if (alert := wanted[kind]) is None:
                await tx.alerts.resolve_alert(kind, None)
            else:
                await tx.alerts.raise_alert(kind, alert[0], None, alert[1])

    if changed := await term.read(term.caller, news):
        await term.write(term.caller, write)
