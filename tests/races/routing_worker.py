"""A process that claims, reports, finishes and breaks providers at random, and judges each claim by plain sums over raw rows
within the claim's own transaction. Run by the nursery; time runs a few hundred times as fast as on the wall, for all alike.
"""

import random
import time
import uuid
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from tests.support.providers import FixedProviders, a_provider
from tests.support.services import Services
from tests.support.sessions import an_agent
from tests.support.stores import a_store, attending
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.domain.providers.catalogue import TIERS, Catalogue, Limits, Place, Provider
from wvo_mcp.domain.providers.routing import RouteDecision, RouteRequest, decide
from wvo_mcp.domain.providers.state import RoutingState
from wvo_mcp.domain.task import Status, TaskType
from wvo_mcp.errors import StaleLease
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.orchestration.routing import breakers, router
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Liveness, Transaction
from wvo_mcp.ports.providers import Spent
from wvo_mcp.store.sql import Rows

SPEED = 400
ESTIMATES = {"low": 100, "medium": 300, "high": 900}
POLICY = Policy(wip_limit=100, agent_wip_limit=4, lease_seconds=86_400, grace_seconds=0)


class FastClock:
    """`ports.Clock`, the same in all processes of this machine."""

    def now(self) -> datetime:
        ms = int(time.monotonic() * SPEED * 1000)
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(milliseconds=ms)

    def steady(self) -> float:
        return time.monotonic() * SPEED

    def boot(self) -> str:
        return "fast"


def a_catalogue(seed: int) -> Catalogue:
    """Five providers with random limits, most of them narrow."""
    chance = random.Random(seed)

    def limits(of: int) -> Limits:
        pick = chance.choice((None, 1, 2, 4))
        day = chance.choice((None, None, 10, 40))
        return Limits(None if pick is None else pick * of, None if day is None else day * of)

    made: list[Provider] = []
    for number in range(5):
        tiers = tuple(tier for tier in TIERS if chance.random() < 0.8) or TIERS
        place = Place.LOCAL if number == 4 else Place.CLOUD
        tier_limits = {tier: limits(ESTIMATES[tier]) for tier in tiers}
        name = f"p{number}"
        made.append(
            a_provider(
                name, place=place, cost=chance.random() * 5, limits=limits(900), tier_limits=tier_limits, tiers=tiers
            )
        )
    agent = Limits(hourly=chance.choice((None, 3_000)), daily=chance.choice((None, 40_000)))
    return Catalogue(
        tuple(made),
        estimates={tier: ESTIMATES[tier] for tier in TIERS},
        agent_limits=agent,
        count_unreported=chance.random() < 0.5,
    )


def warm() -> None:
    with TemporaryDirectory() as folder:
        seed_store(Path(folder), None, 3)
        run(folder, None, "warm", 1, 1, 20)


def seed_store(folder: Path, url: str | None, count: int) -> None:
    chance = random.Random(count)
    tasks = [{"id": f"T{number}", "title": "x", "complexity": chance.randint(1, 10)} for number in range(count)]

    async def seeding() -> None:
        caller = an_agent("planner", uuid.uuid4().hex)
        store = a_store(folder, url, FastClock(), synchronous="OFF")
        await store.open()
        roadmap, directives = RoadmapSource(folder / "roadmap.yaml"), DirectiveFiles(folder)
        services = Services(store=store, policy=POLICY, roadmap=roadmap, directives=directives)
        for start in range(0, count, 500):
            await ALL["create_tasks"](services, caller, {"tasks": tasks[start : start + 500]})
        await store.close()

    anyio.run(seeding)


def run(folder: str, url: str | None, agent_id: str, world: int, seed: int, calls: int) -> None:
    """`world` is the seed of the catalogue, the same for all."""
    anyio.run(_live, Path(folder), url, agent_id, world, random.Random(seed), calls)


async def _live(folder: Path, url: str | None, agent_id: str, world: int, chance: random.Random, calls: int) -> None:
    caller = an_agent(agent_id, uuid.uuid4().hex, worker=True)
    worker = _Worker(a_catalogue(world), caller, chance)
    store = a_store(folder, url, FastClock(), synchronous="OFF")
    with attending(folder, url, caller.session_id):
        await store.open()
        try:
            for _ in range(calls):
                await store.write(caller, worker.step())
        finally:
            await store.close()
    with (folder / f"seen-{agent_id}").open("w") as told:
        told.write(" ".join(sorted(worker.seen)))


class _Worker:
    def __init__(self, catalogue: Catalogue, caller: Caller, chance: random.Random) -> None:
        self.catalogue = catalogue
        self.providers = FixedProviders(catalogue)
        self.caller = caller
        self.chance = chance
        self.held: list[tuple[str, int, str, str]] = []
        self.seen: set[str] = set()

    def step(self) -> Any:
        kinds = (self.claim, self.claim, self.claim, self.report, self.leave, self.leave, self.spoil)
        return self.chance.choice(kinds)

    async def claim(self, tx: Transaction) -> None:
        # Another worker may end at any moment: what is judged by, and the claim, must find the same ones alive.
        tx.liveness = _AtOneMoment(tx.liveness)  # pyright: ignore[reportAttributeAccessIssue]
        await claims.reap(tx, POLICY)  # what has ended gives back what it had reserved
        before = Sums(tx)
        open_before = {(one.provider, one.tier): one for one in await tx.routing.breakers()}
        state = await tx.routing.state(self.caller.agent_id)
        claim = await claims.claim(tx, POLICY, self.caller.agent_id, None, None, self.providers)
        if claim.task is None:
            self.seen.add(str(claim.reason))
            return
        assert claim.lease is not None
        route = claim.route
        assert route is not None, claim.explanation
        self.held.append((claim.task.id, claim.lease.token, route.provider, route.tier))
        self.judge_budget(before, state, route)
        for name in ("", route.tier):
            breaker = open_before.get((route.provider, name))
            if breaker is not None and breaker.state is not BreakerState.CLOSED:
                free = breaker.until if breaker.state is BreakerState.OPEN else breaker.probe_until
                nobodys = breaker.state is BreakerState.HALF_OPEN and breaker.probe_task in (None, claim.task.id)
                assert nobodys or (free is not None and free <= tx.now), f"{claim.task.id} went to {breaker}"
                self.seen.add("probed")
        for one in await tx.routing.breakers():
            if one.state is BreakerState.HALF_OPEN and one.probe_task == claim.task.id:
                assert (one.provider, one.tier) in {(route.provider, ""), (route.provider, route.tier)}
        self.judge_choice(state, claim.task.complexity, route)
        self.seen.add("claimed")

    def judge_budget(self, before: "Sums", state: RoutingState, route: router.Route) -> None:
        provider = self.catalogue.provider(route.provider)
        assert provider is not None
        tier = next(tier for tier in TIERS if tier.value == route.tier)
        estimate = self.catalogue.estimates[tier]
        scopes = (
            (provider.limits, *before.of("provider = ?", route.provider)),
            (provider.tiers[tier].limits, *before.of("provider = ? AND tier = ?", route.provider, route.tier)),
            (self.catalogue.agent_limits, *before.of("agent_id = ?", self.caller.agent_id)),
        )
        for limits, hour, day, reserved in scopes:
            for limit, used in ((limits.hourly, hour), (limits.daily, day)):
                taken = used + reserved
                if limit is not None:
                    assert taken < limit, f"{route} was given {taken} of {limit}"
                    assert taken == 0 or taken + estimate <= limit, f"{route} would take {taken + estimate} of {limit}"

    def judge_choice(self, state: RoutingState, complexity: int, route: router.Route) -> None:
        """Whoever decides over the same state chooses the same, however it came by it."""
        backwards = Catalogue(
            tuple(reversed(self.catalogue.providers)),
            estimates=self.catalogue.estimates,
            agent_limits=self.catalogue.agent_limits,
        )
        shuffled = RoutingState(
            state.now,
            state.mode,
            dict(reversed(list(state.uses.items()))),
            dict(reversed(list(state.breakers.items()))),
            state.raises,
            state.agent_id,
            state.agent,
        )
        ask = RouteRequest(complexity, TaskType.OTHER)
        both: list[RouteDecision] = [decide(one, {}, shuffled, ask) for one in (self.catalogue, backwards)]
        assert len({str(one.chosen) for one in both}) == 1

    async def report(self, tx: Transaction) -> None:
        if not self.held:
            return
        task_id, token, provider, tier = self.chance.choice(self.held)
        counted = self.chance.choice((0, 10, ESTIMATES[tier] // 2, ESTIMATES[tier], 2 * ESTIMATES[tier]))
        spent = Spent(self.caller.agent_id, provider, tier, "m", counted, counted, task_id=task_id, lease_token=token)
        await tx.routing.record(spent)

    async def leave(self, tx: Transaction) -> None:
        if not self.held:
            return
        task_id, token, *_ = self.held.pop(self.chance.randrange(len(self.held)))
        try:
            task = await lifecycle.held(tx, POLICY, task_id, token, Status.PENDING)
        except StaleLease:
            return
        if self.chance.random() < 0.5:
            tried = await tx.routing.tried(task_id)
            await lifecycle.complete(tx, task, "done", [])
            await breakers.done(tx, task_id, tried)
        else:
            await lifecycle.move(tx, task, Status.PENDING, "task.released")

    async def spoil(self, tx: Transaction) -> None:
        """A provider fails, or recovers."""
        provider = self.chance.choice(self.catalogue.providers)
        tier = self.chance.choice(("", *provider.tiers))
        state = self.chance.choice((BreakerState.OPEN, BreakerState.CLOSED, BreakerState.CLOSED))
        until = tx.now + timedelta(minutes=self.chance.randint(1, 5)) if state is BreakerState.OPEN else None
        await tx.routing.put_breaker(Breaker(provider.name, tier, state, "outage", 1, until))


class _AtOneMoment:
    """`ports.Liveness`: who was alive when first asked for, is so for the rest of the transaction."""

    def __init__(self, inner: Liveness) -> None:
        self.alive = cache(inner.alive)


class Sums:
    """What raw rows say at this moment: tokens of the last 60 minutes to the millisecond, of the day, reserved."""

    def __init__(self, tx: Transaction) -> None:
        self._rows: Rows = tx.state._rows  # pyright: ignore  # a test may look behind the repository
        self._now = tx.now
        hour, day = iso(tx.now - timedelta(hours=1)), iso(tx.now)[:10]
        self._usage = self._rows.all(
            "SELECT provider, tier, agent_id, tokens, at > ? AS lately FROM usage WHERE at >= ? OR at > ?",
            (hour, day, hour),
        )
        self._day = {
            (row["provider"], row["tier"], row["agent_id"]): int(row["n"])
            for row in self._rows.all(
                "SELECT provider, tier, agent_id, sum(tokens) AS n FROM usage WHERE at >= ? GROUP BY provider, tier, agent_id",
                (day,),
            )
        }
        self._held = self._rows.all("SELECT provider, tier, agent_id, reserved FROM task_routes WHERE ended_at IS NULL")

    def of(self, condition: str, *values: str) -> tuple[int, int, int]:
        """(hour, day, reserved)."""
        names = [part.split(" ")[0] for part in condition.split(" AND ")]

        def meant(row: dict[str, Any]) -> bool:
            return all(row[name] == value for name, value in zip(names, values, strict=True))

        hour = sum(int(row["tokens"]) for row in self._usage if row["lately"] and meant(row))
        day = sum(
            count
            for (provider, tier, agent_id), count in self._day.items()
            if meant({"provider": provider, "tier": tier, "agent_id": agent_id})
        )
        return hour, day, sum(int(row["reserved"]) for row in self._held if meant(row))
