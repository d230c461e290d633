"""Whatever agents, providers and people do: no claim is routed to an open breaker or into a limit that is used up."""

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.support.clock import StoppedClock
from tests.support.providers import USUAL, FixedProviders
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState, Verdict
from wvo_mcp.domain.providers.catalogue import Limits, Mode
from wvo_mcp.domain.providers.state import NOTHING, RoutingState
from wvo_mcp.domain.task import Origin, Status
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.orchestration.routing import breakers
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.orchestration.tasks.editing import Draft, create
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.providers import Spent

pytestmark = pytest.mark.anyio

NAMES = ("claude", "codex", "gemini", "ollama")
TIERS = ("low", "medium", "high")
AGENTS = tuple(
    Caller(name, f"{name}/1", provider, worker=True)
    for name, provider in (("ann", "claude"), ("bob", None), ("cy", "local"))
)
POLICY = Policy(wip_limit=20, agent_wip_limit=8)


class Course:
    """Steps drawn by a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        limited = tuple(replace(one, limits=Limits(150_000, 2_000_000)) for one in USUAL.providers)
        self.catalogue = replace(USUAL, providers=limited, count_unreported=seed % 2 == 0, task_limits=Limits(500_000))
        self.providers = FixedProviders(self.catalogue)
        self.held: list[tuple[str, int]] = []
        self.routed = self.narrowed = 0

    async def begin(self, tx: Transaction) -> None:
        fields = [{"title": f"Step {n}", "complexity": self.random.randint(1, 10)} for n in range(80)]
        await create(tx, [Draft(f"T{n}", one) for n, one in enumerate(fields)], Origin.ROADMAP)

    async def step(self, tx: Transaction) -> None:
        seldom = (self.fail, self.allow, self.mode)
        await self.random.choice((*(self.claim,) * 3, *(self.report, self.end) * 2, *seldom))(tx)

    async def claim(self, tx: Transaction) -> None:
        before = await tx.routing.state(tx.caller.agent_id)
        claim = await claims.claim(tx, POLICY, tx.caller.agent_id, None, None, self.providers)
        if claim.task is None or claim.lease is None:
            return
        self.held.append((claim.task.id, claim.lease.token))
        assert claim.route is not None
        self.routed += 1
        shut = [name for name in NAMES if self.used_up(before, name)]
        for breaker in await tx.routing.breakers():
            here = breaker.provider != claim.route.provider or breaker.tier in ("", claim.route.tier)
            if here and breaker.verdict(tx.now, claim.task.id) is Verdict.STOP:
                shut.append(breaker.provider)
        assert claim.route.provider not in shut
        self.narrowed += bool(shut)

    def used_up(self, before: RoutingState, name: str) -> bool:
        provider = self.catalogue.provider(name)
        assert provider is not None
        use = before.providers.get(name, NOTHING)
        return any(
            limit is not None and used + use.reserved >= limit + before.raises.get(("provider", name, period), 0)
            for period, limit, used in (
                ("hour", provider.limits.hourly, use.hour),
                ("day", provider.limits.daily, use.day),
            )
        )

    async def report(self, tx: Transaction) -> None:
        task_id, token = self.random.choice(self.held or [("T0", 9)])
        provider, tier = self.random.choice(NAMES), self.random.choice(TIERS)
        tokens = self.random.randint(0, 90_000)
        named: dict[str, Any] = {"task_id": task_id, "lease_token": token} if self.random.random() < 0.8 else {}
        await tx.routing.record(Spent(tx.caller.agent_id, provider, tier, "m", tokens, tokens, cost=0.5, **named))

    async def end(self, tx: Transaction) -> None:
        if not self.held:
            return
        task_id, _ = self.held.pop(self.random.randrange(len(self.held)))
        task = await tx.tasks.get(task_id)
        if task.status is not Status.IN_PROGRESS:
            return
        if self.random.random() < 0.4:
            await breakers.done(tx, task_id, await tx.routing.tried(task_id))
            await lifecycle.complete(tx, task, "done", [])
        elif self.random.random() < 0.5:
            await lifecycle.fail(tx, task, "no luck", retry=True)
        else:
            await lifecycle.move(tx, task, Status.PENDING, "task.released")

    async def fail(self, tx: Transaction) -> None:
        until = tx.now + timedelta(minutes=self.random.randint(1, 40))
        place = (self.random.choice(NAMES), self.random.choice(("", *TIERS)))
        state = self.random.choice((BreakerState.OPEN, BreakerState.OPEN, BreakerState.CLOSED))
        await tx.routing.put_breaker(
            Breaker(*place, state, "outage", 2, until, opened_at=tx.now, reason="it does not answer")
        )

    async def allow(self, tx: Transaction) -> None:
        until = tx.now + timedelta(hours=self.random.randint(1, 9))
        await tx.routing.allow("provider", self.random.choice(NAMES), "hour", 100_000, until, "go on")

    async def mode(self, tx: Transaction) -> None:
        await tx.state.put("routing_mode", self.random.choice((*Mode, Mode.HYBRID)).value)


@pytest.mark.requirement("PROV-2", "PROV-3", "PROV-4")
@pytest.mark.parametrize("seed", range(4))
async def test_no_claim_goes_to_an_open_breaker_or_into_a_used_up_limit(
    seed: int, store: Store, clock: StoppedClock
) -> None:
    course = Course(seed)
    await store.write(AGENTS[0], course.begin)

    for step in range(250):
        clock.advance(seconds=course.random.choice((0, 7, 40, 200, 900)) + step / 1000)
        await store.write(course.random.choice(AGENTS), course.step)

    assert course.routed > 20 and course.narrowed > 10
