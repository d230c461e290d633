"""What the virtual store knows of routes, usage and breakers is what a database knows, after every step."""

import random
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import START
from tests.support.providers import USUAL, FixedProviders
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.domain.providers.catalogue import Limits, Mode
from wvo_mcp.domain.task import Origin, Status
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.orchestration.routing import breakers
from wvo_mcp.orchestration.simulation.scenario import VirtualClock, VirtualServers
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.orchestration.tasks.creation import Draft, create
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Spent
from wvo_mcp.store.sqlite.store import SqliteStore
from wvo_mcp.store.virtual.store import VirtualStore

pytestmark = pytest.mark.anyio

NAMES = ("claude", "codex", "gemini", "ollama")
TIERS = ("low", "medium", "high")
AGENTS = tuple(
    Caller(name, f"{name}/1", provider) for name, provider in (("ann", "claude"), ("bob", None), ("cy", "local"))
)
TASKS = [f"T{place}" for place in range(40)]


class Life:
    """Steps drawn by lot. Each store is told the same: lots depend on what was seen, and the same is seen."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        limits = {name: Limits(300_000, 900_000) for name in NAMES[:2]}
        limited = tuple(replace(one, limits=limits.get(one.name, one.limits)) for one in USUAL.providers)
        catalogue = replace(USUAL, providers=limited, count_unreported=seed % 2 == 0, task_limits=Limits(500_000))
        self.providers = FixedProviders(catalogue)
        self.policy = Policy(wip_limit=20, agent_wip_limit=8)
        self.held: list[tuple[str, int]] = []

    async def begin(self, tx: Transaction) -> None:
        drafts = [Draft(name, {"title": name, "complexity": self.chance.randint(1, 10)}) for name in TASKS]
        await create(tx, drafts, Origin.ROADMAP)

    async def step(self, tx: Transaction) -> object:
        seldom = (self.fail, self.allow, self.mode, self.forget)
        does = self.chance.choice((*(self.claim,) * 3, *(self.report, self.end) * 2, *seldom))
        return await does(tx)

    async def claim(self, tx: Transaction) -> object:
        claim = await claims.claim(tx, self.policy, tx.caller.agent_id, None, None, self.providers)
        if claim.task is None or claim.lease is None:
            return claim.reason, claim.explanation, claim.retry_after
        self.held.append((claim.task.id, claim.lease.token))
        return claim.task.id, claim.route

    async def report(self, tx: Transaction) -> object:
        task_id, token = self.chance.choice(self.held or [("T0", 9)])
        provider, tier = self.chance.choice(NAMES), self.chance.choice(TIERS)
        tokens, cost = self.chance.randint(0, 90_000), self.chance.randint(0, 99) / 8
        named: dict[str, Any] = {"task_id": task_id, "lease_token": token} if self.chance.random() < 0.8 else {}
        return await tx.routing.record(
            Spent(tx.caller.agent_id, provider, tier, "m", tokens, tokens, cost=cost, **named)
        )

    async def end(self, tx: Transaction) -> object:
        if not self.held:
            return None
        task_id, _ = self.held.pop(self.chance.randrange(len(self.held)))
        task = await tx.tasks.get(task_id)
        if task.status is not Status.IN_PROGRESS:
            return task.status
        if self.chance.random() < 0.4:
            await breakers.done(tx, task_id, await tx.routing.tried(task_id))
            return len((await lifecycle.complete(tx, task, "done", [])).unlocked)
        if self.chance.random() < 0.5:
            return (await lifecycle.fail(tx, task, "no luck", retry=True)).task.status
        return (await lifecycle.move(tx, task, Status.PENDING, "task.released")).task.status

    async def fail(self, tx: Transaction) -> object:
        until = tx.now + timedelta(minutes=self.chance.randint(1, 40))
        place = (self.chance.choice(NAMES), self.chance.choice(("", *TIERS)))
        state = self.chance.choice((BreakerState.OPEN, BreakerState.OPEN, BreakerState.CLOSED))
        breaker = Breaker(*place, state, "outage", 2, until, opened_at=tx.now, reason="it does not answer")
        return await tx.routing.put_breaker(breaker)

    async def allow(self, tx: Transaction) -> object:
        until = tx.now + timedelta(hours=self.chance.randint(1, 9))
        return await tx.routing.allow("provider", self.chance.choice(NAMES), "hour", 100_000, until, "go on")

    async def mode(self, tx: Transaction) -> object:
        return await tx.state.put("routing_mode", self.chance.choice((*Mode, Mode.HYBRID)).value)

    async def forget(self, tx: Transaction) -> object:
        return await tx.routing.forget(tx.now - timedelta(days=2))


async def seen(tx: Transaction) -> dict[str, object]:
    routing = tx.routing
    return {
        "states": [await routing.state(agent.agent_id) for agent in AGENTS],
        "routes": [await routing.route(task_id) for task_id in TASKS],
        "tasks": [await routing.used_by_task(task_id) for task_id in TASKS],
        "breakers": await routing.breakers(),
        "raises": await routing.allowed(),
        "minutes": [await routing.minutes(), await routing.minutes("claude"), await routing.minutes("codex", "high")],
        "agents": [await routing.by_agent(2), *[await routing.agent_minutes(agent.agent_id) for agent in AGENTS]],
    }


@pytest.mark.sqlite
@pytest.mark.requirement("PROV-3")
@pytest.mark.parametrize("seed", range(4))
async def test_the_same_steps_leave_the_same_in_memory_and_in_a_database(seed: int, tmp_path: Path) -> None:
    clock, servers = VirtualClock(START), VirtualServers()
    real = SqliteStore(tmp_path / "state.db", clock, servers, synchronous="OFF")
    await real.open()
    virtual = VirtualStore(clock, servers)
    stores = (real, virtual)
    lives = (Life(seed), Life(seed))
    chance = random.Random(seed)
    told: list[object] = []
    try:
        for store, life in zip(stores, lives, strict=True):
            await store.write(AGENTS[0], life.begin)
        for step in range(250):
            clock.move(clock.now() + timedelta(seconds=chance.choice((0, 7, 90, 400, 2_000)), milliseconds=step))
            caller = chance.choice(AGENTS)
            answers = [await store.write(caller, life.step) for store, life in zip(stores, lives, strict=True)]
            assert answers[0] == answers[1], f"step {step}"
            expected, found = [await store.read(caller, partial(seen)) for store in stores]
            assert found == expected, f"step {step}"
            told.append(answers[0])
    finally:
        await real.close()
    assert sum(isinstance(one, tuple) and str(one[0]).startswith("T") for one in told) > 15
