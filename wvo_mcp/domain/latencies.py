"""How long what is done for workspaces takes: the newest values of each kind, and their quantiles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil

KEPT = 200
"""Values of each kind."""


class Latency(StrEnum):
    CHECKPOINT = "checkpoint"
    VALIDATION = "validation"
    NOTICING = "noticing"
    """From the change of a file until its watcher has it."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """In milliseconds."""

    p50: float
    p95: float
    p99: float
    count: int


def quantiles(values: Sequence[float]) -> Quantiles | None:
    """None without values."""
    if not values:
        return None
    return Quantiles(percentile(values, 0.5), percentile(values, 0.95), percentile(values, 0.99), len(values))


def joined(before: Mapping[str, Sequence[float]], new: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The newest of each kind."""
    return {kind: [*before.get(kind, ()), *new.get(kind, ())][-KEPT:] for kind in sorted({*before, *new})}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of all does not exceed (nearest rank)."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]
