"""How long work takes on a machine that does other things as well."""

import time
from collections.abc import Callable

_SAMPLES = 25


def least_seconds(work: Callable[[], object], enough: float = 0.0) -> float:
    """Of this thread's processor time, over as many runs as it takes to come below `enough`, 25 at most: whatever else goes
    on can only add to what the work itself takes."""
    best = float("inf")
    for _ in range(_SAMPLES if enough else 3):
        begun = time.thread_time()
        work()
        best = min(best, time.thread_time() - begun)
        if best < enough:
            break
    return best
