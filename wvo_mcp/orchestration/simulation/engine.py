"""The engine: a heap of what happens when. Every decision is the scheduler's own, in a transaction of the store."""

import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import Random
from typing import TypeVar

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import SETTLED, Status, Task
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.orchestration.simulation.scenario import Attendants, Fate, MovableClock, PoolAgent, Scenario, fate
from wvo_mcp.orchestration.simulation.tally import AWAY, BUSY, Outcome, Tally
from wvo_mcp.orchestration.simulation.waiting import Key, Ring
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Store, Transaction

T = TypeVar("T")

_TICK_MS = 2_000
"""How often the leader looks (`orchestration.leader.leading.TICK_SECONDS`)."""
_RESCORE_MS = 3_600_000
"""The leader looks more often, but time alone makes no task 2 % more urgent, which is what counts, in less than three hours."""
_DUE_A_ROUND = 1_000
"""With more tasks that have a due date, scores are refreshed less often, or that would cost more than all the rest."""
_ALL = _NEVER = 1 << 60
_LEADER = Caller("leader", "leader/1", client="simulation", durable=True)


@dataclass(frozen=True, slots=True)
class Decision:
    """Who asked when, and was given which task, or refused for what reason."""

    at: int
    agent_id: str
    task_id: str | None
    reason: str | None


@dataclass(slots=True)
class _Worker:
    agent: PoolAgent
    caller: Caller
    sessions: int = 1


@dataclass(frozen=True, slots=True)
class _Work:
    """An attempt that runs."""

    task_id: str
    token: int
    fate: Fate


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: str
    retry_ms: int
    until: int
    """The answer is the same before this time, if nothing happens."""


class Simulation:
    """Drains what the store holds. One `run` for each; the store is changed by it."""

    def __init__(
        self,
        store: Store,
        clock: MovableClock,
        servers: Attendants,
        scenario: Scenario,
        *,
        order: str = "wsjf",
        told: Callable[[Decision], None] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._servers = servers
        self._scenario = scenario
        self._policy = scenario.policy
        self._order = order
        self._told = told
        self._start = clock.now()
        self._chance = Random()  # noqa: S311 - lots, not secrets; seeded for every draw
        self._workers = {agent.id: _Worker(agent, agent.caller(1)) for agent in scenario.agents}
        self._agenda: list[tuple[Key, int, Callable[[int], Awaitable[None]], bool]] = []
        self._entries = 0
        self._weighty = 0
        """Entries of the agenda that may change something: all but askings."""
        self._refused: dict[tuple[str, ...], _Refusal] = {}
        """The last answer to agents of these capabilities: it holds for all of them until something changes."""
        self._idle: set[str] = set()
        self._rings: dict[tuple[tuple[str, ...], str, int], Ring[_Worker]] = {}
        """Those who wait, by kind, reason and pause; empty where every asking is to be told."""
        self._loose: dict[tuple[tuple[str, ...], str, int], Ring[_Worker]] = {}
        """Those of them whose next asking is not on the agenda, or could come to be a nearer one."""
        self._stale = False
        """The next asking of a ring may be another one."""
        self._key: Key = (0, 0, 0, 0)
        self._over = False
        self._rescore_every, self._rescore_at = _RESCORE_MS, _NEVER

    async def run(self) -> Outcome:
        """Until all is done, or nothing can ever be done any more."""
        tasks = await self._write(0, _LEADER, lambda tx: tx.state.roadmap_tasks())
        milestones = await self._write(0, _LEADER, lambda tx: tx.tasks.milestones())
        self._tally = Tally(tasks, list(self._workers), self._start)
        for worker in self._workers.values():
            self._ask_at(0, 0, worker)
        due = {row["id"] for row in milestones if row["due_at"] is not None}
        dated = sum(task.milestone_id in due and task.status not in SETTLED for task in tasks)
        if dated:
            self._rescore_every = self._rescore_at = _RESCORE_MS * max(1, dated // _DUE_A_ROUND)
        horizon = self._scenario.horizon // timedelta(milliseconds=1)
        while self._agenda and not self._over:
            self._key, _, happens, weighty = heapq.heappop(self._agenda)
            self._weighty -= weighty
            if self._key[0] > horizon:
                break
            await happens(self._key[0])
            if self._stale:
                self._wind_up()
        for ring in self._rings.values():
            self._tally.refusals += ring.spared(min(self._key[0], horizon))
        after = await self._write(0, _LEADER, lambda tx: tx.state.roadmap_tasks())
        left = await self._write(0, _LEADER, self._left)
        return self._tally.outcome(self._order, self._scenario.seed, after, left, milestones)

    def _at(self, at: int, happens: Callable[[int], Awaitable[None]], *, weighty: bool = True) -> None:
        self._entries += 1
        self._weighty += weighty
        heapq.heappush(self._agenda, ((at, 0, 0, self._entries), self._entries, happens, weighty))

    async def _write(self, at: int, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        now = self._start + timedelta(milliseconds=at)
        if now > self._clock.now():
            self._clock.move(now)
        return await self._store.write(caller, work)

    def _changed(self, at: int) -> None:
        self._forget()
        self._idle.clear()

    def _forget(self) -> None:
        self._refused.clear()
        self._stale = True

    # Agents.

    def _ask_at(self, at: int, pause: int, worker: _Worker) -> None:
        self._entries += 1
        key = (at, 1, -pause, self._entries)
        heapq.heappush(self._agenda, (key, self._entries, partial(self._ask, worker), False))

    def _wind_up(self) -> None:
        """Put the next asking of each ring on the agenda that can be answered otherwise than the one before."""
        self._stale = False
        for name, ring in list(self._loose.items()):
            if not ring.places:
                del self._loose[name]
                continue
            kind, reason, _ = name
            known = self._refused.get(kind)
            same = known is not None and (known.reason, known.retry_ms) == (reason, ring.pause)
            until = known.until if same and known is not None else 0
            if until == _NEVER:
                continue
            key = ring.next(self._key, until)
            ring.soonest = not until
            if ring.soonest:
                del self._loose[name]
            if ring.wake is None or key < ring.wake:
                ring.wake = key
                self._entries += 1
                heapq.heappush(self._agenda, (key, self._entries, partial(self._wake, name, key), False))
        if not self._weighty and sum(len(ring.places) for ring in self._rings.values()) == len(self._workers):
            self._over = all(self._settled(*name) for name, ring in self._rings.items() if ring.places)

    def _settled(self, kind: tuple[str, ...], reason: str, pause: int) -> bool:
        """Will they be told the same for ever?"""
        known = self._refused.get(kind)
        return known is not None and (known.reason, known.retry_ms, known.until) == (reason, pause, _NEVER)

    async def _wake(self, name: tuple[tuple[str, ...], str, int], key: Key, at: int) -> None:
        ring = self._rings[name]
        if ring.wake != key:
            return  # another one was nearer
        ring.wake, ring.soonest = None, False
        self._loose[name] = ring
        self._stale = True
        number = key[3]
        if number not in ring.members:
            return
        worker, spared = ring.take(number, at)
        self._tally.refusals += spared
        await self._ask(worker, at, number)

    async def _ask(self, worker: _Worker, at: int, number: int | None = None) -> None:
        """Claim; with nothing to do, ask again when the answer says so. `number` in the ring that it was in."""
        kind = worker.agent.capabilities
        known = self._refused.get(kind)
        if known is None or at >= known.until:
            await self._rescore(at)
            claim, refusal = await self._write(at, worker.caller, partial(self._claim, worker.agent.id, at))
            if claim.task is not None and claim.lease is not None:
                self._begin(worker, claim.task, claim.lease.token, at)
                return
            known = self._refused[kind] = refusal
        self._tell(Decision(at, worker.agent.id, None, known.reason))
        self._tally.refusals += 1
        self._tally.turn(at, worker.agent.id, known.reason)
        if self._told is None:
            name = (kind, known.reason, known.retry_ms)
            ring = self._rings.setdefault(name, Ring(known.retry_ms))
            if not ring.soonest:
                self._loose[name] = ring
            if number is None or self._key[2] != -known.retry_ms:
                self._entries += 1
                number = self._entries
            ring.add(number, worker, at)
            self._stale = True
            return
        self._idle.add(worker.agent.id)
        if known.until == _NEVER and not self._weighty and len(self._idle) == len(self._workers):
            self._over = True  # everybody was refused, and nothing is under way that could change that
        self._ask_at(at + known.retry_ms, known.retry_ms, worker)

    def _begin(self, worker: _Worker, task: Task, token: int, at: int) -> None:
        self._tell(Decision(at, worker.agent.id, task.id, None))
        self._tally.claims += 1
        self._tally.turn(at, worker.agent.id, BUSY)
        self._changed(at)
        lot = fate(self._scenario, self._chance, task.id, token, task.complexity, worker.agent.speed)
        self._at(at + round(lot.seconds * 1000), partial(self._end, worker, _Work(task.id, token, lot)))
        if self._scenario.keepers:
            self._at(at + (task.lease_seconds or 0) * 333, partial(self._keep, worker, worker.caller.session_id))

    async def _claim(self, agent_id: str, at: int, tx: Transaction) -> tuple[claims.Claim, _Refusal]:
        claim = await claims.claim(tx, self._policy, agent_id, None, None)
        if claim.task is not None:
            return claim, _Refusal("", 0, 0)
        retry = (claim.retry_after or 1) * 1000
        change = await tx.queue.next_change()
        # Nearer to the change, the time until the next asking is another.
        until = _NEVER if change is None else at + (change - tx.now) // timedelta(milliseconds=1) - retry - 1000
        return claim, _Refusal(claim.reason or "", retry, until)

    async def _end(self, worker: _Worker, work: _Work, at: int) -> None:
        ends = work.fate.ends
        if ends == "killed":
            await self._lose(worker, work, at)
            return
        await self._write(at, worker.caller, partial(self._finish, work))
        done = ends == "done"
        self._tally.failures += not done
        self._tally.ended(at, work.task_id, work.fate.seconds, done=done)
        self._changed(at)
        if self._over:
            self._tally.turn(at, worker.agent.id, "no_ready_tasks")
        else:
            await self._ask(worker, at)

    async def _finish(self, work: _Work, tx: Transaction) -> None:
        await tx.sessions.ensure()
        done = work.fate.ends == "done"
        to = Status.DONE if done else Status.FAILED
        task = await lifecycle.held(tx, self._policy, work.task_id, work.token, to)
        if done:
            await lifecycle.complete(tx, task, "done", [])
        else:
            await lifecycle.fail(tx, task, "drawn by lot", retry=True)
        counts = await tx.tasks.counts()
        self._over = counts["pending"] + counts["in_progress"] == 0

    async def _lose(self, worker: _Worker, work: _Work, at: int) -> None:
        """Its server is killed: the leader cuts the lease to the grace, and returns the task when that is over."""
        self._servers.kill(worker.caller.session_id)
        self._tally.lost += 1
        self._tally.ended(at, work.task_id, work.fate.seconds, done=False)
        self._tally.turn(at, worker.agent.id, AWAY)
        self._changed(at)
        seen = at - at % _TICK_MS + _TICK_MS
        over = seen + self._policy.grace_seconds * 1000
        self._at(seen, self._reap)
        self._at(over - over % _TICK_MS + _TICK_MS, self._reap)
        self._at(at + round(self._scenario.away_seconds * 1000), partial(self._return, worker))

    async def _return(self, worker: _Worker, at: int) -> None:
        worker.sessions += 1
        worker.caller = worker.agent.caller(worker.sessions)
        self._forget()  # its own task may still wait for it
        await self._ask(worker, at)

    async def _keep(self, worker: _Worker, session_id: str, at: int) -> None:
        if worker.caller.session_id != session_id or self._tally.state(worker.agent.id) != BUSY:
            return
        task = await self._write(at, worker.caller, partial(_renewed, session_id))
        if task is not None:
            self._at(at + task * 333, partial(self._keep, worker, session_id))

    # The leader.

    async def _reap(self, at: int) -> None:
        await self._write(at, _LEADER, lambda tx: claims.reap(tx, self._policy))
        self._changed(at)

    async def _rescore(self, at: int) -> None:
        """When it is time for it. Only when somebody looks at scores: nobody sees what they are in between."""
        if at >= self._rescore_at:
            self._rescore_at = at - at % self._rescore_every + self._rescore_every
            await self._write(at, _LEADER, lambda tx: tx.graph.rescore_due(None, _ALL))

    # The end.

    async def _left(self, tx: Transaction) -> dict[str, int]:
        left: dict[str, int] = {}
        anybody = claims.Circumstances(tx, next(iter(self._workers)), self._policy)
        for task in await tx.state.roadmap_tasks():
            if task.status in SETTLED or task.status is Status.FAILED:
                continue
            if task.unmet_deps and task.status is Status.PENDING:
                reason = "dependencies"
            else:
                why = await claims.why_not_ready(tx, task, anybody)
                reason = why[0] if why is not None else "time"
            left[reason] = left.get(reason, 0) + 1
        return left

    def _tell(self, decision: Decision) -> None:
        if self._told is not None:
            self._told(decision)


async def _renewed(session_id: str, tx: Transaction) -> int | None:
    """The length of the leases that were renewed, in seconds."""
    await tx.queue.renew(session_id)
    held = await tx.queue.held_by_session(session_id)
    return held[0].lease_seconds if held else None
