"""How long tasks take, learned from those that are done."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import exp
from statistics import NormalDist, median

PRIOR_SECONDS_PER_POINT = 720.0
"""Before anything was seen: an hour for the default complexity of 5."""
PRIOR_SPREAD = 0.8
"""Of the logarithm. Durations of work are skewed to the right, about lognormal (Halkjelsvik and Jorgensen, Time
Predictions, 2018)."""
ENOUGH = 20
"""So many tasks of one complexity speak for themselves."""
KEPT = 400
"""The newest of each complexity are learned from."""


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds from claim to done, by complexity (1-10).

    A complexity of which fewer than 20 were seen is filled up to 20 with evenly spaced quantiles of what all complexities
    show for one point of complexity, and that with those of the prior: pseudo-observations, as in a Dirichlet prior
    around a base measure (Ferguson, 1973), whose weight vanishes as data come in.
    """

    seen: Mapping[int, int] = field(default_factory=dict[int, int])
    """How many were learned from, by complexity."""
    values: Mapping[int, list[float]] = field(default_factory=dict[int, list[float]])
    """What a draw chooses from, sorted; of each complexity."""

    def expected(self, complexity: int, spent: float = 0.0) -> float:
        """The median of what is left when so many seconds are spent already."""
        return median(self.left(complexity, spent))

    def left(self, complexity: int, spent: float = 0.0) -> list[float]:
        """What may be left, each as likely: what lasted longer than `spent`, without it. When nothing ever lasted so long,
        nothing is known, and it counts as just begun."""
        values = self.values[complexity]
        if spent <= 0:
            return values
        longer = values[bisect_right(values, spent) :]
        return [value - spent for value in longer] or values


def learned(finished: Iterable[tuple[int, float]]) -> Durations:
    """From (complexity, seconds) of done tasks, newest first."""
    own: dict[int, list[float]] = {complexity: [] for complexity in range(1, 11)}
    for complexity, seconds in finished:
        if seconds >= 0 and len(own[complexity]) < KEPT:
            own[complexity].append(seconds)
    pool = sorted(seconds / complexity for complexity, values in own.items() for seconds in values)
    normal = NormalDist(0.0, PRIOR_SPREAD)
    prior = [PRIOR_SECONDS_PER_POINT * exp(normal.inv_cdf((i + 0.5) / ENOUGH)) for i in range(ENOUGH)]
    pool = sorted(pool + _quantiles(prior, ENOUGH - len(pool)))
    values = {
        complexity: sorted(seen + [complexity * point for point in _quantiles(pool, ENOUGH - len(seen))])
        for complexity, seen in own.items()
    }
    return Durations({complexity: len(seen) for complexity, seen in own.items() if seen}, values)


def _quantiles(ordered: list[float], count: int) -> list[float]:
    """`count` values at evenly spaced places."""
    return [ordered[int((place + 0.5) / count * len(ordered))] for place in range(count)]


def busy_share(spans: Iterable[tuple[datetime, datetime]], now: datetime, days: float = 28.0) -> float | None:
    """The share of the clock, since the first of these spans and over the last so many days, in which at least one ran;
    None when there is nothing to tell it from (less than a day)."""
    ordered = sorted(
        (max((start - now).total_seconds(), -days * 86_400), (end - now).total_seconds()) for start, end in spans
    )
    ordered = [(start, min(end, 0.0)) for start, end in ordered if end > start]
    if not ordered or -ordered[0][0] < 86_400:
        return None
    covered, until = 0.0, ordered[0][0]
    for start, end in ordered:
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered / -ordered[0][0] or None
