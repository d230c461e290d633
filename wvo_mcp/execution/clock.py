"""The time of this machine."""

import time
from datetime import UTC, datetime
from pathlib import Path

_AWAKE = getattr(time, "CLOCK_UPTIME_RAW", time.CLOCK_MONOTONIC)
"""Stands still while the machine sleeps: of macOS, and of Linux."""


class SystemClock:
    """`ports.Clock` of this machine."""

    def __init__(self) -> None:
        try:
            began = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            # Elsewhere the moment of the last start, to the minute, distinguishes boots well enough.
            began = f"{round((time.time() - time.clock_gettime(time.CLOCK_MONOTONIC)) / 60)}"
        # Earlier versions counted on through sleep: their readings of the same boot cannot be compared with these.
        self._boot = f"{began}/awake"

    def now(self) -> datetime:
        at = datetime.now(UTC)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)

    def steady(self) -> float:
        return time.clock_gettime(_AWAKE)

    def boot(self) -> str:
        return self._boot
