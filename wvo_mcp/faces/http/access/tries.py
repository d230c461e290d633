"""Wrong keys are counted, and whoever shows many waits."""

import ipaddress
import math
from collections import OrderedDict

from wvo_mcp.ports import Clock

MOST = 10
SECONDS = 60.0
KEPT = 4_096
"""Counts that are remembered; beyond them the oldest is forgotten."""


class Tries:
    """By the address that a wrong key came from, and the key that it claims to be, so that nobody who guesses keeps a right
    key of another from being taken: not from elsewhere, nor through the proxy that both come by."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def wait(self, address: str, key: str) -> int:
        """Seconds until one more may be tried; 0: now."""
        count, began = self._counts.get((_network(address), key), (0, 0.0))
        left = began + SECONDS - self._clock.steady()
        return max(1, math.ceil(left)) if count >= MOST and left > 0 else 0

    def wrong(self, address: str, key: str) -> int:
        """Count one; seconds until another may be tried, 0 where that is now."""
        waits = self.wait(address, key)
        if waits:
            return waits
        where, now = (_network(address), key), self._clock.steady()
        count, began = self._counts.pop(where, (0, now))
        self._counts[where] = (1, now) if now - began >= SECONDS else (count + 1, began)
        while len(self._counts) > KEPT:
            self._counts.popitem(last=False)
        return 0


def _network(address: str) -> str:
    """Whoever has one IPv6 address has 2^64 of them."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    return address if found.version == 4 else str(ipaddress.IPv6Network((int(found), 64), strict=False))
