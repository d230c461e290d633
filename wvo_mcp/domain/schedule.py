"""When the open tasks will be done by a number of agents: one run, and many (Monte Carlo).

A run is list scheduling (Graham, 1966): whenever an agent is free it takes the best task that is ready, in the order that
the queue has now. The durations of a run depend on its seed and on the tasks alone, so that different numbers of agents, or
plans with and without a task, are compared on the same draws (common random numbers).
"""

import random
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from wvo_mcp.domain.durations import Durations
from wvo_mcp.domain.workload import Workload


@dataclass(frozen=True, slots=True)
class Crew:
    """How much is worked on at once: `slots` tasks at most, and fewer in epics that have a limit."""

    slots: int
    epic_limits: Mapping[str, int] = field(default_factory=dict[str, int])


@dataclass(slots=True)
class Runs:
    """When things ended, in seconds from now, one entry a run."""

    total: list[float]
    epics: dict[str, list[float]]
    milestones: dict[str, list[float]]


class Plan:
    """A workload made ready to be run many times. Raises DependencyCycle."""

    def __init__(self, work: Workload, crew: Crew, excluded: Collection[int] = ()) -> None:
        """`excluded` are left out, with all that waits for them; a parent does not wait for an excluded child."""
        work.order()
        self.work = work
        self.excluded = self._closed(work, excluded)
        self.counted = len(work.tasks) - len(self.excluded)
        self._slots = crew.slots
        self._missing = [len(others) for others in work.waits]
        for index in self.excluded:
            if work.parent[index] >= 0:
                self._missing[work.parent[index]] -= 1
        tasks = work.tasks
        groups: dict[tuple[str | None, str | None], int] = {}
        self._group = [groups.setdefault((task.epic_id, task.milestone_id), len(groups)) for task in tasks]
        self._groups = list(groups)
        self._release = [task.release for task in tasks]
        limited = {name: number for number, name in enumerate(sorted(crew.epic_limits))}
        self._limits = [crew.epic_limits[name] for name in limited]
        self._limited = [limited.get(task.epic_id or "", -1) for task in tasks]
        self._running = [index for index, task in enumerate(tasks) if task.running and index not in self.excluded]
        self._open = [
            index
            for index, task in enumerate(tasks)
            if not self._missing[index] and not task.running and index not in self.excluded
        ]

    @staticmethod
    def _closed(work: Workload, excluded: Collection[int]) -> set[int]:
        """Also what will never be worked on: stuck tasks, and what waits for something that is left out."""
        out = set(excluded) | {index for index, task in enumerate(work.tasks) if task.stuck}
        todo = list(out)
        while todo:
            index = todo.pop()
            for other in work.below[index]:
                # A cancelled child frees its parent; one that failed does not.
                freed = work.parent[index] == other and index in excluded
                if other not in out and not freed:
                    out.add(other)
                    todo.append(other)
        return out

    def ends(self, durations: Sequence[float]) -> dict[tuple[str | None, str | None], float]:
        """One run: when the last task of each (epic, milestone) is done."""
        missing = self._missing.copy()
        below, release, group, limited = self.work.below, self._release, self._group, self._limited
        last = [-1.0] * len(self._groups)
        busy = [0] * len(self._limits)
        parked: list[list[int]] = [[] for _ in self._limits]
        # Entries are (when, index) for an end and (when, -1 - index) for a time that has come.
        events = [(durations[index], index) for index in self._running]
        for index in self._running:
            if limited[index] >= 0:
                busy[limited[index]] += 1
        free = self._slots - len(self._running)
        ready: list[int] = []
        for index in self._open:
            if release[index] > 0:
                events.append((release[index], -1 - index))
            else:
                ready.append(index)
        heapify(events)
        heapify(ready)
        now = 0.0
        excluded = self.excluded
        while True:
            while free > 0 and ready:
                index = heappop(ready)
                epic = limited[index]
                if epic >= 0:
                    if busy[epic] >= self._limits[epic]:
                        heappush(parked[epic], index)
                        continue
                    busy[epic] += 1
                free -= 1
                heappush(events, (now + durations[index], index))
            if not events:
                break
            now, index = heappop(events)
            if index < 0:
                heappush(ready, -1 - index)
                continue
            free += 1
            last[group[index]] = now
            epic = limited[index]
            if epic >= 0:
                busy[epic] -= 1
                if parked[epic]:
                    heappush(ready, heappop(parked[epic]))
            for other in below[index]:
                missing[other] -= 1
                if not missing[other] and other not in excluded:
                    if release[other] > now:
                        heappush(events, (release[other], -1 - other))
                    else:
                        heappush(ready, other)
        return {name: end for name, end in zip(self._groups, last, strict=True) if end >= 0}


class Draws:
    """The durations of run number `run`, the same for every plan of the workload."""

    def __init__(self, work: Workload, durations: Durations, seed: int, stretch: float = 1.0) -> None:
        """`stretch`: seconds on the clock for one second of work."""
        self._seed = seed
        self._stretch = stretch
        self._size = len(work.tasks)
        self._same: dict[int, list[int]] = {}
        self._begun: list[tuple[int, list[float]]] = []
        for index, task in enumerate(work.tasks):
            if task.finished:
                continue
            if task.running:
                self._begun.append((index, durations.left(task.complexity, task.spent)))
            else:
                self._same.setdefault(task.complexity, []).append(index)
        self._values = {complexity: durations.values[complexity] for complexity in self._same}

    def of(self, run: int) -> list[float]:
        """Seconds of each task, by index.

        What was seen is resampled in each run before it is drawn from (the bootstrap of Efron, 1979), so that what is not
        known for want of data widens the result as well; half as many as were seen (m out of n: Bickel, Gotze and van Zwet,
        1997), for with skewed data the whole number is too sure of itself: a p90 that held for 85 of 100.
        """
        rng = random.Random(f"{self._seed}:{run}")  # noqa: S311 - a simulation, not a secret
        out = [0.0] * self._size
        for complexity, indexes in self._same.items():
            values = self._values[complexity]
            drawn = rng.choices(rng.choices(values, k=(len(values) + 1) // 2), k=len(indexes))
            for index, seconds in zip(indexes, drawn, strict=True):
                out[index] = seconds * self._stretch
        for index, values in self._begun:
            out[index] = rng.choice(values) * self._stretch
        return out


def simulated(plan: Plan, draws: Draws, runs: int) -> Generator[int, None, Runs]:
    """Yields the number of each run that is done; returns when everything ended in each."""
    epics: dict[str, list[float]] = {task.epic_id: [0.0] * runs for task in plan.work.tasks if task.epic_id}
    milestones: dict[str, list[float]] = {
        task.milestone_id: [0.0] * runs for task in plan.work.tasks if task.milestone_id
    }
    total = [0.0] * runs
    for run in range(runs):
        for (epic_id, milestone_id), end in plan.ends(draws.of(run)).items():
            total[run] = max(total[run], end)
            if epic_id is not None:
                epics[epic_id][run] = max(epics[epic_id][run], end)
            if milestone_id is not None:
                milestones[milestone_id][run] = max(milestones[milestone_id][run], end)
        yield run + 1
    return Runs(total, epics, milestones)


def chance(values: Sequence[float], until: float) -> float:
    """The share of values not beyond `until`."""
    return sum(value <= until for value in values) / len(values)
