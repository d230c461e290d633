"""`wvo-mcp simulate`: how a plan would go with a number of agents. Nothing of it is written to the store."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import click
import yaml
from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from wvo_mcp.domain.durations import Durations, learned
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.roadmap import Roadmap
from wvo_mcp.errors import InvalidInput, problem_of
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.faces.cli.application import Application, Compose
from wvo_mcp.faces.cli.output import json_option, print_json, reported, wants_json
from wvo_mcp.faces.cli.progress import shown
from wvo_mcp.faces.cli.session import settings_or_usage
from wvo_mcp.orchestration.ahead import outlook
from wvo_mcp.orchestration.plan import roadmap
from wvo_mcp.orchestration.simulation.comparison import compared
from wvo_mcp.orchestration.simulation.engine import Simulation
from wvo_mcp.orchestration.simulation.orders import Order, scores_of
from wvo_mcp.orchestration.simulation.plan import load, rows
from wvo_mcp.orchestration.simulation.scenario import PoolAgent, Scenario, VirtualClock, VirtualServers
from wvo_mcp.orchestration.simulation.tally import Outcome
from wvo_mcp.ports import Transaction
from wvo_mcp.settings import Settings
from wvo_mcp.store.sqlite.scratch import ScratchStore

_LOADER = Caller("loader", "loader/1", client="simulation", durable=True)
_HISTORY = 4_000
_MOST_AGENTS = 10_000
_MOST_SEEDS = 1_000
_COMPARED = (Order.FIFO, Order.WSJF, Order.PLAIN_WSJF, Order.CRITICAL_PATH)
"""What several seeds compare unless it is said; the others are measured against the first."""


class _Number(click.FloatRange):
    """Without `nan`, which lies in every range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


_CHANCE = _Number(0, 0.9)


def simulate_command(compose: Compose) -> click.Command:
    def run(**given: Any) -> None:
        _run(compose, given)

    return click.Command(
        "simulate",
        help="Run a plan on a virtual clock with the scheduler's own code and random durations and failures. ROADMAP is a"
        " roadmap.yaml (default: this project's). With --seeds, orders of the queue are compared over many random seeds. The"
        " same seed gives the same outcome. Nothing is written to the store.",
        short_help="Simulate a plan and compare orders of work.",
        params=[
            click.Argument(["file"], metavar="[ROADMAP]", required=False, type=click.Path(path_type=Path)),
            click.Option(["--from-store"], is_flag=True, help="The plan in the store instead of a roadmap."),
            click.Option(
                ["--agents"], type=click.IntRange(1, _MOST_AGENTS), help="Number of agents.  [default: the pool's size]"
            ),
            click.Option(
                ["--pool"],
                type=click.Path(path_type=Path),
                help="Agents from a YAML list of {id, count, capabilities, provider, speed}.",
            ),
            click.Option(
                ["--policy"],
                multiple=True,
                type=click.Choice([order.value for order in Order]),
                help="Order of the ready queue; wsjf is the product's. (repeatable)  [default: wsjf; with --seeds: all]",
            ),
            click.Option(["--seed"], type=int, default=1, show_default=True, help="Random seed."),
            click.Option(
                ["--seeds"],
                type=click.IntRange(1, _MOST_SEEDS),
                default=1,
                show_default=True,
                help="Number of random seeds, from --seed on, to compare orders over.",
            ),
            click.Option(
                ["--time-limit"],
                type=_Number(0),
                default=600.0,
                show_default=True,
                help="Seconds after which no further seed of --seeds is begun (two are always run).",
            ),
            click.Option(
                ["--failures"], type=_CHANCE, default=0.05, show_default=True, help="Chance that an attempt fails."
            ),
            click.Option(
                ["--deaths"],
                type=_CHANCE,
                default=0.01,
                show_default=True,
                help="Chance that an agent is killed during an attempt.",
            ),
            click.Option(
                ["--away"],
                type=_Number(0, 31_536_000),
                default=900.0,
                show_default=True,
                help="Seconds until a killed agent is back.",
            ),
            click.Option(
                ["--wip-limit"],
                type=click.IntRange(1),
                help="Tasks in progress at once.  [default: the number of agents]",
            ),
            click.Option(["--learn"], is_flag=True, help="Durations from the done tasks of this project's store."),
            click.Option(["--start"], metavar="TIME", help="Start of work.  [default: now]"),
            click.Option(
                ["--plot"],
                type=click.Path(path_type=Path),
                metavar="FILE.svg",
                help="Chart of remaining tasks and busy agents over time, of one seed.",
            ),
            json_option(),
        ],
        callback=run,
    )


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What every run has in common."""

    put: Callable[[Transaction], Awaitable[object]]
    """Puts the plan into an empty store."""
    scenario: Scenario
    start: datetime
    source: str


def _run(compose: Compose, given: dict[str, Any]) -> None:
    with reported(as_json=wants_json(given["json"])) as as_json:
        plot: Path | None = given["plot"]
        if plot is not None and plot.suffix.lower() != ".svg":
            raise InvalidInput("plot", "expected a name that ends in .svg; browsers and rsvg-convert make a PNG of it")
        if given["file"] is not None and given["from_store"]:
            raise click.UsageError("Give a ROADMAP or --from-store, not both.")
        if plot is not None and given["seeds"] > 1:
            raise click.UsageError("Give --plot or --seeds, not both: a chart shows one seed.")
        began = time.perf_counter()
        prepared = asyncio.run(_prepared(compose(), settings_or_usage(), given))
        default = _COMPARED if given["seeds"] > 1 else (Order.WSJF,)
        orders = [Order(name) for name in dict.fromkeys(given["policy"] or default)]
        runs = asyncio.run(_played(prepared, orders, given["seeds"], given["time_limit"]))
        if given["seeds"] > 1:
            _show_comparison(runs, prepared.source, given["seeds"], began, as_json=as_json)
            return
        outcomes = [outcome for (outcome,) in runs.values()]
        if plot is not None:
            _draw(plot, outcomes)
        _show_outcomes(outcomes, prepared.source, began, as_json=as_json)


async def _prepared(application: Application, settings: Settings, given: dict[str, Any]) -> _Prepared:
    start = _start(given["start"])
    finished: list[tuple[int, float]] = []
    put: Callable[[Transaction], Awaitable[object]] | None = None
    if given["from_store"] or given["learn"]:
        async with application.opened(settings) as services:
            caller = application.cli_caller(settings)
            if given["from_store"]:
                put = partial(load, plan=await services.store.read(caller, rows))
            past = await services.store.read(caller, lambda tx: tx.outlook.finished(_HISTORY))
            finished = [(points, (instant(end) - instant(begin)).total_seconds()) for points, begin, end in past]
    if put is None:
        put = partial(roadmap.sync, roadmap=await parsed(given["file"] or settings.roadmap))
    durations = learned(finished)
    agents = _pool(given["pool"]) if given["pool"] is not None else _crew(given["agents"] or settings.pool_agents)
    scenario = Scenario(
        agents=agents,
        policy=Policy(
            wip_limit=given["wip_limit"] or len(agents),
            lease_seconds=settings.lease_seconds,
            grace_seconds=settings.lease_grace_seconds,
        ),
        durations=durations,
        seed=given["seed"],
        failure=given["failures"],
        death=given["deaths"],
        away_seconds=given["away"],
    )
    return _Prepared(put, scenario, start, _source(durations, asked=given["from_store"] or given["learn"]))


async def _played(
    prepared: _Prepared, orders: Sequence[Order], seeds: int, time_limit: float
) -> dict[str, list[Outcome]]:
    """By order, the outcome of each seed; every seed that is begun is run with all orders."""
    runs: dict[str, list[Outcome]] = {order.value: [] for order in orders}
    until = time.monotonic() + time_limit
    store = await loaded(prepared.put, prepared.start, prepared.scenario.policy.wip_limit)
    with shown("simulate") as tell:
        for number in range(seeds):
            if number >= 2 and time.monotonic() >= until:
                break
            scenario = replace(prepared.scenario, seed=prepared.scenario.seed + number)
            for order in orders:
                if tell is not None:
                    await tell(number / seeds, f"seed {number + 1} of {seeds}: {order.value}")
                runs[order.value].append(await simulated(store, scenario, order, prepared.start))
    await store.close()
    return runs


def _draw(plot: Path, outcomes: Sequence[Outcome]) -> None:
    from wvo_mcp.faces.cli.plot import drawing  # only with --plot

    try:
        plot.write_text(drawing(outcomes))
    except OSError as error:
        raise InvalidInput("plot", f"{plot} cannot be written: {error.strerror}") from None


def _show_outcomes(outcomes: Sequence[Outcome], source: str, began: float, *, as_json: bool) -> None:
    if as_json:
        print_json({"durations": source, "policies": [asdict(outcome) for outcome in outcomes]})
        return
    from rich.console import Console  # serves terminals only

    from wvo_mcp.faces.cli.views.simulation import simulation

    Console(highlight=False).print(simulation(outcomes, source, time.perf_counter() - began))


def _show_comparison(runs: dict[str, list[Outcome]], source: str, asked: int, began: float, *, as_json: bool) -> None:
    found = compared(runs)
    first = next(iter(runs.values()))
    if as_json:
        head = {"tasks": first[0].tasks, "agents": first[0].agents, "first_seed": first[0].seed, "seeds": len(first)}
        orders = [{"order": one.order, **asdict(one)["measures"]} for one in found]
        print_json({"durations": source, **head, "seeds_asked": asked, "policies": orders})
        return
    from rich.console import Console  # serves terminals only

    from wvo_mcp.faces.cli.views.simulation import comparison

    Console(highlight=False).print(comparison(found, first, asked, source, time.perf_counter() - began))


async def parsed(file: Path) -> Roadmap:
    """By itself. Raises InvalidInput with line numbers, NotFound."""

    async def known(_: Iterable[str]) -> set[str]:
        return set()

    return await RoadmapSource(file).read(known)


async def loaded(put: Callable[[Transaction], Awaitable[object]], start: datetime, agents: int) -> ScratchStore:
    """A store that holds what `put` puts there at the start of work, for as many agents at once; to be closed."""
    store = ScratchStore(VirtualClock(start), VirtualServers(), agents=agents)
    await store.open()
    await store.write(_LOADER, put)
    return store


async def simulated(store: ScratchStore, scenario: Scenario, order: Order, start: datetime) -> Outcome:
    """One simulation, of which nothing stays in the store."""
    scores = None
    if order is not Order.WSJF:
        expected = {points: scenario.durations.expected(points) for points in range(1, 11)}
        scores = scores_of(order, outlook.understood(await outlook.read(store, _LOADER)), expected)
    clock, servers = VirtualClock(start), VirtualServers()
    return await store.trial(
        lambda inside: Simulation(inside, clock, servers, scenario, order=order.value).run(), clock, servers, scores
    )


def _start(text: str | None) -> datetime:
    if text is None:
        return _whole(datetime.now(UTC))
    try:
        at = instant(text)
    except ValueError:
        raise InvalidInput("start", "expected a time like 2027-01-15T09:00:00Z") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return _whole(at)


def _whole(at: datetime) -> datetime:
    """Times of the store have milliseconds."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _crew(count: int) -> tuple[PoolAgent, ...]:
    width = len(str(count))
    return tuple(PoolAgent(f"agent-{number:0{width}}") for number in range(1, count + 1))


class _Member(BaseModel):
    """An entry of --pool."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    count: int = Field(default=1, ge=1, le=_MOST_AGENTS)
    capabilities: list[str] = []
    provider: str | None = None
    speed: float = Field(default=1.0, ge=0.01, le=100)

    def agents(self) -> list[PoolAgent]:
        names = [self.id] if self.count == 1 else [f"{self.id}-{number}" for number in range(1, self.count + 1)]
        return [PoolAgent(name, tuple(self.capabilities), self.provider, self.speed) for name in names]


def _pool(file: Path) -> tuple[PoolAgent, ...]:
    """Raises InvalidInput that names the place in the file."""
    try:
        found = TypeAdapter(Annotated[list[_Member], Len(1)]).validate_python(yaml.safe_load(file.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput("pool", f"{file} cannot be read: {str(error).splitlines()[0]}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        hint = "Give a list of agents, as in: [{id: gpu, count: 2, capabilities: [gpu]}]"
        raise InvalidInput(f"pool{place}", problem_of(dict(first)), hint=hint) from None
    agents = tuple(agent for member in found for agent in member.agents())
    names = {agent.id for agent in agents}
    if len(names) != len(agents) or len(agents) > _MOST_AGENTS:
        raise InvalidInput("pool", f"expected different ids, and at most {_MOST_AGENTS:,} agents")
    return agents


def _source(durations: Durations, *, asked: bool) -> str:
    seen = sum(durations.seen.values())
    hour = durations.expected(5) / 60
    why = "as no task was done yet" if asked else "--learn counts the done tasks"
    how = f"learned from {seen:,} done tasks" if seen else f"assumed, {why}"
    return f"{how}; median of a task of complexity 5: {hour:.0f} minutes"
