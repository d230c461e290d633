"""Waiting for what other processes do: always with a deadline, never for a fixed time that is hoped to be enough."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T | None], seconds: float = 60, every: float = 0.05) -> T:
    """What `look` gives as soon as that is true. Fails the test when it never is."""
    until = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < until, f"it was not so within {seconds} s; at last: {found!r}"
        time.sleep(every)
    return found


def throughout(look: Callable[[], object], seconds: float, every: float = 0.2) -> None:
    """Fails the test when `look` is untrue once within so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert (found := look()), f"it was not so all the time: {found!r}"
        time.sleep(every)
