"""Routes, usage, breakers and raised budgets of the virtual store: sums by minute and day are kept by hand."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.domain.providers.catalogue import Mode
from wvo_mcp.domain.providers.routing import MODE_FACT, Chosen, RoutingState, Use
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.ports.providers import Spent, TaskRoute
from wvo_mcp.store.records.routing import PROBE_SECONDS
from wvo_mcp.store.virtual.world import World

Key = tuple[str, str]
"""Provider and tier."""


@dataclass(slots=True)
class _Entry:
    """A row of usage: when, and what counts."""

    at: str
    tokens: int
    cost: float
    task_id: str | None
    agent_id: str


@dataclass(slots=True)
class _Day:
    tokens: int = 0
    cost: float = 0.0
    attempts: int = 0


@dataclass(slots=True)
class _Raise:
    scope: str
    name: str
    period: str
    tokens: int
    until: str
    by_agent: str
    reason: str
    at: str


class VirtualRouting:
    """`ports.RoutingRepository`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._routes: dict[str, TaskRoute] = {}
        self._unreported: dict[str, int] = {}
        self._rows = 0
        self._by_agent: dict[str, list[_Entry]] = {}
        self._by_task: dict[str, list[_Entry]] = {}
        self._minutes: dict[Key, dict[str, int]] = {}
        self._days: dict[tuple[str, str, str], _Day] = {}
        self._reserved: dict[Key, tuple[int, int]] = {}
        self._held: dict[str, int] = {}
        """Tokens reserved by attempts of each agent."""
        self._breakers: dict[Key, Breaker] = {}
        self._raises: list[_Raise] = []
        self.states: dict[str, dict[str, Any]] = {}
        world.on_left = self._left

    @property
    def _at(self) -> str:
        return iso(self._world.now)

    @property
    def _hour(self) -> str:
        return iso(self._world.now - timedelta(hours=1))

    async def foresee(self, agent_id: str) -> None:
        """There is no way to save here."""

    async def state(self, agent_id: str) -> RoutingState:
        now, at, hour = self._world.now, self._at, self._hour
        minute, day = hour[:16], at[:10]
        uses: dict[Key, dict[str, Any]] = {}
        for key, minutes in self._minutes.items():
            recent = [tokens for _, tokens in _minutes_since(minutes, minute)]
            if recent:
                uses.setdefault(key, {})["hour"] = sum(recent)
        for (when, *key), sums in self._days.items():
            if when == day:
                of_day = {"day": sums.tokens, "attempts": sums.attempts, "cost": sums.cost}
                uses.setdefault((key[0], key[1]), {}).update(of_day)
        for key, (tokens, attempts) in self._reserved.items():
            if attempts > 0:
                uses.setdefault(key, {})["reserved"] = tokens
        raises: dict[tuple[str, str, str], int] = {}
        for one in self._raises:
            if one.until > at:
                name = (one.scope, one.name, one.period)
                raises[name] = raises.get(name, 0) + one.tokens
        own = self._by_agent.get(agent_id, [])
        agent = Use(hour=_since(own, hour), day=_since(own, day), reserved=self._held.get(agent_id, 0))
        mode = self._world.facts.get(MODE_FACT)
        return RoutingState(
            now,
            None if mode is None else Mode(mode),
            {key: Use(**use) for key, use in uses.items()},
            {key: _told(one) for key, one in self._breakers.items() if one.state is not BreakerState.CLOSED},
            raises,
            agent_id,
            agent,
        )

    async def route(self, task_id: str) -> TaskRoute | None:
        return self._routes.get(task_id)

    async def used_by_task(self, task_id: str) -> Use:
        own = self._by_task.get(task_id, [])
        return Use(hour=_since(own, self._hour), day=_since(own, self._at[:10]))

    async def take(
        self,
        task_id: str,
        lease_token: int,
        agent_id: str,
        chosen: Chosen,
        reason: str,
        *,
        unreported: int,
        worker: tuple[str, str] | None,
    ) -> None:
        old = self._routes.get(task_id)
        tier, now = chosen.tier.value, instant(self._at)
        new = TaskRoute(
            task_id,
            lease_token,
            agent_id,
            chosen.provider,
            tier,
            chosen.model,
            reason,
            chosen.estimate,
            0,
            now,
            None,
        )
        same = old is not None and old.lease_token == lease_token
        if old is not None and same and worker is not None and worker[0] != chosen.provider:
            worker = None if old.worked is None else (old.worked, "")  # what is advised now changes nothing of it
        new = replace(new, worked=None if worker is None else worker[0])
        moved = old is None or not same or old.worked != new.worked
        if worker is not None and (moved or (worker[0] == chosen.provider and old is not None and old.tier != tier)):
            self._day(*worker).attempts += 1
        self._put(old, new)
        self._unreported[task_id] = unreported
        self._free(task_id)
        for key in chosen.probes:
            breaker = self._breakers.get(key)
            if breaker is not None:
                until = now + timedelta(seconds=PROBE_SECONDS)
                self._breakers[key] = replace(
                    breaker,
                    state=BreakerState.HALF_OPEN,
                    probe_task=task_id,
                    probe_until=until,
                    updated_at=now,
                )

    def _put(self, old: TaskRoute | None, new: TaskRoute) -> None:
        """Everything that is reserved follows."""
        for route, sign in ((old, -1), (new, 1)):
            if route is None:
                continue
            key = (route.provider, route.tier)
            tokens, attempts = self._reserved.get(key, (0, 0))
            open_ = route.ended_at is None
            self._reserved[key] = (tokens + sign * route.reserved, attempts + sign * open_)
            if open_:
                self._held[route.agent_id] = self._held.get(route.agent_id, 0) + sign * route.reserved
        self._routes[new.task_id] = new

    def _day(self, provider: str, tier: str) -> _Day:
        return self._days.setdefault((self._at[:10], provider, tier), _Day())

    def _free(self, task_id: str) -> None:
        """What the task tried out may be tried by others."""
        for key, one in self._breakers.items():
            if one.probe_task == task_id:
                self._breakers[key] = replace(one, probe_task=None, probe_until=None)

    def _left(self, task: Task) -> None:
        """However a task leaves its holder, the reservation ends with it; and the probe, unless it was done."""
        task_id = task.id
        if task.status is not Status.DONE:
            self._free(task_id)
        route = self._routes.get(task_id)
        if route is None or route.ended_at is not None:
            return
        unreported = self._unreported[task_id]
        if route.reported == 0 and unreported > 0:
            self._count(route.provider, route.tier, _Entry(self._at, unreported, 0.0, task_id, route.agent_id))
        self._put(route, replace(route, reserved=0, ended_at=instant(self._at)))

    def _count(self, provider: str, tier: str, entry: _Entry) -> None:
        self._rows += 1
        self._by_agent.setdefault(entry.agent_id, []).append(entry)
        if entry.task_id is not None:
            self._by_task.setdefault(entry.task_id, []).append(entry)
        minutes = self._minutes.setdefault((provider, tier), {})
        minutes[entry.at[:16]] = minutes.get(entry.at[:16], 0) + entry.tokens
        day = self._day(provider, tier)
        day.tokens += entry.tokens
        day.cost += entry.cost

    async def record(self, spent: Spent) -> int:
        entry = _Entry(self._at, spent.counted, spent.cost, spent.task_id, spent.agent_id)
        self._count(spent.provider, spent.tier, entry)
        route = None if spent.task_id is None else self._routes.get(spent.task_id)
        if route is not None and route.lease_token == spent.lease_token and route.ended_at is None:
            left, reported = max(0, route.reserved - spent.counted), route.reported + spent.counted
            if route.worked != spent.provider:
                self._day(spent.provider, spent.tier).attempts += 1
            self._put(route, replace(route, reserved=left, reported=reported, worked=spent.provider))
        return self._rows

    async def read_until(self, transcript: str) -> int:
        raise NotImplementedError("nothing is simulated of transcripts")

    async def count_once(self, transcript: str, messages: Mapping[str, int]) -> set[str]:
        raise NotImplementedError("nothing is simulated of transcripts")

    async def breakers(self) -> list[Breaker]:
        return [self._breakers[key] for key in sorted(self._breakers)]

    async def put_breaker(self, breaker: Breaker) -> None:
        self._breakers[breaker.provider, breaker.tier] = replace(breaker, updated_at=instant(self._at))

    async def foresee_tried(self, task_id: str) -> None:
        """There is no way to save here."""

    async def tried(self, task_id: str) -> list[Breaker]:
        route = self._routes.get(task_id)
        probed = [one for one in self._breakers.values() if one.probe_task == task_id]
        counting = [one for one in self._breakers.values() if one.state is BreakerState.CLOSED and one.failures]
        return probed + [one for one in counting if route is not None and one.provider == route.provider]

    async def allow(self, scope: str, name: str, period: str, tokens: int, until: datetime, reason: str) -> None:
        by_agent = self._world.caller.agent_id
        self._raises.append(_Raise(scope, name, period, tokens, iso(until), by_agent, reason, self._at))

    async def allowed(self) -> list[dict[str, Any]]:
        names = _Raise.__slots__
        return [{name: getattr(one, name) for name in names} for one in self._raises if one.until > self._at]

    async def minutes(self, provider: str | None = None, tier: str | None = None) -> list[tuple[str, int]]:
        sums: dict[str, int] = {}
        oldest = self._hour[:16]
        for (name, of_tier), minutes in self._minutes.items():
            if provider in (None, name) and tier in (None, of_tier):
                for minute, tokens in _minutes_since(minutes, oldest):
                    sums[minute] = sums.get(minute, 0) + tokens
        return sorted(sums.items())

    async def agent_minutes(self, agent_id: str) -> list[tuple[str, int]]:
        return self._minutes_of(self._by_agent.get(agent_id, ()))

    async def task_minutes(self, task_id: str) -> list[tuple[str, int]]:
        return self._minutes_of(self._by_task.get(task_id, ()))

    def _minutes_of(self, entries: Iterable[_Entry]) -> list[tuple[str, int]]:
        sums: dict[str, int] = {}
        for one in entries:
            if one.at > self._hour:
                sums[one.at[:16]] = sums.get(one.at[:16], 0) + one.tokens
        return sorted(sums.items())

    async def by_agent(self, limit: int) -> list[tuple[str, Use]]:
        day, hour = self._at[:10], self._hour
        found = [
            (
                name,
                Use(
                    hour=_since(rows, hour),
                    day=_since(rows, day),
                    cost=sum(r.cost for r in rows if r.at >= day),
                    reserved=self._held.get(name, 0),
                ),
            )
            for name, rows in self._by_agent.items()
            if rows and rows[-1].at >= min(day, hour)
        ]
        return sorted(found, key=lambda one: (-one[1].day, one[0]))[:limit]

    async def put_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        self.states = {str(one["provider"]): dict(one) for one in states}

    async def forget(self, before: datetime) -> None:
        oldest, minute = iso(before), iso(self._world.now - timedelta(days=2))[:16]
        for kept in (self._by_agent, self._by_task):
            for name, rows in kept.items():
                kept[name] = [row for row in rows if row.at >= oldest]
        for key, minutes in self._minutes.items():
            self._minutes[key] = {when: tokens for when, tokens in minutes.items() if when >= minute}
        self._raises = [one for one in self._raises if one.until >= oldest]


def _since(entries: Sequence[_Entry], start: str) -> int:
    """Tokens of what is younger; entries stand in the order of time."""
    return sum(one.tokens for one in takewhile(lambda one: one.at > start, reversed(entries)))


def _minutes_since(minutes: dict[str, int], oldest: str) -> Iterable[tuple[str, int]]:
    """They stand in the order of time."""
    return takewhile(lambda one: one[0] >= oldest, reversed(minutes.items()))


def _told(breaker: Breaker) -> Breaker:
    """What a decision is told of it."""
    return replace(breaker, opened_at=None, reason="", updated_at=None)
