"""The circuit breaker of a provider, or of one tier of it (closed, open, half-open with one probe).

Every transition is a pure function of what was known, what happened, the time and one draw from [0, 1).
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal

TRIPPING = frozenset(
    {FailureKind.CAPACITY, FailureKind.RATE_LIMIT, FailureKind.QUOTA, FailureKind.AUTH, FailureKind.OUTAGE}
)
"""What says something about a provider. All else is about the task or this machine, and the provider did answer."""
ANSWERED = frozenset({FailureKind.REFUSAL, FailureKind.CONTEXT})
"""Failures that only a provider that works can give."""
_OF_TIER = frozenset({FailureKind.CAPACITY, FailureKind.RATE_LIMIT})

OUTAGES = 3
"""This many outages in a row, each within `IN_A_ROW` of the one before, open a breaker: one lost connection does not."""
IN_A_ROW = timedelta(minutes=5)
LATE = timedelta(minutes=5)
"""For this long after it closed, attempts from before it opened may still report the failure that opened it."""
FAST = (5.0, 900.0)
"""Backoff in seconds, first and longest, with full jitter (AWS Architecture Blog, Exponential Backoff And Jitter, 2015)."""
SLOW = (900.0, 21_600.0)
"""For what only a person or a payment fixes; never sooner than the first, and up to a quarter later."""
SOONEST, LATEST = timedelta(seconds=1), timedelta(days=8)
"""A time that a provider names is believed within these bounds: a week's limit passes, a broken clock does not."""


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Verdict(StrEnum):
    """May an attempt go through?"""

    PASS = "pass"  # noqa: S105 - no password
    PROBE = "probe"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Breaker:
    """`tier` is empty for the whole provider; not tried before `until`; `kind` is that of the last failure.

    `failures`: while closed, outages in a row; else how often it opened without a success in between. `opened_at`: when it
    opened last, also once it is closed again; `updated_at`: its last change. While half-open, `probe_task` alone may try,
    until `probe_until`.
    """

    provider: str
    tier: str
    state: BreakerState = BreakerState.CLOSED
    kind: str = ""
    failures: int = 0
    until: datetime | None = None
    probe_task: str | None = None
    probe_until: datetime | None = None
    opened_at: datetime | None = None
    reason: str = ""
    updated_at: datetime | None = None

    def verdict(self, now: datetime, task_id: str | None) -> Verdict:
        """What a task meets. An open one whose time has come lets one task through, to see."""
        if self.state is BreakerState.CLOSED:
            return Verdict.PASS
        if self.state is BreakerState.OPEN:
            return Verdict.PROBE if self.until is not None and self.until <= now else Verdict.STOP
        if self.probe_task is None or self.probe_until is None or self.probe_until <= now:
            return Verdict.PROBE
        return Verdict.PROBE if self.probe_task == task_id else Verdict.STOP

    @property
    def free_at(self) -> datetime | None:
        """When the next attempt may try, if nothing else happens; None: unknown, or now."""
        return self.probe_until if self.state is BreakerState.HALF_OPEN else self.until


def scope_of(signal: Signal, tier: str) -> str:
    """The tier whose breaker such a failure feeds; '' for that of the whole provider."""
    return tier if signal.kind in _OF_TIER and not signal.whole else ""


def failed(
    breaker: Breaker,
    signal: Signal,
    now: datetime,
    draw: float,
    *,
    task_id: str | None = None,
    began: datetime | None = None,
) -> Breaker:
    """After a failure of an attempt for that task, which began then. The same object when nothing changes.

    A report of an attempt from before the opening is out of date: while the breaker is open it lengthens the wait only by
    a time that the provider named; soon after it closed it counts as an outage does, one of three.
    """
    if signal.kind not in TRIPPING:
        return breaker
    old = began is not None and breaker.opened_at is not None and began <= breaker.opened_at
    named = _named_time(signal, now)
    if breaker.state is BreakerState.CLOSED:
        recent = breaker.updated_at is not None and now - breaker.updated_at <= IN_A_ROW
        outages = (breaker.failures if recent else 0) + 1
        late = old and named is None and breaker.updated_at is not None and now - breaker.updated_at <= LATE
        if (late or signal.kind is FailureKind.OUTAGE) and outages < OUTAGES:
            return replace(
                breaker, kind=signal.kind.value, failures=outages, reason=signal.message, updated_at=now, until=None
            )
        return _opened(replace(breaker, failures=0), signal, now, draw)
    tried = breaker.verdict(now, task_id) is Verdict.PROBE and (breaker.probe_task == task_id is not None or not old)
    if tried:
        return _opened(breaker, signal, now, draw)
    if breaker.state is BreakerState.OPEN and named is not None and breaker.until is not None and named > breaker.until:
        return replace(breaker, until=named, kind=signal.kind.value, reason=signal.message, updated_at=now)
    return breaker


def _opened(breaker: Breaker, signal: Signal, now: datetime, draw: float) -> Breaker:
    named = _named_time(signal, now)
    slow = signal.kind is FailureKind.AUTH or (signal.kind is FailureKind.QUOTA and named is None)
    first, longest = SLOW if slow else FAST
    top = min(longest, first * 2.0 ** min(breaker.failures, 20))
    seconds = min(longest, top * (1 + draw / 4)) if slow else top * draw
    until = now + max(SOONEST, timedelta(seconds=seconds))
    until, count = until if named is None else max(until, named), breaker.failures + 1
    why = {"kind": signal.kind.value, "reason": signal.message}
    return _moved(breaker, BreakerState.OPEN, now, until, failures=count, opened_at=now, **why)


def _moved(breaker: Breaker, state: BreakerState, now: datetime, until: datetime | None, **more: Any) -> Breaker:
    """In that state, without a probe."""
    return replace(breaker, state=state, until=until, probe_task=None, probe_until=None, updated_at=now, **more)


def _named_time(signal: Signal, now: datetime) -> datetime | None:
    """The later of the times that the provider named, within bounds."""
    times = [] if signal.resets_at is None else [signal.resets_at]
    if signal.retry_after is not None and not math.isnan(signal.retry_after):
        times.append(now + timedelta(seconds=min(LATEST.total_seconds(), max(0.0, signal.retry_after))))
    return min(now + LATEST, max(now + SOONEST, *times)) if times else None


def succeeded(breaker: Breaker, now: datetime, *, task_id: str | None = None, began: datetime | None = None) -> Breaker:
    """After a success: closed, and no outage counted. While no attempt may try, what an attempt from before the opening
    achieved may have been done before, and closes nothing. The same object when nothing changes."""
    if breaker.state is BreakerState.CLOSED:
        return breaker if not breaker.failures else replace(breaker, failures=0, kind="", reason="", updated_at=now)
    old = began is None or breaker.opened_at is None or began <= breaker.opened_at
    if old and breaker.verdict(now, task_id) is not Verdict.PROBE:
        return breaker
    return _moved(breaker, BreakerState.CLOSED, now, None, failures=0, reason="an attempt succeeded")


def reset(breaker: Breaker, now: datetime) -> Breaker:
    """After a person's word that it works again: closed, whatever time the provider named."""
    return succeeded(replace(breaker, until=now, probe_task=None, probe_until=None), now)


def undecided(breaker: Breaker, now: datetime) -> Breaker:
    """Its probe ended and said nothing about it: the next attempt may try."""
    return _moved(breaker, BreakerState.OPEN, now, now)


def worst(provider: str, tiers: Iterable[str], breakers: Mapping[tuple[str, str], Breaker]) -> Breaker | None:
    """What keeps a whole provider from being used: its own breaker, or, when all its tiers are stopped, that which is free
    first. None while some of it works."""
    own = breakers.get((provider, ""))
    if own is not None and own.state is not BreakerState.CLOSED:
        return own
    each = [breakers.get((provider, tier)) for tier in tiers]
    stopped = [one for one in each if one is not None and one.state is not BreakerState.CLOSED]
    if len(stopped) < len(each):
        return None
    return min(stopped, key=lambda one: math.inf if one.free_at is None else one.free_at.timestamp(), default=None)
