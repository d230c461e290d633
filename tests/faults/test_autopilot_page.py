"""An autopilot with a page, as a process of its own: it ends as one without, whoever looks at the page."""

import json
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.races.scripted_autopilot import GO, made, started
from tests.support.flights import Flight
from tests.support.waiting import eventually

pytestmark = [pytest.mark.sqlite, pytest.mark.requirement("DASH-1", "WORK-9")]

NAME = "watched"
_GRACE = 30.0
"""A stream lasts for ten minutes, if nobody ends it."""


def said(flight: Flight) -> list[dict[str, Any]]:
    lines = (flight.folder / f"{NAME}.log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def of(flight: Flight, event: str) -> list[dict[str, Any]]:
    return [one for one in said(flight) if one.get("event") == event]


@contextmanager
def flying(folder: Path) -> Generator[tuple[Flight, Any, Any]]:
    """It has a worker that waits, and a tab that is open."""
    flight, workspace = made(folder)
    planner = workspace.server("planner")
    planner.call("create_tasks", {"tasks": [{"id": "held-1", "title": "Hold", "type": "generation"}]})
    planner.end()
    process = started(flight, NAME, "--page", "--port", "0", "--no-wait")
    try:
        eventually(lambda: (folder / f"{NAME}.log").exists() and of(flight, "launched"))
        (page,) = of(flight, "page")
        eventually(lambda: flight.sql("SELECT 1 FROM workers WHERE client_session IS NOT NULL AND pid IS NOT NULL"))
        with httpx2.stream("GET", f"{page['address']}/stream?page=/workers", timeout=60) as stream:
            parts = stream.iter_bytes()
            assert next(parts)
            yield flight, process, parts
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("numbers", "code"), [((signal.SIGTERM,), 143), pytest.param((signal.SIGINT,) * 2, 130, marks=pytest.mark.full)]
)
def test_a_signal_stops_it_with_its_page_and_the_open_streams(
    tmp_path: Path, numbers: tuple[signal.Signals, ...], code: int
) -> None:
    with flying(tmp_path) as (flight, process, stream):
        for at, number in enumerate(numbers):
            process.send_signal(number)
            eventually(lambda at=at: len(of(flight, "notice")) > at)
        assert process.wait(_GRACE) == code
        list(stream)  # to its end
    assert [one["task_id"] for one in of(flight, "summary")[0]["waiting"]] == ["held-1"]
    assert flight.statuses() == {"held-1": "pending"}
    assert "Traceback" not in (flight.folder / f"{NAME}.log").read_text()


def test_the_first_interrupt_lets_the_worker_finish_while_the_page_is_open(tmp_path: Path) -> None:
    with flying(tmp_path) as (flight, process, stream):
        process.send_signal(signal.SIGINT)
        eventually(lambda: of(flight, "notice"))
        address = of(flight, "page")[0]["address"]
        answer = httpx2.get(f"{address}/health", timeout=60)
        assert answer.status_code == 200, "it is served until the worker has finished"
        (tmp_path / GO).touch()
        assert process.wait(60) == 0
        list(stream)
    assert flight.statuses() == {"held-1": "done"}
