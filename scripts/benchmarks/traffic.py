"""`scripts/bench traffic`: a day of traffic on the virtual clock, routed and by two baselines that meet the same luck.

The table in docs/providers.md is that of seed 1; `scripts/docs` writes it there.
"""

import argparse
import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from wvo_mcp.orchestration.simulation.scenario import VirtualClock, VirtualServers
from wvo_mcp.orchestration.simulation.traffic import OneProvider, RoundRobin, Routed, Steering, Traffic
from wvo_mcp.orchestration.simulation.traffic_day import Day, sample
from wvo_mcp.orchestration.simulation.traffic_figures import Figures
from wvo_mcp.store.virtual.store import VirtualStore

START = datetime(2026, 3, 2, tzinfo=UTC)
STEERINGS: tuple[Callable[[Day, VirtualClock], Steering], ...] = (
    Routed,
    lambda day, clock: Routed(day, clock, daily=False),
    lambda day, clock: RoundRobin(day),
    lambda day, clock: OneProvider(day.catalogue.providers[0].name),
)
_ROWS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("tasks done, of those that came", lambda one: f"{one.done} of {one.tasks}"),
    ("wait until the attempt that did it: median, 95 % (minutes)", lambda one: f"{one.wait_median}, {one.wait_95}"),
    ("tokens (millions), of these lost with their attempts", lambda one: f"{_m(one.tokens)}, {_m(one.tokens_lost)}"),
    ("cost (US dollars)", lambda one: f"{one.cost:,.0f}"),
    ("attempts, of these ended by their provider", lambda one: f"{one.attempts:,}, {one.lost:,}"),
    ("attempts begun while the provider took no calls", lambda one: f"{one.in_vain:,}"),
    ("went on with another provider", lambda one: str(one.failovers)),
    ("attempts begun on a limit that was used up", lambda one: f"{one.unpaid:,}"),
    ("tokens over the limits of the day (millions)", lambda one: _m(one.beyond)),
    ("tasks whose data left the machine although it must not", lambda one: str(one.abroad)),
    ("attempts in the cloud (target 70 %)", lambda one: f"{one.share_cloud} %"),
)


def live(seed: int, steering: Callable[[Day, VirtualClock], Steering]) -> Figures:
    """One day from beginning to end."""
    clock = VirtualClock(START)
    day = sample(seed, START)
    store = VirtualStore(clock, VirtualServers(), kept=True)
    return asyncio.run(Traffic(store, clock, day, steering(day, clock)).run())


def table(figures: list[Figures]) -> str:
    """In Markdown, one column for each."""
    lines = ["| | " + " | ".join(one.name for one in figures) + " |", "|---|" + "---|" * len(figures)]
    lines += [f"| {name} | " + " | ".join(told(one) for one in figures) + " |" for name, told in _ROWS]
    return "\n".join(lines)


def published() -> str:
    """The table of the docs."""
    return table([live(1, steering) for steering in STEERINGS])


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench traffic", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    print(table([live(given.seed, steering) for steering in STEERINGS]))
    return 0


def _m(tokens: int) -> str:
    return f"{tokens / 1e6:.1f}"
