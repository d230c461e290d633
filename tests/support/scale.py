"""How large the long tests are: small enough to run with every change, or, with WVO_TEST_FULL=1, of the full size."""

import os
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import pytest

FULL = os.environ.get("WVO_TEST_FULL") == "1"


def sized(full: int, short: int) -> int:
    """The number to test with."""
    return full if FULL else short


def sampled(cases: Collection[Any], every: int) -> list[Any]:
    """The cases as parameters: each so many-th, from the first on, runs with every change, the others with the full size."""
    full = pytest.mark.full
    return [pytest.param(case, marks=[full] if number % every else []) for number, case in enumerate(cases)]


def part_of(parts: int) -> int:
    """Which of so many parts this run takes, from 0: each day another, or as WVO_TEST_PART says."""
    told = os.environ.get("WVO_TEST_PART")
    return (int(told) if told else datetime.now(UTC).toordinal()) % parts
