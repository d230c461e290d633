"""The machine's clocks: what sleep is to them."""

import time

import pytest

from wvo_mcp.execution.clock import SystemClock

ASLEEP = 3 * 3_600.0


@pytest.mark.requirement("CLAIM-3")
def test_the_steady_clock_stops_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    awake = time.clock_gettime

    def slept(which: int) -> float:
        counts = which in (time.CLOCK_REALTIME, getattr(time, "CLOCK_BOOTTIME", None))
        return awake(which) + (ASLEEP if counts else 0.0)

    before = clock.steady()
    monkeypatch.setattr(time, "clock_gettime", slept)

    assert 0 <= clock.steady() - before < ASLEEP / 2


def test_all_processes_of_one_run_of_the_machine_name_it_alike() -> None:
    assert SystemClock().boot() == SystemClock().boot()
