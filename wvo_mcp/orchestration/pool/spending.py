"""Money: what a launch reserves, what a worker has used, and when it must end (contract, section 10).

The sum of what is spent and what is reserved never passes a cap; what programs use beyond it before they can be
interrupted is all that may come on top.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from wvo_mcp.domain.agents import Use
from wvo_mcp.domain.providers.catalogue import Catalogue, Place, Provider, Tier
from wvo_mcp.domain.providers.routing import RouteRequest
from wvo_mcp.domain.task import TaskType
from wvo_mcp.domain.worker import Worker
from wvo_mcp.errors import InvalidInput
from wvo_mcp.orchestration.routing import breakers
from wvo_mcp.orchestration.routing.router import Router
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Providers, Spent

_CENT = 0.01
"""Less than this is nothing to work with."""
_ROUNDING = 1e-9
_PAST = 50
"""So many past launches of a tier tell what the next one costs."""
_MORE = 1.25
"""A reservation that was too small grows to so much of what was used."""
_SHOWN = 500
"""Tasks that an estimate looks at; it is scaled to all."""


@dataclass(frozen=True, slots=True)
class Caps:
    """US dollars: of the run (`--max-cost`, WVO_AUTOPILOT_MAX_COST_USD) and of each worker (WVO_WORKER_MAX_COST_USD)."""

    run: float | None = None
    worker: float | None = None


@dataclass(frozen=True, slots=True)
class Means:
    """What may be launched now. `refusals`: why a provider's tier may not; `spent_out`: why nothing more ever will be in
    this run, whatever its running workers leave over."""

    refusals: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    spent_out: str | None = None
    amounts: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])

    def reserve(self, provider: str, tier: str) -> float:
        """US dollars to reserve for a launch, in the transaction in which this was asked."""
        return self.amounts.get((provider, tier), 0.0)


async def means(tx: Transaction, providers: Providers, caps: Caps, run_id: str) -> Means:
    """By the caps, what is spent and reserved, and what such launches cost before."""
    catalogue = catalogue_of(providers)
    room = await _room(tx, catalogue, caps, run_id)
    if room is None and caps.worker is None:
        return Means()
    refusals: dict[tuple[str, str], str] = {}
    amounts: dict[tuple[str, str], float] = {}
    possible = False
    for provider in catalogue.providers:
        for tier in provider.tiers if provider.enabled else ():
            key = (provider.name, tier.value)
            wanted = await _wanted(tx, provider, tier, caps)
            if wanted is None:
                refusals[key] = (
                    f"its tier {tier} has no cost in providers.yaml, and money is capped ({_capped(catalogue, caps)})"
                )
                continue
            least = _CENT if math.isinf(wanted) else wanted
            if room is not None and wanted > 0:
                possible = possible or least <= room.at_best + _ROUNDING
                if least > room.left + _ROUNDING:
                    refusals[key] = f"a worker of its tier {tier} reserves ${least:.2f}, and {room.words} is left"
                    continue
            else:
                possible = True
            amounts[key] = wanted if room is None else min(wanted, max(0.0, room.left))
    spent_out = None if possible or not refusals else next(iter(refusals.values()))
    if spent_out is not None:
        spent_out = f"{next(iter(refusals))[0]}: {spent_out}"
    return Means(refusals, spent_out, amounts)


async def left_for(tx: Transaction, caps: Caps, run_id: str, task_id: str) -> Caps | str:
    """The caps of the task's next launch: launches of the run share what a worker may cost, until a person lets the task go
    on. A text: nothing is left, and why."""
    if caps.worker is None:
        return caps
    freed = [one.at for one in await tx.events.of_task(task_id, _PAST) if one.kind == "task.unblocked"]
    spent = await tx.workers.spent(run_id=run_id, task_id=task_id, since=freed[-1] if freed else None)
    if spent + _CENT > caps.worker:
        return f"its launches have cost ${spent:.2f} in this run, and a worker may cost ${caps.worker:.2f}"
    return replace(caps, worker=caps.worker - spent)


@dataclass(frozen=True, slots=True)
class _Room:
    """US dollars: `left` now, and `at_best`, when running workers give back all that they have reserved and not used."""

    left: float
    at_best: float
    words: str


async def _room(tx: Transaction, catalogue: Catalogue, caps: Caps, run_id: str) -> _Room | None:
    """Of the tightest cap of run and day; None without one."""
    found: list[_Room] = []
    running = await tx.workers.open() if caps.run is not None or catalogue.daily_cost is not None else []
    if caps.run is not None:
        left = caps.run - await tx.workers.spent(run_id=run_id)
        found.append(_of(left, caps.run, "the run", [one for one in running if one.run_id == run_id]))
    if catalogue.daily_cost is not None:
        today = tx.now.replace(hour=0, minute=0, second=0, microsecond=0)
        left = catalogue.daily_cost - await tx.workers.spent(since=today)
        found.append(_of(left, catalogue.daily_cost, "the day", running))
    return min(found, key=lambda room: room.left, default=None)


def _of(left: float, cap: float, what: str, running: Sequence[Worker]) -> _Room:
    unused = sum(max(0.0, one.reserved_usd - one.cost_usd) for one in running)
    return _Room(left, left + unused, f"${max(0.0, left):.2f} of the ${cap:.2f} for {what}")


async def _wanted(tx: Transaction, provider: Provider, tier: Tier, caps: Caps) -> float | None:
    """US dollars that a launch reserves; infinity for all that is left; None where nothing tells what it costs."""
    if not provider.tiers[tier].priced and provider.place is Place.CLOUD:
        return None
    if provider.tiers[tier].cost.tokens_out == provider.tiers[tier].cost.tokens_in == 0:
        return 0.0
    if caps.worker is not None:
        return caps.worker if caps.run is None else min(caps.worker, caps.run)
    past = sorted(cost for cost in await tx.workers.past_costs(provider.name, tier.value, _PAST) if cost > 0)
    return past[math.ceil(0.9 * len(past)) - 1] if past else math.inf


def _capped(catalogue: Catalogue, caps: Caps) -> str:
    words = {"the run": caps.run, "a worker": caps.worker, "the day": catalogue.daily_cost}
    return ", ".join(f"${usd:.2f} for {what}" for what, usd in words.items() if usd is not None)


def catalogue_of(providers: Providers) -> Catalogue:
    try:
        return providers.current()
    except InvalidInput:  # then nothing is claimed either
        return Catalogue(())


@dataclass(frozen=True, slots=True)
class Mark:
    """What a settlement has counted, once it is committed."""

    use: Use
    cost: float
    reserved: float
    answered: bool
    refused: bool


class Ledger:
    """What one launch uses. `add` is for every event; `settle` runs within a transaction now and then, and `settled` once
    that is committed. `of_task`: its row names a task, and not a goal that is none yet."""

    def __init__(self, providers: Providers, caps: Caps, worker: Worker, *, of_task: bool = True) -> None:
        self.worker = worker
        self._task_id = worker.task_id if of_task else None
        self.use = Use()
        """Since the launch."""
        self.cost = 0.0
        """US dollars, as its program says, else by providers.yaml."""
        self._earlier = (Use(), 0.0)
        """What earlier processes of the launch used."""
        self.over: str | None = None
        """Why the worker must end."""
        self.spent_out = False
        """It must because the run or the day has no more money, not for what it cost itself."""
        self._catalogue = catalogue_of(providers)
        self._caps = caps
        self._limited = caps.run is not None or self._catalogue.daily_cost is not None
        self._counted = Mark(Use(), 0.0, worker.reserved_usd, answered=False, refused=False)

    @property
    def unsettled(self) -> bool:
        """Is there anything that the store does not know?"""
        return (self.use, self.cost) != (self._counted.use, self._counted.cost)

    @property
    def urgent(self) -> bool:
        """Should it be settled at once? A first answer frees its provider for others; a reservation may have to grow."""
        first = self.use.tokens_out > 0 and not self._counted.answered
        return first or (self._limited and self.cost > self._counted.reserved and not self._counted.refused)

    def relaunched(self) -> None:
        """From now on another process of the same launch is heard: its sums begin at nothing."""
        self._earlier = (self.use, self.cost)

    def add(self, use: Use) -> str | None:
        """Why the worker must be interrupted now; None when it may go on."""
        old, paid = self._earlier if use.sums else (self.use, self.cost)
        self.use = Use(
            old.tokens_in + use.tokens_in, old.tokens_out + use.tokens_out, old.tokens_cached + use.tokens_cached
        )
        cost = self._price(use) if use.cost is None else use.cost
        self.cost = paid + cost
        most = self._caps.worker
        if most is not None and self.cost > most + _ROUNDING:
            self.over = f"it cost ${self.cost:.2f}, more than a worker may (${most:.2f})"
            self.spent_out = False
        elif self._counted.refused and self.cost > self._counted.reserved + _ROUNDING:
            self.over = f"it cost ${self.cost:.2f}, and nothing is left of what the run or the day may cost"
            self.spent_out = True
        return self.over

    def _price(self, use: Use) -> float:
        provider = self._catalogue.provider(self.worker.provider)
        if provider is None:
            return 0.0
        named = next((one for one in provider.tiers.values() if one.name == use.model), None)
        model = named or next((one for tier, one in provider.tiers.items() if tier.value == self.worker.tier), None)
        return 0.0 if model is None else model.cost.of(use.tokens_in, use.tokens_out, use.tokens_cached)

    async def settle(self, tx: Transaction, *, last: bool = False) -> Mark:
        """Count what is new into budgets and breakers, and write it to the worker's row. `last`: with its event."""
        worker, before = self.worker, self._counted
        use, cost = self.use, self.cost  # more comes while the transaction waits: that is the next settlement's
        fresh = _less(use, before.use)
        paid = max(0.0, cost - before.cost)
        if any((fresh.tokens_in, fresh.tokens_out, fresh.tokens_cached)) or paid:
            await tx.routing.record(self._spent(fresh, paid))
        answered = before.answered
        if use.tokens_out > 0 and not answered:
            route = None if self._task_id is None else await tx.routing.route(self._task_id)
            await breakers.success(tx, worker.provider, worker.tier, self._task_id, route, ended=False)
            answered = True
        if last and (use != Use() or cost):
            await breakers.note(tx, self._spent(use, cost), worker=worker.worker_id)
        reserved, refused = await self._grown(tx, cost)
        fields = {"tokens_in": use.tokens_in + use.tokens_cached, "tokens_out": use.tokens_out}
        kept = 0.0 if last else reserved  # whether it ends or rests, it spends no more
        await tx.workers.change(worker.worker_id, {**fields, "cost_usd": cost, "reserved_usd": kept})
        return Mark(use, cost, reserved, answered, refused)

    def settled(self, mark: Mark) -> str | None:
        """The settlement is committed; as `add`, for a reservation that could not grow."""
        self._counted = mark
        return self.add(Use(sums=False, cost=0.0))

    async def _grown(self, tx: Transaction, cost: float) -> tuple[float, bool]:
        """The reservation, as large as what was used where the caps have room, and whether they have not."""
        reserved = self._counted.reserved
        if not self._limited or cost <= reserved:
            return reserved, False
        room = await _room(tx, self._catalogue, self._caps, self.worker.run_id)
        # The row's own share is what it counted last, or its reservation: that is taken already.
        taken = max(reserved, self._counted.cost)
        left = math.inf if room is None else room.left
        wanted = cost * _MORE if self._caps.worker is None else min(cost * _MORE, self._caps.worker)
        if cost - taken > left + _ROUNDING:
            return reserved, True
        return min(wanted, taken + left), False

    def _spent(self, use: Use, cost: float) -> Spent:
        worker = self.worker
        tokens = (use.tokens_in, use.tokens_out, use.tokens_cached)
        counted = self._catalogue.counted(*tokens)
        attempt = (self._task_id, worker.lease_token)
        return Spent(
            worker.agent_id, worker.provider, worker.tier, worker.model, counted, *tokens, cost, "output", *attempt
        )


def _less(use: Use, before: Use) -> Use:
    """A sum that shrank, as after a program's own correction, counts as nothing new."""
    return Use(
        max(0, use.tokens_in - before.tokens_in),
        max(0, use.tokens_out - before.tokens_out),
        max(0, use.tokens_cached - before.tokens_cached),
    )


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a run may spend, shown before it starts. US dollars: `at_most` None without a cap; `likely` by what such work cost
    before, else by the estimates of providers.yaml. `unknown`: tiers of which nothing tells the cost."""

    tasks: int
    at_most: float | None
    likely: float
    unknown: tuple[str, ...]


async def estimate(tx: Transaction, providers: Providers, caps: Caps, tasks: int | None = None) -> Estimate:
    """Of all pending tasks, at most `tasks` of them."""
    catalogue = catalogue_of(providers)
    router = Router(tx, providers, tx.caller.agent_id)
    pending = (await tx.tasks.counts()).get("pending", 0)
    count = pending if tasks is None else min(tasks, pending)
    known: dict[tuple[str, str], float] = {}
    unknown: set[str] = set()
    total, seen = 0.0, 0
    outlines = await tx.queue.outlines(None, _SHOWN)
    waiting = await tx.queue.waiting(None, _SHOWN - len(outlines)) if len(outlines) < _SHOWN else []
    for one in [*outlines, *waiting][:count]:
        request = RouteRequest(one.complexity, TaskType.OTHER, one.capabilities, one.labels)
        decision = await router.judge(request)
        seen += 1
        if decision is None or decision.chosen is None:
            continue
        chosen = decision.chosen
        key = (chosen.provider, chosen.tier.value)
        provider = catalogue.provider(chosen.provider)
        if provider is not None and provider.place is Place.CLOUD and not provider.tiers[chosen.tier].priced:
            unknown.add(f"{chosen.provider}/{chosen.tier}")
            continue
        if key not in known:
            past = [cost for cost in await tx.workers.past_costs(*key, _PAST) if cost > 0]
            known[key] = sum(past) / len(past) if past else chosen.cost
        total += known[key]
    likely = total * count / seen if seen else 0.0
    each = None if caps.worker is None else caps.worker * count
    at_most = min((cap for cap in (caps.run, each) if cap is not None), default=None)
    return Estimate(count, at_most, likely if at_most is None else min(likely, at_most), tuple(sorted(unknown)))
