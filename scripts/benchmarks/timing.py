"""Samples and their percentiles; contenders that take turns, so that the noise of the machine hits all of them."""

import gc
import time
from collections.abc import Callable, Mapping


def percentile(samples: list[float], part: float) -> float:
    """The value below which `part` (0 to 1) of the samples lie. Raises IndexError without samples."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def p50(samples: list[float]) -> float:
    return percentile(samples, 0.5)


def p99(samples: list[float]) -> float:
    return percentile(samples, 0.99)


def in_turns(
    rounds: int, contenders: Mapping[str, Callable[[], object]], *, warm_up: int = 5, seconds: float = 60.0
) -> dict[str, list[float]]:
    """Milliseconds of each call, by contender. Each round calls every one of them once, in an order that rotates. One that
    returns a float has measured itself, in milliseconds: what it does besides is not counted.

    After `seconds` no further round begins, but at least five are made.
    """
    order = list(contenders)
    taken: dict[str, list[float]] = {name: [] for name in order}
    until = time.monotonic() + seconds
    gc.collect()
    gc.disable()  # a collection of this process would be counted to whoever is called at that moment
    try:
        for number in range(-warm_up, rounds):
            for name in order:
                started = time.perf_counter()
                measured = contenders[name]()
                passed = measured if isinstance(measured, float) else (time.perf_counter() - started) * 1000
                if number >= 0:
                    taken[name].append(passed)
            order.append(order.pop(0))
            if number >= 5 and time.monotonic() > until:
                break
    finally:
        gc.enable()
    return taken
