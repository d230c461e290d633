"""Clients that do not wait for a slow server still have our tools in their first turn."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.starts import IMPATIENT, first_turns
from tests.clients.workspace import CORE_TOOLS

pytestmark = [pytest.mark.clients, pytest.mark.drill]

# The figure that is published comes from 20 starts; three keep the suite short.
STARTS = int(os.environ.get("WVO_TEST_STARTS", "3"))


@pytest.mark.requirement("CORE-3", "CORE-13")
@pytest.mark.parametrize("program", IMPATIENT)
def test_every_start_has_all_core_tools_in_the_first_turn_without_waiting(
    program: str, tmp_path: Path, need: Callable[[str], None]
) -> None:
    need(program)

    starts = list(first_turns(program, STARTS, tmp_path))

    assert len(starts) == STARTS
    assert [start for start in starts if start.missing] == []


@pytest.mark.parametrize(
    "program", [pytest.param(one, marks=[pytest.mark.full] * (one != "codex")) for one in IMPATIENT]
)
def test_a_server_that_starts_slowly_would_be_missed_by_the_first_turn(
    program: str, tmp_path: Path, need: Callable[[str], None]
) -> None:
    """Without this the test above could pass because a new version of a client waits."""
    need(program)

    missed: list[tuple[str, ...]] = []
    for number in range(4):
        [start] = first_turns(program, 1, tmp_path / str(number), delay=4)
        missed.append(start.missing)
        if frozenset(start.missing) == CORE_TOOLS:
            return  # once proves that it does not wait; on a busy machine it may itself take longer than the server
    pytest.fail(f"it had tools of a server that starts four seconds late, each time: it lacked only {missed}")
