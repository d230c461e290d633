"""`wvo-mcp simulate`: how a plan would go with a number of agents. Nothing of it is written to the store."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import click
import yaml
from annotated_types import Len
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from wvo_mcp.domain.durations import learned
from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.roadmap import Roadmap
from wvo_mcp.errors import InvalidInput, problem_of
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.faces.cli.flags import options
from wvo_mcp.faces.cli.output import command, print_json, shown
from wvo_mcp.faces.cli.session import Application, Compose, settings_or_usage
from wvo_mcp.orchestration import outlook
from wvo_mcp.orchestration.plan import roadmap
from wvo_mcp.orchestration.simulation.engine import Simulation
from wvo_mcp.orchestration.simulation.scenario import PoolAgent, Scenario, VirtualClock, VirtualServers, load, rows
from wvo_mcp.orchestration.simulation.tally import MEASURES, Order, Outcome, compared, scores_of
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.settings import Settings
from wvo_mcp.store.sqlite.scratch import ScratchStore

_LOADER = Caller("loader", "loader/1", client="simulation", durable=True)
_HISTORY = 4_000
_MOST_AGENTS = 10_000
_COMPARED = (Order.FIFO, Order.WSJF, Order.CRITICAL_PATH)
"""The default orders with --seeds; the others are compared with the first."""

_HELP = (
    "Run a plan on a virtual clock with the scheduler's own code and random durations and failures. ROADMAP is a"
    " roadmap.yaml (default: this project's). With --seeds, orders of the queue are compared over many random seeds. The"
    " same seed gives the same outcome. Nothing is written to the store."
)
Fill = Callable[[Transaction], Awaitable[object]]
"""Writes a plan into an empty store."""
T = TypeVar("T")


class Params(BaseModel):
    """The options of the command."""

    model_config = ConfigDict(allow_inf_nan=False)

    from_store: bool = Field(False, description="The plan in the store instead of a roadmap")
    agents: int | None = Field(
        None, ge=1, le=_MOST_AGENTS, description="Number of agents; left out: WVO_AUTOPILOT_AGENTS"
    )
    pool: Path | None = Field(None, description="Agents from a YAML list of {id, count, capabilities, provider, speed}")
    policy: list[Order] = Field(
        default_factory=list[Order],
        description="Order of the ready queue; left out: wsjf, the product's; with --seeds all",
    )
    seed: int = Field(1, description="Random seed")
    seeds: int = Field(1, ge=1, le=1_000, description="Number of random seeds, from --seed on, to compare orders over")
    time_limit: float = Field(
        600.0, ge=0, description="Seconds after which no further seed of --seeds starts (two always run)"
    )
    failures: float = Field(0.05, ge=0, le=0.9, description="Chance that an attempt fails")
    deaths: float = Field(0.01, ge=0, le=0.9, description="Chance that an agent is killed during an attempt")
    away: float = Field(900.0, ge=0, le=31_536_000, description="Seconds until a killed agent is back")
    wip_limit: int | None = Field(None, ge=1, description="Tasks in progress at once; left out: the number of agents")
    learn: bool = Field(False, description="Durations from the done tasks of this project's store")
    start: datetime | None = Field(None, description="Start of work, as 2027-01-15T09:00:00Z; left out: now")
    plot: Path | None = Field(
        None, description="Write what a terminal shows, with its charts, to FILE.svg; of one seed"
    )


class Member(BaseModel):
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


def simulate_command(compose: Compose) -> click.Command:
    def run(given: dict[str, Any], as_json: bool) -> None:
        file, plot = given.pop("file"), given["plot"]
        params = _valid(TypeAdapter(Params), {name: value for name, value in given.items() if value is not None})
        if plot is not None and Path(plot).suffix.lower() != ".svg":
            raise InvalidInput("plot", "expected a name that ends in .svg; browsers and rsvg-convert make a PNG of it")
        if file is not None and params.from_store:
            raise click.UsageError("Give a ROADMAP or --from-store, not both.")
        if plot is not None and params.seeds > 1:
            raise click.UsageError("Give --plot or --seeds, not both: a chart shows one seed.")
        began = time.perf_counter()
        result = asyncio.run(_simulated(compose(), settings_or_usage(), file, params))
        if as_json:
            print_json(result)
        if not as_json or plot is not None:
            from wvo_mcp.faces.cli.views import show  # brings rich

            try:
                show("simulate", _shown(result, time.perf_counter() - began), params.plot, quiet=as_json)
            except OSError as error:
                raise InvalidInput("plot", f"{plot} cannot be written: {error.strerror}") from None

    roadmap = click.Argument(["file"], metavar="[ROADMAP]", required=False, type=click.Path(path_type=Path))
    short = "Simulate a plan and compare orders of work."
    return command("simulate", run, _HELP, [roadmap, *options(Params.model_fields)], short=short)


def _shown(result: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The result with what its screen has in tables of their own."""
    ones, took = result["policies"], f"{seconds:.1f}"
    if "seeds" not in result:
        return {
            **result,
            "took": took,
            "orders": ones,
            "waited": [{"order": one["order"], **one["waiting_hours"]} for one in ones if one["waiting_hours"]],
            "milestones": [{"order": one["order"], **row} for one in ones for row in one["milestones"]],
            "left": [{"order": one["order"], **one["left"]} for one in ones if one["left"]],
        }
    count, measures = result["seeds"], {}
    for name in MEASURES:
        often = [{key: f"{one[name][key]} of {count}" for key in ("better", "best")} for one in ones]
        measures[name] = [{"order": one["order"], **one[name], **row} for one, row in zip(ones, often, strict=True)]
        measures[name][0]["better"] = None
    further = {"first": ones[0]["order"], "last_seed": result["first_seed"] + count - 1}
    return {**result, **measures, **further, "cut": count < result["seeds_asked"], "took": took}


async def _simulated(application: Application, settings: Settings, file: Path | None, params: Params) -> dict[str, Any]:
    """JSON-ready: where durations come from, and the outcomes by order; every seed that starts is run with all orders."""
    orders = list(dict.fromkeys(params.policy or (_COMPARED if params.seeds > 1 else (Order.WSJF,))))
    finished: list[tuple[int, float]] = []
    fill: Fill | None = None
    if params.from_store or params.learn:
        async with application.opened(settings) as services:
            store, caller = services.get(WatchedStore), application.cli_caller(settings)
            if params.from_store:
                fill = partial(load, plan=await store.read(caller, rows))
            past = await store.read(caller, lambda tx: tx.outlook.finished(_HISTORY))
            finished = [(points, (instant(end) - instant(begin)).total_seconds()) for points, begin, end in past]
    if fill is None:
        fill = partial(roadmap.sync, roadmap=await parsed(file or settings.roadmap))
    count = params.agents or settings.agents
    crew = (PoolAgent(f"agent-{number:0{len(str(count))}}") for number in range(1, count + 1))
    agents = tuple(crew) if params.pool is None else _pool(params.pool)
    scenario = Scenario(
        agents=agents,
        policy=Policy(
            wip_limit=params.wip_limit or len(agents),
            lease_seconds=settings.lease_seconds,
            grace_seconds=settings.lease_grace_seconds,
        ),
        durations=learned(finished),
        seed=params.seed,
        failure=params.failures,
        death=params.deaths,
        away_seconds=params.away,
    )
    start = params.start or datetime.now(UTC)  # UTC without a time zone; in milliseconds, as times of the store are
    start = start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)
    start = start.replace(microsecond=start.microsecond // 1000 * 1000)
    store = await loaded(fill, start, scenario.policy.wip_limit)
    runs: dict[str, list[Outcome]] = {order: [] for order in orders}
    until = time.monotonic() + params.time_limit
    with shown("simulate") as progress:
        for number in range(params.seeds):
            if number >= 2 and time.monotonic() >= until:
                break
            seeded = replace(scenario, seed=params.seed + number)
            for order in orders:
                if progress is not None:
                    await progress(number / params.seeds, f"seed {number + 1} of {params.seeds}: {order}")
                runs[order].append(await simulated(store, seeded, order, start))
    await store.close()
    seen, hour = sum(scenario.durations.seen.values()), scenario.durations.expected(5) / 60
    why = "as no task was done yet" if params.from_store or params.learn else "--learn counts the done tasks"
    how = f"learned from {seen:,} done tasks" if seen else f"assumed, {why}"
    durations = f"{how}; median of a task of complexity 5: {hour:.0f} minutes"
    if params.seeds == 1:
        return {"durations": durations, "policies": [asdict(outcome) for (outcome,) in runs.values()]}
    first = runs[orders[0]]
    head = {"tasks": first[0].tasks, "agents": first[0].agents, "first_seed": first[0].seed, "seeds": len(first)}
    found = [
        {"order": order, **{name: asdict(one) for name, one in measures.items()}}
        for order, measures in compared(runs).items()
    ]
    return {"durations": durations, **head, "seeds_asked": params.seeds, "policies": found}


async def parsed(file: Path) -> Roadmap:
    """By itself. Raises InvalidInput with line numbers, NotFound."""

    async def known(_: Iterable[str]) -> set[str]:
        return set()

    return await RoadmapSource(file).read(known)


async def loaded(fill: Fill, start: datetime, agents: int) -> ScratchStore:
    """A store with the plan at the start of work, for that many agents at once; to be closed."""
    store = ScratchStore(VirtualClock(start), VirtualServers(), agents=agents)
    await store.open()
    await store.write(_LOADER, fill)
    return store


async def simulated(store: ScratchStore, scenario: Scenario, order: Order, start: datetime) -> Outcome:
    """One simulation, which leaves the store as it was."""
    scores = None
    if order is not Order.WSJF:
        expected = {points: scenario.durations.expected(points) for points in range(1, 11)}
        scores = scores_of(order, outlook.analyzed(await outlook.read(store, _LOADER)).work, expected)
    clock, servers = VirtualClock(start), VirtualServers()
    return await store.trial(
        lambda inside: Simulation(inside, clock, servers, scenario, order=order.value).run(), clock, servers, scores
    )


def _pool(file: Path) -> tuple[PoolAgent, ...]:
    """Raises InvalidInput that names the place in the file."""
    try:
        read = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInput("pool", f"{file} cannot be read: {str(error).splitlines()[0]}") from None
    hint = "Give a list of agents, as in: [{id: gpu, count: 2, capabilities: [gpu]}]"
    members = _valid(TypeAdapter(Annotated[list[Member], Len(1)]), read, "pool", hint=hint)
    agents = tuple(agent for member in members for agent in member.agents())
    names = {agent.id for agent in agents}
    if len(names) != len(agents) or len(agents) > _MOST_AGENTS:
        raise InvalidInput("pool", f"expected different ids, and at most {_MOST_AGENTS:,} agents")
    return agents


def _valid(adapter: TypeAdapter[T], value: Any, prefix: str = "", *, hint: str | None = None) -> T:
    """Raises InvalidInput that names the field."""
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first: Mapping[str, Any] = dict(error.errors()[0])
        place = prefix + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise InvalidInput(place.removeprefix("."), problem_of(first), hint=hint) from None
