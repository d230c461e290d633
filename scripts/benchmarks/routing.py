"""Routing: one decision among twenty providers, and what it adds to a claim; how fast output of programs is classified."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio

from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.product import Desk, desk
from scripts.benchmarks.timing import in_turns, p50, p99
from wvo_mcp.domain.providers.breaker import Breaker, BreakerState
from wvo_mcp.domain.providers.catalogue import TIERS, Catalogue, Cost, Limits, Model, Place, Provider, ProviderKind
from wvo_mcp.domain.providers.routing import RouteRequest, decide
from wvo_mcp.domain.providers.state import Presence, RoutingState, Use
from wvo_mcp.domain.task import TaskType

PROVIDERS = 20
_NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)


def measure(report: Report, *, quick: bool, folder: Path) -> None:
    rounds = 200 if quick else 5_000
    catalogue, state = _world()
    asks = [RouteRequest(number % 10 + 1, kind, ("tools",)) for number, kind in enumerate(TaskType)]
    place = 0

    def one() -> None:
        nonlocal place
        place += 1
        # A state is new in every claim: what it remembers of itself must be worked out again.
        decide(catalogue, _PRESENCE, replace(state), asks[place % len(asks)])

    names = [provider.name for provider in catalogue.providers]

    def floor() -> None:
        min(names, key=lambda name: (name in _PRESENCE, state.uses[name, "low"].hour, name))

    taken = in_turns(rounds, {"decide": one, "floor": floor}, seconds=20)
    report.add(
        Figure(
            f"route one task, {PROVIDERS} providers",
            "ms",
            p50(taken["decide"]),
            p99=p99(taken["decide"]),
            floors=[Floor("the least of 20 by a key", p50(taken["floor"]))],
            targets=[Target(0.2)],
            samples=len(taken["decide"]),
        )
    )
    anyio.run(_claims, report, quick, folder / "routing", catalogue)


_PRESENCE = {f"p{number:02}": Presence(found=True) for number in range(0, PROVIDERS, 4)}


def _world() -> tuple[Catalogue, RoutingState]:
    """Twenty providers with limits everywhere, use everywhere, a breaker here and there."""
    providers: list[Provider] = []
    uses: dict[tuple[str, str], Use] = {}
    breakers: dict[tuple[str, str], Breaker] = {}
    for number in range(PROVIDERS):
        name = f"p{number:02}"
        tiers = {tier: Model(f"m-{tier}", Cost(1 + number, 5, 0.1), Limits(10**8, 10**9)) for tier in TIERS}
        local = number % 4 == 0
        providers.append(
            Provider(
                name,
                ProviderKind.OPENAI,
                Place.LOCAL if local else Place.CLOUD,
                tiers,
                capabilities=frozenset({"tools", "vision"}),
                limits=Limits(10**9, 10**10),
            )
        )
        for tier in TIERS:
            uses[name, tier.value] = Use(10_000 * number, 100_000 * number, 1.5, number, 60_000)
        if number % 5 == 0:
            until = _NOW + timedelta(minutes=5)
            breakers[name, "low"] = Breaker(name, "low", BreakerState.OPEN, "rate_limit", 1, until)
    limits = Limits(10**9, 10**9)
    return Catalogue(tuple(providers), agent_limits=limits), RoutingState(_NOW, None, uses, breakers)


class _Fixed:
    """`ports.Providers` of one catalogue."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def current(self) -> Catalogue:
        return self._catalogue

    def problem(self) -> None:
        return None

    def presence(self) -> dict[str, Presence]:
        return _PRESENCE


async def _claims(report: Report, quick: bool, folder: Path, catalogue: Catalogue) -> None:
    rounds = 50 if quick else 1_000
    async with _working(folder / "routed") as routed, _working(folder / "plain") as plain:
        services = replace(routed.services, providers=_Fixed(catalogue))  # pyright: ignore[reportArgumentType] - what a claim uses
        contenders = {"routed": Desk(services, routed.caller), "plain": plain}
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, one in contenders.items():
                began = time.perf_counter()
                claim = await one.call("claim_task")
                taken[name].append((time.perf_counter() - began) * 1000)
                await one.call("release_task", task_id=claim["task"]["id"])
    report.add(
        Figure(
            f"claim_task with {PROVIDERS} providers, SQLite",
            "ms",
            p50(taken["routed"]),
            p99=p99(taken["routed"]),
            floors=[Floor("the same without routing", p50(taken["plain"]))],
            samples=rounds,
        )
    )


@asynccontextmanager
async def _working(folder: Path) -> AsyncGenerator[Desk]:
    (folder / "state").mkdir(parents=True)
    async with desk(folder, "ann") as one:
        await one.call("create_tasks", tasks=[{"title": f"t{n}", "complexity": n % 10 + 1} for n in range(200)])
        yield one
