"""Orders of the queue compared over many seeds, which are the same for every order, so that differences are taken by seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from statistics import fmean, stdev

from wvo_mcp.domain.workload import Workload, critical_path
from wvo_mcp.orchestration.simulation.tally import Outcome


class Order(StrEnum):
    WSJF = "wsjf"
    """The product's: by score (contract, section 4)."""
    FIFO = "fifo"
    CRITICAL_PATH = "critical-path"


def scores_of(order: Order, work: Workload, medians: Mapping[int, float]) -> dict[str, float] | None:
    """By task, the highest first and equals by age; None where the product keeps them. `medians`: seconds by complexity.
    Raises DependencyCycle."""
    if order is not Order.CRITICAL_PATH:
        return None if order is Order.WSJF else {}
    # Seconds from the beginning of a task to the end of the longest chain behind it.
    chain = critical_path(work, [medians[task.complexity] for task in work.tasks])
    return {work.tasks[index].id: chain.total - latest for index, latest in chain.latest.items()}


MEASURES = ("cost_of_delay", "makespan_hours")
"""Of an outcome; less is better."""

_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110,
    2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Student's t for a two-sided 95 %, by degrees of freedom from 1."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds; the 95 % interval reaches `margin` to both sides."""

    mean: float
    margin: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One measure of one order."""

    value: Estimate
    difference_percent: Estimate | None
    """Against the first order, seed by seed; below 0 is better. None for the first order itself."""
    better: int
    """Seeds in which it was better than the first order."""
    best: int
    """Seeds in which no other order was better."""


def compared(runs: Mapping[str, Sequence[Outcome]]) -> dict[str, dict[str, Measured]]:
    """By order and measure. `runs`: by order, one outcome for each seed (two at least), the same seeds in the same sequence;
    the others are compared with the first order."""
    out: dict[str, dict[str, Measured]] = {order: {} for order in runs}
    for name in MEASURES:
        found = {order: [float(getattr(one, name)) for one in ones] for order, ones in runs.items()}
        first = next(iter(found.values()))
        least = [min(each) for each in zip(*found.values(), strict=True)]
        for order, own in found.items():
            apart = [(a / b - 1) * 100 if b else 0.0 for a, b in zip(own, first, strict=True)]
            out[order][name] = Measured(
                value=estimate(own),
                difference_percent=None if own is first else estimate(apart),
                better=sum(a < b for a, b in zip(own, first, strict=True)),
                best=sum(a <= b for a, b in zip(own, least, strict=True)),
            )
    return out


def estimate(values: Sequence[float]) -> Estimate:
    """Of two values at least. Source: Student's t, as for any mean of independent draws."""
    freedom = len(values) - 1
    t = _T[freedom - 1] if freedom <= len(_T) else 1.96 + 2.5 / freedom
    return Estimate(round(fmean(values), 3), round(t * stdev(values) / sqrt(len(values)), 3))
