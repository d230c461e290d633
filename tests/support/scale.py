"""How large the long tests are: small enough to run with every change, or, with WVO_TEST_FULL=1, of the full size."""

import os

FULL = os.environ.get("WVO_TEST_FULL") == "1"


def sized(full: int, short: int) -> int:
    """The number to test with."""
    return full if FULL else short
