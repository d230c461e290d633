"""How long checkpoints, validations and noticing take is kept, across processes and hosts (WS-10)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.support.bench import ANN, Bench
from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.domain.latencies import KEPT, Latency, Rate
from wvo_mcp.domain.validation import validation
from wvo_mcp.errors import StoreBusy
from wvo_mcp.orchestration.workspaces import timing
from wvo_mcp.orchestration.workspaces.timing import Timing
from wvo_mcp.ports.checkpoints import Taken
from wvo_mcp.ports.telemetry import Silent

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-10")]


class Recording(Silent):
    def __init__(self) -> None:
        self.measures: list[tuple[str, float, Mapping[str, Any]]] = []

    def measured(self, what: str, seconds: float, attributes: Mapping[str, Any] | None = None) -> None:
        self.measures.append((what, seconds, attributes or {}))


def taken(took_ms: int, judged_ms: int | None = None) -> Taken:
    found = None if judged_ms is None else validation([], judged=1, total=1, size=1, took_ms=judged_ms)
    return Taken(
        workspace_id="ws", seq=1, number=1, commit="c", files_changed=1, took_ms=took_ms, fresh=judged_ms is not None,
        validation=found,
    )  # fmt: skip


async def test_the_newest_of_all_hosts_are_kept(bench: Bench) -> None:
    here, there = Timing(host="here"), Timing(host="there")
    for number in range(KEPT + 50):
        here.noticed(float(number))
    await here.keep(bench.store, ANN)
    there.taken(Trigger.CALL, taken(100, 30))
    there.taken(Trigger.INTERVAL, taken(50))
    await there.keep(bench.store, ANN)
    await here.keep(bench.store, ANN)
    found, _ = await bench.read(timing.kept)
    assert found[Latency.NOTICING].count == KEPT
    assert (found[Latency.NOTICING].p50, found[Latency.NOTICING].p99) == (149.0, 247.0)
    assert (found[Latency.CHECKPOINT].p50, found[Latency.CHECKPOINT].p95, found[Latency.VALIDATION].p50) == (
        50,
        100,
        30,
    )


async def test_what_the_store_refused_is_kept_by_the_next_call(bench: Bench) -> None:
    class Away:
        async def write(self, *_: Any) -> None:
            raise StoreBusy("later")

    own, away = Timing(), Away()
    own.noticed(3.0)
    store: Any = away
    with pytest.raises(StoreBusy):
        await own.keep(store, ANN)
    own.noticed(4.0)
    await own.keep(bench.store, ANN)
    assert (await bench.read(timing.kept))[0][Latency.NOTICING].count == 2


async def test_how_often_a_verdict_was_known_and_a_checkpoint_failed_is_kept(bench: Bench) -> None:
    own = Timing()
    own.failed(Trigger.INTERVAL, 2_000.0)
    for cached, judged in ((0, 10), (9, 10), (0, 0)):
        found = validation([], judged=judged, total=judged, size=1, cached=cached)
        own.taken(Trigger.CALL, replace(taken(100), validation=found))
    await own.keep(bench.store, ANN)
    _, rates = await bench.read(timing.kept)
    assert (rates[Rate.FAILED].rate, rates[Rate.FAILED].count) == (0.25, 4)
    assert (rates[Rate.CACHED].rate, rates[Rate.CACHED].count) == (0.45, 2)


def test_telemetry_gets_each_with_its_trigger_and_outcome() -> None:
    tracer = Recording()
    own = Timing(tracer)
    own.taken(Trigger.CHANGES, taken(100, 30))
    own.failed(Trigger.INTERVAL, 2_000.0)
    own.noticed(7.0)
    by = "wvo.checkpoint.trigger"
    assert tracer.measures == [
        ("checkpoint", 0.1, {by: "changes", "wvo.outcome": "made"}),
        ("validation", 0.03, {}),
        ("checkpoint", 2.0, {by: "interval", "wvo.outcome": "failed"}),
        ("noticing", 0.007, {}),
    ]
