"""A plan worked off by a number of agents, each of whom takes the best task that is ready: what waiting costs.

Smaller than `wvo-mcp simulate` and many times as fast: the product's pure rules for scores, no store, nothing fails, and
free agents ask at once. Durations are those that `simulate` draws.
"""

from datetime import timedelta
from heapq import heappop, heappush
from random import Random

from tests.support.clock import START
from tests.support.shapes import Drawn
from wvo_mcp.domain.durations import learned
from wvo_mcp.domain.task import Priority
from wvo_mcp.domain.wsjf import (
    MOST_AWAITED,
    PRIORITY_VALUE,
    TAIL_CAP,
    Dependent,
    bundle,
    path_step,
    score,
    share,
    weight,
)
from wvo_mcp.orchestration.simulation.scenario import draw

_DURATIONS = learned([])
_REFRESH = timedelta(hours=2)


class Ranking:
    """Bundles and paths of a plan, as the product keeps them: a completion renews only what the same tasks wait for, whose
    own bundles nobody hears of, and due dates are looked at from time to time."""

    def __init__(self, plan: Drawn, wip_limit: int) -> None:
        self._plan = plan
        self._wip_limit = wip_limit
        self._now = START
        self._open_size = sum(plan.sizes)
        self._awaits = [len(on) for on in plan.waits]
        self._done: set[int] = set()
        self._below: list[list[int]] = [[] for _ in plan.waits]
        for place, on in enumerate(plan.waits):
            for other in on:
                self._below[other].append(place)
        self._order = self._last_first()
        self._bundles = [(0.0, 1.0)] * len(plan.waits)
        self._heard = self._bundles.copy()
        self._tails = list(plan.sizes)
        for place in self._order:
            longest = max((self._tails[other] for other in self._below[place]), default=0)
            self._tails[place] = min(TAIL_CAP, plan.sizes[place] + longest)
        self._refresh()

    def _last_first(self) -> list[int]:
        missing = self._awaits.copy()
        out = [place for place, count in enumerate(missing) if not count]
        for place in out:
            for other in self._below[place]:
                missing[other] -= 1
                if not missing[other]:
                    out.append(other)
        return out[::-1]

    def _refresh(self) -> None:
        for place in self._order:
            if place not in self._done:
                self._heard[place] = self._make(place)

    def _make(self, place: int) -> tuple[float, float]:
        plan = self._plan
        own = weight(Priority(plan.priorities[place]), None, plan.due[place], self._now)
        waiting = [Dependent(*self._heard[other], self._awaits[other], other) for other in self._below[place]]
        self._bundles[place] = bundle(own, plan.sizes[place], waiting)
        return self._bundles[place]

    def done(self, place: int, after: timedelta) -> None:
        self._done.add(place)
        self._open_size -= self._plan.sizes[place]
        anew: dict[int, None] = {}
        for other in self._below[place]:
            was = share(self._awaits[other])
            self._awaits[other] -= 1
            left = [one for one in self._plan.waits[other] if one not in self._done]
            if share(self._awaits[other]) != was and len(left) <= MOST_AWAITED:
                anew |= dict.fromkeys(left)
        for one in anew:
            self._make(one)
        if any(self._plan.due) and START + after > self._now + _REFRESH:
            self._now = START + after
            self._refresh()

    def place(self, place: int) -> tuple[float, int]:
        """Smaller comes first."""
        step = path_step(self._wip_limit, self._open_size)
        return -score(*self._bundles[place], self._tails[place], step), place


def cost_of_delay(plan: Drawn, agents: int, seed: int, *, ranked: bool, wip_limit: int | None = None) -> float:
    """In value-days: the value of each task times the time until it was done; first come, first served unless `ranked`. The
    limit is the number of agents unless it is given."""
    worth = [PRIORITY_VALUE[Priority(name)] for name in plan.priorities]
    lasts = [_seconds(size, seed, place) for place, size in enumerate(plan.sizes)]
    ranking = Ranking(plan, wip_limit or agents) if ranked else None
    missing = [len(on) for on in plan.waits]
    below: list[list[int]] = [[] for _ in plan.waits]
    for place, on in enumerate(plan.waits):
        for other in on:
            below[other].append(place)
    ready = [place for place, count in enumerate(missing) if not count]
    ends: list[tuple[float, int]] = []
    now = cost = 0.0
    while ready or ends:
        while ready and len(ends) < agents:
            best = min(ready) if ranking is None else min(ready, key=ranking.place)
            ready.remove(best)
            heappush(ends, (now + lasts[best], best))
        now, place = heappop(ends)
        cost += worth[place] * now
        if ranking is not None:
            ranking.done(place, timedelta(seconds=now))
        for other in below[place]:
            missing[other] -= 1
            if not missing[other]:
                ready.append(other)
    return cost / 86_400


def _seconds(size: int, seed: int, place: int) -> float:
    """Of the first attempt at a task of this name, as `scenario.fate` draws it."""
    return max(1.0, draw(_DURATIONS, Random(f"{seed}:T{place}:1"), size))
