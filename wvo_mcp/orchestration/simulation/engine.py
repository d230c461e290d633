"""The engine: a heap of what happens when. Every decision is the scheduler's own, in a transaction of the store.

Agents without work claim whenever anything has happened, the one that has waited longest first. Leases last for ever, as
keepers of living servers renew them; that of a killed one is cut to the grace.
"""

import heapq
import itertools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from random import Random
from typing import TypeVar

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import SETTLED, Status
from wvo_mcp.orchestration.queue import claims, planning
from wvo_mcp.orchestration.simulation.scenario import PoolAgent, Scenario, VirtualClock, VirtualServers
from wvo_mcp.orchestration.simulation.tally import AWAY, BUSY, Outcome, Tally
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Store, Transaction

T = TypeVar("T")

_TICK_MS = 2_000
"""How often the leader checks (`orchestration.leader.TICK_SECONDS`)."""
_RESCORE_MS = 3 * 3_600_000
"""The leader checks more often, but in less time no task becomes 2 % more urgent, which is what counts."""
_DUE_A_ROUND = 1_000
"""With more tasks that have a due date, scores are refreshed less often, or that would cost more than all the rest."""
_ALL = 1 << 60
_LEASE_SECONDS = 20 * 365 * 86_400
_LEADER = Caller("leader", "leader/1", client="simulation", durable=True)


class Simulation:
    """Drains what the store holds. One `run` for each; the store is changed by it."""

    def __init__(
        self,
        store: Store,
        clock: VirtualClock,
        servers: VirtualServers,
        scenario: Scenario,
        *,
        order: str = "wsjf",
    ) -> None:
        self._store = store
        self._clock = clock
        self._servers = servers
        self._scenario = scenario
        self._start = clock.now()
        self._random = Random()  # noqa: S311 - not secrets; seeded for every draw
        self._order = order
        self._sessions = dict.fromkeys((agent.id for agent in scenario.agents), 1)
        self._agenda: list[tuple[int, int, Callable[[int], Awaitable[None]]]] = []
        self._entries = itertools.count()
        self._idle = list(scenario.agents)
        """The one that has waited longest comes first."""
        self._alarm: int | None = None
        """When the idle claim again if nothing happens until then."""
        self._rescore_every = self._rescore_at = _ALL
        self.claimed: list[tuple[int, str, str]] = []
        """(when, agent, task), in the order of the claims."""

    async def run(self) -> Outcome:
        """Until all is done, or nothing can ever be done any more."""
        tasks = await self._write(0, _LEADER, lambda tx: tx.state.roadmap_tasks())
        milestones = await self._write(0, _LEADER, lambda tx: tx.tasks.milestones())
        self._tally = Tally(tasks, [agent.id for agent in self._idle], self._start)
        due = {row["id"] for row in milestones if row["due_at"] is not None}
        dated = sum(task.milestone_id in due and task.status not in SETTLED for task in tasks)
        if dated:
            self._rescore_every = self._rescore_at = _RESCORE_MS * max(1, dated // _DUE_A_ROUND)
        await self._claim_all(0)
        horizon = self._scenario.horizon // timedelta(milliseconds=1)
        while self._agenda and self._agenda[0][0] <= horizon:
            at, _, happens = heapq.heappop(self._agenda)
            await happens(at)
            await self._claim_all(at)
        after = await self._write(0, _LEADER, lambda tx: tx.state.roadmap_tasks())
        left = await self._write(0, _LEADER, self._left)
        return self._tally.outcome(self._order, self._scenario.seed, after, left, milestones)

    def _at(self, at: int, happens: Callable[[int], Awaitable[None]]) -> None:
        heapq.heappush(self._agenda, (at, next(self._entries), happens))

    async def _write(self, at: int, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        now = self._start + timedelta(milliseconds=at)
        if now > self._clock.now():
            self._clock.move(now)
        return await self._store.write(caller, work)

    def _caller(self, agent: PoolAgent) -> Caller:
        session = f"{agent.id}/{self._sessions[agent.id]}"
        return Caller(agent.id, session, agent.provider, "simulation", agent.capabilities)

    async def _claim_all(self, at: int) -> None:
        """A refusal holds for all that have the same capabilities."""
        if not self._idle:
            return
        if at >= self._rescore_at:  # only claims read scores
            self._rescore_at = at - at % self._rescore_every + self._rescore_every
            await self._write(at, _LEADER, lambda tx: tx.graph.rescore_due(None, _ALL))
        refused: dict[tuple[str, ...], str] = {}
        idle: list[PoolAgent] = []
        for agent in self._idle:
            reason = refused.get(agent.capabilities) or await self._claim(agent, at)
            if reason is not None:
                refused[agent.capabilities] = reason
                self._tally.turn(at, agent.id, reason)
                idle.append(agent)
        self._idle = idle
        if idle:
            change = await self._write(at, _LEADER, lambda tx: tx.queue.next_change())
            wake = None if change is None else -((self._start - change) // timedelta(milliseconds=1))
            if wake is not None and wake > at and (self._alarm is None or self._alarm <= at or wake < self._alarm):
                self._alarm = wake
                self._at(wake, _wake)

    async def _claim(self, agent: PoolAgent, at: int) -> str | None:
        """Why there is nothing to do, or None."""
        policy = self._scenario.policy
        claim = await self._write(
            at, self._caller(agent), lambda tx: claims.claim(tx, policy, agent.id, None, _LEASE_SECONDS)
        )
        if claim.task is None or claim.lease is None:
            return claim.reason or ""
        task, token = claim.task, claim.lease.token
        self.claimed.append((at, agent.id, task.id))
        self._tally.claims += 1
        self._tally.turn(at, agent.id, BUSY)
        ends, seconds = self._scenario.attempt(self._random, task.id, token, task.complexity, agent.speed)
        self._at(at + round(seconds * 1000), partial(self._end, agent, task.id, token, ends, seconds))
        return None

    async def _end(self, agent: PoolAgent, task_id: str, token: int, ends: str, seconds: float, at: int) -> None:
        done = ends == "done"

        async def finish(tx: Transaction) -> None:
            await tx.sessions.ensure()
            to = Status.DONE if done else Status.FAILED
            task = await lifecycle.held(tx, self._scenario.policy, task_id, token, to)
            if done:
                await lifecycle.complete(tx, task, "done", [])
            else:
                await lifecycle.fail(tx, task, "simulated failure", retry=True)

        if ends == "killed":
            self._kill(agent, at)
        else:
            await self._write(at, self._caller(agent), finish)
            self._tally.failures += not done
            self._idle.append(agent)
        self._tally.ended(at, task_id, seconds, done=done)

    def _kill(self, agent: PoolAgent, at: int) -> None:
        """Its server is gone: the leader cuts the lease to the grace, and returns the task when that is over."""
        self._servers.kill(self._caller(agent).session_id)
        self._tally.lost += 1
        self._tally.turn(at, agent.id, AWAY)
        seen = at - at % _TICK_MS + _TICK_MS
        self._at(seen, self._reap)
        self._at(seen + self._scenario.policy.grace_seconds * 1000, self._reap)
        self._at(at + round(self._scenario.away_seconds * 1000), partial(self._return, agent))

    async def _reap(self, at: int) -> None:
        await self._write(at, _LEADER, lambda tx: claims.reap(tx, self._scenario.policy))

    async def _return(self, agent: PoolAgent, at: int) -> None:
        self._sessions[agent.id] += 1
        self._idle.insert(0, agent)  # before its equals: its own task may still wait for it

    async def _left(self, tx: Transaction) -> dict[str, int]:
        left: dict[str, int] = {}
        circumstances = planning.Circumstances(tx, self._scenario.agents[0].id, self._scenario.policy)
        for task in await tx.state.roadmap_tasks():
            if task.status in SETTLED or task.status is Status.FAILED:
                continue
            if task.unmet_deps and task.status is Status.PENDING:
                reason = "dependencies"
            else:
                why = await planning.why_not_ready(tx, task, circumstances)
                reason = why[0] if why is not None else "time"
            left[reason] = left.get(reason, 0) + 1
        return left


async def _wake(at: int) -> None:
    """The time has come for something: the idle claim."""
