"""Time that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


class StoppedClock:
    """`ports.Clock`. Both readings move by `advance`; `jump` moves the wall clock alone, `reboot` begins a new boot."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start
        self._steady = 1_000.0
        self._boots = 1

    def now(self) -> datetime:
        return self._now

    def steady(self) -> float:
        return self._steady

    def boot(self) -> str:
        return f"boot-{self._boots}"

    def advance(self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0) -> datetime:
        """Time passes; the wall clock after it."""
        passed = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
        self._now += passed
        self._steady += passed.total_seconds()
        return self._now

    def jump(self, seconds: float) -> datetime:
        """Somebody sets the wall clock: forward, or with a negative number back."""
        self._now += timedelta(seconds=seconds)
        return self._now

    def reboot(self, seconds: float = 30) -> None:
        """The machine starts anew after so many seconds: the steady clock counts from nothing."""
        self._now += timedelta(seconds=seconds)
        self._steady = 5.0
        self._boots += 1


def seconds_between(earlier: str, later: str) -> float:
    """Of two instants as the database and the tools write them."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
