"""What came of a day of traffic, and what must hold at every moment of it."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from wvo_mcp.domain.providers.breaker import Verdict
from wvo_mcp.domain.providers.catalogue import Place, Provider, Tier
from wvo_mcp.orchestration.simulation.traffic_day import Call, Day
from wvo_mcp.ports import Transaction

_HOUR = 3_600_000
_DAY = 24 * _HOUR


@dataclass(frozen=True, slots=True)
class Figures:
    """Waits are from a task's coming to the beginning of the attempt that finished it, in minutes; what was not done waits
    until the end of the day. `lost` attempts were ended by their providers, `in_vain` of them begun while the provider
    took no call. `unpaid` began although a limit was used up, `unpaid_claims` of them by a claim; `beyond` are the tokens
    over the limits of the day, all providers together. `abroad`: tasks whose data left the machine although it must not.
    `misrouted` went to an open breaker. Shares are of attempts, in percent."""

    name: str
    tasks: int
    done: int
    wait_median: float
    wait_95: float
    tokens: int
    tokens_lost: int
    cost: float
    attempts: int
    lost: int
    in_vain: int
    failovers: int
    unpaid: int
    unpaid_claims: int
    beyond: int
    abroad: int
    misrouted: int
    share_cloud: float
    withheld: int
    by_provider: Mapping[str, int] = field(default_factory=dict[str, int])


class Account:
    """What a provider counted, as it goes on: tokens by time."""

    def __init__(self, provider: Provider) -> None:
        self._hourly = provider.limits.hourly
        self._daily = provider.limits.daily
        self._times: list[int] = []
        self._sums: list[int] = [0]

    def spend(self, at: int, tokens: int) -> None:
        self._times.append(at)
        self._sums.append(self._sums[-1] + tokens)

    @property
    def day(self) -> int:
        return self._sums[-1]

    def hour(self, at: int) -> int:
        return self._sums[-1] - self._sums[bisect_right(self._times, at - _HOUR)]

    def refuses(self, at: int, slack: float) -> int | None:
        """When it takes calls again; None: it takes them now."""
        if self._hourly is None:
            return None
        most = self._hourly * slack
        if self.hour(at) < most:
            return None
        for when, so_far in zip(self._times, self._sums[1:], strict=True):
            if when > at - _HOUR and self._sums[-1] - so_far < most:
                return when + _HOUR
        return at + _HOUR

    def used_up(self, at: int) -> bool:
        full = self._hourly is not None and self.hour(at) >= self._hourly
        return full or (self._daily is not None and self.day >= self._daily)

    @property
    def beyond(self) -> int:
        """Tokens over the limit of the day."""
        return 0 if self._daily is None else max(0, self.day - self._daily)


class Ledger:
    """Writes down what happens."""

    def __init__(self, day: Day, accounts: Mapping[str, Account]) -> None:
        self._day = day
        self._accounts = accounts
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._providers: Counter[str] = Counter()
        self._places: Counter[Place] = Counter()
        self._cost = 0.0
        self._taken: dict[tuple[str, int], int] = {}
        self._failed_at: dict[str, str] = {}
        self._waits: dict[str, int] = {}
        self._abroad: set[str] = set()

    def refused(self, reason: str) -> None:
        self._reasons[reason] += 1

    async def check(self, tx: Transaction, task_id: str, provider: str, tier: Tier) -> None:
        """Is every breaker on the way of this attempt closed, or leased to it?"""
        for breaker in await tx.routing.breakers():
            mine = breaker.provider == provider and breaker.tier in ("", tier.value)
            if mine and breaker.verdict(tx.now, task_id) is Verdict.STOP:
                self._counts["misrouted"] += 1

    def began(self, call: Call, *, down: bool, claimed: bool) -> None:
        name = call.provider.name
        counts = self._counts
        counts["attempts"] += 1
        counts["in_vain"] += down
        unpaid = self._accounts[name].used_up(call.begun)
        counts["unpaid"] += unpaid
        counts["unpaid_claims"] += unpaid and claimed
        before = self._failed_at.pop(call.demand.id, name)
        counts["failovers"] += before != name
        self._providers[name] += 1
        self._places[call.provider.place] += 1
        at_home = not self._day.catalogue.local_labels.isdisjoint(call.demand.labels)
        if at_home and call.provider.place is Place.CLOUD:
            self._abroad.add(call.demand.id)

    def spent(self, call: Call, at: int, tokens: int, cost: float) -> None:
        self._accounts[call.provider.name].spend(at, tokens)
        self._cost += cost
        key = (call.demand.id, call.number)
        self._taken[key] = self.taken(call) + tokens
        self._counts["tokens"] += tokens

    def taken(self, call: Call) -> int:
        """Tokens that the attempt has reported."""
        return self._taken.get((call.demand.id, call.number), 0)

    def ended(self, call: Call, at: int, *, done: bool) -> None:
        if done:
            self._waits[call.demand.id] = call.begun - call.demand.at

    def lost(self, call: Call, at: int) -> None:
        self._counts["lost"] += 1
        self._counts["tokens_lost"] += self.taken(call)
        self._failed_at[call.demand.id] = call.provider.name

    def figures(self, name: str) -> Figures:
        counts = self._counts
        demands = self._day.demands
        waits = sorted(self._waits.get(one.id, _DAY - one.at) for one in demands)
        attempts = max(1, counts["attempts"])
        return Figures(
            name=name,
            tasks=len(demands),
            done=len(self._waits),
            wait_median=_minutes(waits[len(waits) // 2]),
            wait_95=_minutes(waits[len(waits) * 95 // 100]),
            tokens=counts["tokens"],
            tokens_lost=counts["tokens_lost"],
            cost=round(self._cost, 2),
            attempts=counts["attempts"],
            lost=counts["lost"],
            in_vain=counts["in_vain"],
            failovers=counts["failovers"],
            unpaid=counts["unpaid"],
            unpaid_claims=counts["unpaid_claims"],
            beyond=sum(account.beyond for account in self._accounts.values()),
            abroad=len(self._abroad),
            misrouted=counts["misrouted"],
            share_cloud=round(100 * self._places[Place.CLOUD] / attempts, 1),
            withheld=self._reasons["budget"],
            by_provider=dict(sorted(self._providers.items())),
        )


def _minutes(milliseconds: int) -> float:
    return round(milliseconds / 60_000, 1)
