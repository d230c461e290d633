"""What the real programs printed, reported as it was: tokens count, and breakers open where a provider is to blame."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.bench import Bench, a_task
from tests.support.providers import USUAL, FixedProviders, only
from tests.support.signals import files, read_sample, sample
from wvo_mcp.domain.providers.breaker import TRIPPING
from wvo_mcp.domain.providers.catalogue import Catalogue
from wvo_mcp.domain.providers.signals.reading import FailureKind

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("PROV-4", "PROV-3")]


def configured(bench: Bench, catalogue: Catalogue) -> Bench:
    bench.services = replace(bench.services, providers=FixedProviders(catalogue))
    return bench


def printed(label: str) -> dict[str, Any]:
    _, exit_code, lines = sample(label)
    return {"output": "\n".join(lines), "exit_code": exit_code}


async def test_each_recorded_failure_stops_its_provider_or_nobody(bench: Bench) -> None:
    routed = configured(bench, USUAL)
    wrong: list[object] = []
    for label in (file.stem for file in files()):
        scenario, reading = read_sample(label)

        told = await routed.call("provider_report", provider=scenario.program, tier="high", **printed(label))

        kind = told["classification"] and told["classification"]["kind"]
        opened = (told["breaker"] or {}).get("state") == "open"
        stops = scenario.kind in TRIPPING and scenario.kind is not FailureKind.OUTAGE
        counted = 0 if reading.usage is None else reading.usage.tokens_in
        if (kind, told["counted"]["tokens_in"]) != (scenario.kind, counted) or (stops and not opened):
            wrong.append((label, told))

    assert wrong == []


async def test_a_run_that_was_denied_something_shows_that_its_provider_answers(bench: Bench) -> None:
    routed = configured(bench, only("claude"))
    await routed.create(a_task("A"))
    await routed.claim()
    failed = await routed.call("provider_report", task_id="A", provider="claude", **printed("claude-401"))
    routed.clock.advance(seconds=failed["retry_after"])

    denied = await routed.call("provider_report", task_id="A", provider="claude", **printed("claude-denied"))

    assert denied["classification"]["kind"] == "permission"
    assert await routed.sql("SELECT state FROM breakers") == [{"state": "closed"}]
