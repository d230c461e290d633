"""The engine of a day of traffic: agents claim through the scheduler's own code, providers fail, usage is reported.

Attempts are done by the provider that they are steered to. What a provider ends goes back to the queue and is begun anew.
"""

import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol, TypedDict, TypeVar

from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.providers.catalogue import Tier
from wvo_mcp.domain.providers.signals import FailureKind, Signal
from wvo_mcp.domain.task import Origin, Status, Task
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.orchestration.routing import breakers
from wvo_mcp.orchestration.routing.reporting import Told, report
from wvo_mcp.orchestration.routing.router import Route
from wvo_mcp.orchestration.simulation.scenario import VirtualClock
from wvo_mcp.orchestration.simulation.traffic_day import DAY, Call, Day, DayProviders, Demand, Helper, boundless
from wvo_mcp.orchestration.simulation.traffic_figures import Account, Figures, Ledger
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.orchestration.tasks.creation import Draft, create
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.providers import Providers

T = TypeVar("T")

_CREATOR = Caller("people", "people/1", client="simulation", durable=True)
_FIRST = 60_000
_PARTS = 4
"""Usage is reported after a minute, and with each quarter of an attempt."""
_END = DAY // timedelta(milliseconds=1)
POLICY = Policy(wip_limit=10_000, agent_wip_limit=1)


@dataclass(frozen=True, slots=True)
class Taken:
    """What an attempt took since it last told."""

    tokens_in: int
    tokens_out: int
    cost: float


class _Names(TypedDict):
    provider: str
    tier: str
    task_id: str
    lease_token: int


class Steering(Protocol):
    """Who does what, and what happens when a provider fails."""

    @property
    def name(self) -> str: ...

    @property
    def keeps(self) -> int | None:
        """An agent whose provider failed keeps its task and tries again after so many seconds; None: it is given back."""
        ...

    @property
    def providers(self) -> Providers | None:
        """What claims are routed by."""
        ...

    def steer(self, demand: Demand, route: Route | None) -> tuple[str, Tier]:
        """Provider and tier of the attempt."""
        ...

    async def spent(self, tx: Transaction, call: Call, taken: Taken) -> None:
        """A running attempt tells what it took: its provider answers."""
        ...

    async def troubled(self, tx: Transaction, task: Task, call: Call, signal: Signal) -> Route | None:
        """A provider ended the attempt; the task is still held. Where its holder goes on with it at once, if anywhere."""
        ...

    async def fine(self, tx: Transaction, task: Task) -> None:
        """A task was done by a provider."""
        ...


class Routed:
    """The product. With `daily` False the file has no limits of the day."""

    keeps = None

    def __init__(self, day: Day, clock: VirtualClock, *, daily: bool = True) -> None:
        self.name = "routed" if daily else "routed, no limits of the day"
        self._policy = POLICY
        self.providers = DayProviders(day if daily else boundless(day), clock)

    def steer(self, demand: Demand, route: Route | None) -> tuple[str, Tier]:
        if route is None:
            raise ValueError(f"{demand.id} was given without a route")
        return route.provider, Tier(route.tier)

    async def spent(self, tx: Transaction, call: Call, taken: Taken) -> None:
        told = Told(**_named(call), tokens_in=taken.tokens_in, tokens_out=taken.tokens_out, cost=taken.cost)
        await report(tx, self._policy, self.providers, told)

    async def troubled(self, tx: Transaction, task: Task, call: Call, signal: Signal) -> Route | None:
        told = Told(
            **_named(call), outcome=signal.kind.value, error=signal.message, retry_after=signal.retry_after,
            resets_at=signal.resets_at,
        )  # fmt: skip
        became = await report(tx, self._policy, self.providers, told)
        if became.route is None:
            await lifecycle.move(tx, task, Status.PENDING, "task.released")
        return became.route

    async def fine(self, tx: Transaction, task: Task) -> None:
        await breakers.done(tx, task.id, await tx.routing.tried(task.id))


class OneProvider:
    """Everything to the best models of one provider; whoever fails tries again every minute."""

    name = "one provider, retry every minute"
    keeps = 60
    providers = None

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def steer(self, demand: Demand, route: Route | None) -> tuple[str, Tier]:
        return self._provider, Tier.HIGH

    async def spent(self, tx: Transaction, call: Call, taken: Taken) -> None:
        """Nobody counts."""

    async def troubled(self, tx: Transaction, task: Task, call: Call, signal: Signal) -> Route | None:
        """It goes on."""

    async def fine(self, tx: Transaction, task: Task) -> None:
        """Nobody remembers anything."""


class RoundRobin:
    """Each attempt to the next provider that has models for it, whatever became of those before."""

    name = "round-robin"
    keeps = None
    providers = None

    def __init__(self, day: Day) -> None:
        self._catalogue = day.catalogue
        self._next = 0

    def steer(self, demand: Demand, route: Route | None) -> tuple[str, Tier]:
        wanted = self._catalogue.band(demand.complexity).tier
        while True:
            provider = self._catalogue.providers[self._next % len(self._catalogue.providers)]
            self._next += 1
            tier = provider.tier_for(wanted)
            if tier is not None:
                return provider.name, tier

    async def spent(self, tx: Transaction, call: Call, taken: Taken) -> None:
        """Nobody counts."""

    async def troubled(self, tx: Transaction, task: Task, call: Call, signal: Signal) -> Route | None:
        await lifecycle.move(tx, task, Status.PENDING, "task.released")

    async def fine(self, tx: Transaction, task: Task) -> None:
        """Nobody remembers anything."""


class Traffic:
    """Lives through the day once, in a store that is empty and whose clock stands at its start."""

    def __init__(self, store: Store, clock: VirtualClock, day: Day, steering: Steering) -> None:
        self._store = store
        self._clock = clock
        self._day = day
        self._steering = steering
        self._policy = POLICY
        self._callers = {
            one.id: Caller(one.id, f"{one.id}/1", one.provider, "simulation", worker=True) for one in day.agents
        }
        self._demands = {one.id: one for one in day.demands}
        self._attempts: dict[str, int] = {}
        self._agenda: list[tuple[int, int, Callable[[int], Awaitable[None]]]] = []
        self._entries = 0
        self._changes = 0
        self._refused: tuple[int, int, int] | None = None
        """Nothing was ready: at this number of changes, for so many milliseconds, until then."""
        self._accounts = {one.name: Account(one) for one in day.catalogue.providers}
        self._ledger = Ledger(day, self._accounts)

    async def run(self) -> Figures:
        for demand in self._day.demands:
            self._at(demand.at, partial(self._arrive, demand))
        for place, helper in enumerate(self._day.agents):
            self._at(place * 1_000, partial(self._ask, helper))
        while self._agenda and self._agenda[0][0] < _END:
            at, _, happens = heapq.heappop(self._agenda)
            await happens(at)
        return self._ledger.figures(self._steering.name)

    def _at(self, at: int, happens: Callable[[int], Awaitable[None]]) -> None:
        self._entries += 1
        heapq.heappush(self._agenda, (at, self._entries, happens))

    async def _write(self, at: int, caller: Caller, work: Callable[[Transaction], Awaitable[T]]) -> T:
        self._clock.move(self._day.start + timedelta(milliseconds=at))
        return await self._store.write(caller, work)

    async def _arrive(self, demand: Demand, at: int) -> None:
        fields = {"complexity": demand.complexity, "type": demand.type, "labels": demand.labels, "title": demand.id}
        await self._write(at, _CREATOR, lambda tx: create(tx, [Draft(demand.id, fields)], Origin.HUMAN))
        self._changes += 1

    # Agents.

    async def _ask(self, helper: Helper, at: int) -> None:
        known = self._refused
        if known is not None and known[0] == self._changes and at < known[2]:
            self._at(at + known[1], partial(self._ask, helper))
            return
        begun = await self._write(at, self._callers[helper.id], partial(self._claim, helper, at))
        if isinstance(begun, int):
            self._at(at + begun, partial(self._ask, helper))
            return
        self._changes += 1
        self._begin(begun, claimed=True)

    async def _claim(self, helper: Helper, at: int, tx: Transaction) -> Call | int:
        """What begins, or when to ask again, in milliseconds."""
        claim = await claims.claim(tx, self._policy, helper.id, None, None, self._steering.providers)
        if claim.task is None or claim.lease is None:
            retry = (claim.retry_after or 1) * 1000
            self._ledger.refused(claim.reason or "")
            if claim.reason == "no_ready_tasks":
                change = await tx.queue.next_change()
                until = _END if change is None else at + (change - tx.now) // timedelta(milliseconds=1)
                self._refused = (self._changes, retry, until - retry)
            return retry
        demand = self._demands[claim.task.id]
        name, tier = self._steering.steer(demand, claim.route)
        if claim.route is not None:
            await self._ledger.check(tx, claim.task.id, name, tier)
        return self._call(helper, demand, claim.lease.token, name, tier, at)

    def _call(self, helper: Helper, demand: Demand, token: int, name: str, tier: Tier, at: int) -> Call:
        number = self._attempts[demand.id] = self._attempts.get(demand.id, 0) + 1
        provider = self._day.catalogue.provider(name)
        if provider is None:
            raise ValueError(f"there is no provider {name}")
        return Call(helper, demand, token, provider, tier, number, at)

    # Attempts.

    def _begin(self, call: Call, *, claimed: bool = False) -> None:
        day, name, at = self._day, call.provider.name, call.begun
        minutes = call.demand.tokens / day.speeds[name, call.tier]
        ends = at + round(minutes * 60_000)
        refused = self._accounts[name].refuses(at, day.slack)
        down = refused is not None or day.struck(name, at) is not None
        self._ledger.began(call, down=down, claimed=claimed)
        if refused is not None:
            over = day.start + timedelta(milliseconds=refused)
            signal = Signal(FailureKind.RATE_LIMIT, "the limit of the account is reached", None, over, None)
            self._at(at + 2_000, partial(self._trouble, call, 0, signal))
            return
        fate = day.fate(call.demand, name, call.number, at, ends)
        silent = ends
        if fate is not None:
            # What was said on the way counts all the same.
            silent = fate[0] if fate[1].chance < 1 or fate[1].start * 60_000 > at else at
            taken = round(min(1.0, (silent - at) / (ends - at)) * call.demand.tokens)
            self._at(fate[0], partial(self._trouble, call, taken, day.signal(fate[1])))
        for when in _reports(at, ends):
            if when < silent:
                self._at(when, partial(self._part, call, ends))
        if fate is None:
            self._at(ends, partial(self._finish, call))

    async def _part(self, call: Call, ends: int, at: int) -> None:
        """The attempt tells what it took so far."""
        so_far = call.demand.tokens * (at - call.begun) // (ends - call.begun)
        await self._write(at, self._callers[call.helper.id], partial(self._spend, call, so_far, at))

    async def _spend(self, call: Call, so_far: int, at: int, tx: Transaction) -> None:
        tokens = so_far - self._ledger.taken(call)
        if tokens <= 0:
            return
        fresh, out = tokens * 3 // 4, tokens - tokens * 3 // 4
        model = call.provider.tiers[call.tier]
        cost = model.cost.of(fresh, out)
        self._ledger.spent(call, at, tokens, cost)
        await self._steering.spent(tx, call, Taken(fresh, out, cost))

    async def _finish(self, call: Call, at: int) -> None:
        async def work(tx: Transaction) -> bool:
            await self._spend(call, call.demand.tokens, at, tx)
            done = not call.demand.fails or (await tx.tasks.get(call.demand.id)).attempts > 0
            to = Status.DONE if done else Status.FAILED
            task = await lifecycle.held(tx, self._policy, call.demand.id, call.token, to)
            if done:
                await lifecycle.complete(tx, task, "done", [])
                await self._steering.fine(tx, task)
            else:
                await lifecycle.fail(tx, task, "drawn by lot", retry=True)
            return done

        done = await self._write(at, self._callers[call.helper.id], work)
        self._ledger.ended(call, at, done=done)
        self._changes += 1
        await self._ask(call.helper, at)

    async def _trouble(self, call: Call, tokens: int, signal: Signal, at: int) -> None:
        """Its provider ends the attempt after it took so many tokens."""

        async def work(tx: Transaction) -> Route | None:
            await self._spend(call, tokens, at, tx)
            task = await lifecycle.held(tx, self._policy, call.demand.id, call.token)
            route = await self._steering.troubled(tx, task, call, signal)
            if route is not None:
                await self._ledger.check(tx, task.id, route.provider, Tier(route.tier))
            return route

        route = await self._write(at, self._callers[call.helper.id], work)
        self._ledger.lost(call, at)
        self._changes += 1
        if route is not None:
            self._begin(self._call(call.helper, call.demand, call.token, route.provider, Tier(route.tier), at))
        elif self._steering.keeps is None:
            await self._ask(call.helper, at)
        else:
            self._at(at + self._steering.keeps * 1000, partial(self._again, call))

    async def _again(self, call: Call, at: int) -> None:
        name, tier = call.provider.name, call.tier
        self._begin(self._call(call.helper, call.demand, call.token, name, tier, at))


def _named(call: Call) -> _Names:
    return _Names(provider=call.provider.name, tier=call.tier.value, task_id=call.demand.id, lease_token=call.token)


def _reports(begun: int, ends: int) -> list[int]:
    """When a running attempt tells what it took."""
    quarters = [begun + (ends - begun) * part // _PARTS for part in range(1, _PARTS)]
    return [begun + _FIRST, *quarters] if begun + _FIRST < quarters[0] else quarters
