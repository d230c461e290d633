"""The circuit breaker of a provider, or of one tier of it (closed, open, half-open with one probe)."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


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
    """`tier` is empty for the whole provider. `failures` in a row; `kind` of the last; not tried before `until`.

    While half-open, `probe_task` alone may try, until `probe_until`.
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
        """When somebody may try next, if nothing else happens; None: unknown, or now."""
        return self.probe_until if self.state is BreakerState.HALF_OPEN else self.until
