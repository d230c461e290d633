"""How long what is done for workspaces takes, and how often: the newest values of each kind, quantiles and rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from typing import TypeVar

T = TypeVar("T")
KEPT = 200
"""Values of each kind."""


class Latency(StrEnum):
    CHECKPOINT = "checkpoint"
    VALIDATION = "validation"
    NOTICING = "noticing"
    """From the change of a file until its watcher has it."""


class Rate(StrEnum):
    CACHED = "validation_cached"
    """Of the changed files that were judged: whose verdict was known already."""
    FAILED = "checkpoint_failed"
    """Of the checkpoints that were asked for: which could not be made."""


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `of`, in `count` newest looks."""

    hits: int
    of: int
    count: int

    @property
    def rate(self) -> float:
        return round(self.hits / self.of, 4)


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


def share(values: Sequence[tuple[int, int]]) -> Share | None:
    """`values`: (hits, of). None where there was nothing to hit."""
    hits, of = sum(hit for hit, _ in values), sum(of for _, of in values)
    return Share(hits, of, len(values)) if of else None


def joined(before: Mapping[str, Sequence[T]], new: Mapping[str, Sequence[T]]) -> dict[str, list[T]]:
    """The newest of each kind."""
    return {kind: [*before.get(kind, ()), *new.get(kind, ())][-KEPT:] for kind in sorted({*before, *new})}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of all does not exceed (nearest rank)."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)]
