"""What the leader does by and by: each chore in a task of its own, so that none waits for, or fails with, another."""

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.leader.leading import LeaderTerm, Overtaken
from wvo_mcp.ports import Clock, Transaction

logger = logging.getLogger(__name__)

_RETRY_MAX_SECONDS = 60.0
_PATIENCE = 2
"""So many times in a row a chore may fail for a passing reason before people are told."""


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

    @property
    def alert(self) -> str:
        """The kind of alert that says that it fails."""
        return f"{self.name}_failed"


class ChoreRunner:
    """Starts what is due, never one chore twice at once; ends all of it with the term."""

    def __init__(self, chores: Sequence[LeaderJob], clock: Clock) -> None:
        self.chores = chores
        self._clock = clock
        self._term: LeaderTerm | None = None
        self._running: dict[str, anyio.CancelScope] = {}
        self._due: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._alerted: dict[str, bool] = {}
        self._ended = anyio.Event()

    @property
    def running(self) -> list[str]:
        return list(self._running)

    def due_in(self) -> float:
        """Seconds until the next chore of its own time is due; infinite while this server does not lead."""
        if self._term is None:
            return math.inf
        waiting = (
            self._due.get(chore.name, math.inf)
            for chore in self.chores
            if chore.every_seconds and chore.name not in self._running
        )
        return max(0.0, min(waiting, default=math.inf) - self._clock.steady())

    async def rest(self, seconds: float) -> None:
        """For so long, or until a chore has ended: the next time that one is due may have changed by it."""
        self._ended = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._ended.wait()

    def turn(self, term: LeaderTerm | None, tasks: TaskGroup, *, tick: bool = True) -> None:
        """Start the chores that are due, in `tasks`; with another term or none, cancel those of the last term first.

        Between two ticks, only those that have a time of their own.
        """
        if term is not self._term:
            for scope in self._running.values():
                scope.cancel()
            self._term = term
            self._alerted.clear()
        if term is None:
            return
        now = self._clock.steady()
        for chore in self.chores:
            if not tick and not chore.every_seconds:
                continue
            if chore.name not in self._running and now >= self._due.get(chore.name, now):
                scope = self._running[chore.name] = anyio.CancelScope()
                self._due[chore.name] = now + chore.every_seconds
                tasks.start_soon(self._run, chore, term, scope, name=chore.name)

    async def _run(self, chore: LeaderJob, term: LeaderTerm, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                await self._guarded(chore, term)
        finally:
            del self._running[chore.name]
            self._ended.set()

    async def _guarded(self, chore: LeaderJob, term: LeaderTerm) -> None:
        try:
            try:
                await chore.run(term)
            except WvoError as error:
                logger.warning("%s: %s", chore.name, error.message)
                await self._failed(chore, term, error.message, passing=error.retryable)
            except Overtaken:
                raise
            except Exception as error:  # one of the three edges: the loop must outlive a defect of one chore
                logger.exception("%s failed", chore.name)
                await self._failed(chore, term, f"{type(error).__name__}: {error}", passing=False)
            else:
                await self._succeeded(chore, term)
        except Overtaken as error:
            logger.info("%s: %s", chore.name, error)
        except WvoError as error:
            logger.warning("the alert of %s was not changed: %s", chore.name, error.message)

    async def _failed(self, chore: LeaderJob, term: LeaderTerm, why: str, *, passing: bool) -> None:
        times = self._failures[chore.name] = self._failures.get(chore.name, 0) + 1
        pause = max(chore.every_seconds / 20, min(_RETRY_MAX_SECONDS, 2.0**times))
        self._due[chore.name] = self._clock.steady() + pause
        if self._alerted.get(chore.name) or (passing and times < _PATIENCE):
            return

        async def alert(tx: Transaction) -> None:
            await tx.alerts.raise_alert(chore.alert, "warning", None, f"{chore.name}: {why}"[:2_000])

        await term.write(term.caller, alert)
        self._alerted[chore.name] = True

    async def _succeeded(self, chore: LeaderJob, term: LeaderTerm) -> None:
        self._failures.pop(chore.name, None)
        if self._alerted.get(chore.name) is False:
            return

        # An earlier leader may have raised it.
        async def alerted(tx: Transaction) -> bool:
            return await tx.alerts.find(chore.alert, None) is not None

        if await term.read(term.caller, alerted):
            await term.write(term.caller, lambda tx: tx.alerts.resolve_alert(chore.alert, None))
        self._alerted[chore.name] = False
