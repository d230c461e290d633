"""The time of this machine."""

import time
from datetime import UTC, datetime
from pathlib import Path


class SystemClock:
    """`ports.Clock` of this machine."""

    def __init__(self) -> None:
        self._steady = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        try:
            self._boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            # Elsewhere the moment of the last start, to the minute, tells boots apart well enough.
            self._boot = f"{round((time.time() - self.steady()) / 60)}"

    def now(self) -> datetime:
        at = datetime.now(UTC)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)

    def steady(self) -> float:
        return time.clock_gettime(self._steady)

    def boot(self) -> str:
        return self._boot
