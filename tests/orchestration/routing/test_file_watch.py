"""A broken providers.yaml as people hear of it."""

from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from tests.support.bench import ANN, Bench, a_task
from tests.support.leading import a_leader
from wvo_mcp.domain.providers.trust import parts_of
from wvo_mcp.execution.providers.parse import parse
from wvo_mcp.execution.providers.workspace import ProvidersOfWorkspace
from wvo_mcp.execution.trust import Trust
from wvo_mcp.orchestration.health.report import checkup
from wvo_mcp.orchestration.routing import overview

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("PROV-1")]

GOOD = "providers: {one: {kind: codex, tiers: {low: {model: m}, high: {model: n}}}}\n"
BROKEN = GOOD + "mode: both\n"


class Watched:
    """A bench whose leader watches a real file."""

    def __init__(self, bench: Bench, path: Path) -> None:
        self.bench = bench
        self.path = path
        self.trust = Trust({"HOME": str(path.parent)}, path.parent)
        providers = ProvidersOfWorkspace(path, {}, bench.clock, self.trust)
        self.providers = providers
        bench.services = replace(bench.services, providers=providers)
        bench.workers = True
        self._leader = a_leader(bench.store, lambda: ANN, bench.clock, (overview.file_check(providers),))

    async def after(self, text: str | None, seconds: int = 2) -> list[tuple[str, str, str | None]]:
        """Open alerts when the file was written and the leader has ticked every second."""
        if text is None:
            self.path.unlink()
        else:
            self.path.write_text(text)
        for _ in range(seconds):
            self.bench.clock.advance(1)
            async with anyio.create_task_group() as tasks:
                await self._leader.tick(tasks)
        return await self.bench.alerts()

    async def checked(self) -> tuple[str, str]:
        loop = self.bench.services.health
        assert loop is not None
        found = await checkup(self.bench.store, ANN, loop.limits, self.bench.clock)
        return found.status, found.checks["providers"]


@pytest.fixture
def watched(bench: Bench, tmp_path: Path) -> Watched:
    return Watched(bench, tmp_path / "providers.yaml")


async def test_while_a_good_version_holds_it_is_a_warning_that_ends_by_itself(watched: Watched) -> None:
    assert await watched.after(GOOD) == []

    assert await watched.after(BROKEN) == [("providers_file", "warning", None)]
    times = await watched.bench.sql("SELECT times, message FROM alerts")
    assert "providers.yaml:2: mode: expected one of cloud, local, hybrid" in times[0]["message"]
    assert times[0]["message"].endswith("(the last good version is used)")
    await watched.after(BROKEN, 5)
    assert (await watched.bench.sql("SELECT times, message FROM alerts")) == times  # told once
    await watched.bench.create(a_task("T"))
    assert (await watched.bench.claim())["route"]["provider"] == "one"
    assert await watched.after(GOOD) == []


async def test_without_a_good_version_it_is_critical_and_work_waits(watched: Watched) -> None:
    assert await watched.after(BROKEN) == [("providers_file", "critical", None)]
    await watched.bench.create(a_task("T"))
    claim = await watched.bench.claim()
    assert (claim["task"], claim["reason"]) == (None, "budget")
    assert "providers.yaml:2" in claim["explanation"]

    assert await watched.after(None) == []
    assert (await watched.bench.claim())["task"]["id"] == "T"


@pytest.mark.requirement("HEALTH-1")
async def test_the_health_check_names_it(watched: Watched) -> None:
    await watched.after(BROKEN)
    status, found = await watched.checked()
    assert status == "unhealthy"
    assert "providers.yaml:2" in found

    await watched.after(GOOD)
    assert (await watched.checked())[1] == "ok"


@pytest.mark.requirement("SAFE-4")
async def test_what_no_person_accepted_is_a_warning_that_ends_with_the_acceptance(watched: Watched) -> None:
    planted = GOOD.replace("kind: codex", "kind: codex, command: /planted")
    assert await watched.after(GOOD) == []

    assert await watched.after(planted) == [("trust", "warning", None)]
    assert watched.providers.current().providers[0].command == ("codex",)
    watched.trust.accept("providers", parts_of(parse(planted.encode(), "p")))

    assert await watched.after(planted) == []
    assert watched.providers.current().providers[0].command == ("/planted",)


@pytest.mark.requirement("SAFE-4")
async def test_where_nothing_is_accepted_no_work_is_given_and_the_claim_says_why(watched: Watched) -> None:
    own = GOOD.replace("kind: codex", "kind: openai, place: cloud, base_url: 'http://10.0.0.5/v1'")

    assert await watched.after(own) == [("trust", "critical", None)]
    await watched.bench.create(a_task("T"))
    claim = await watched.bench.claim()
    assert claim["task"] is None
    assert "wvo-mcp trust" in claim["explanation"]
    watched.trust.accept("providers", parts_of(parse(own.encode(), "p")))

    assert await watched.after(own) == []
    assert (await watched.bench.claim())["task"]["id"] == "T"
