"""The registry, whole and in parts."""

import subprocess
import sys

from wvo_mcp.operations import ALL, named


def test_each_operation_is_found_by_its_name() -> None:
    assert [named(name) for name in ALL] == list(ALL.values())
    assert named("nothing") is None


def test_the_order_is_the_same_whichever_room_was_asked_for_first() -> None:
    asking = "from wvo_mcp import operations; print(operations.named('status').name, *operations.ALL)"
    told = subprocess.run(
        [sys.executable, "-c", asking], capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()

    assert told == ["status", *ALL]
