"""Rules of the project that no person accepted, as people hear of them."""

from pathlib import Path

import anyio
import pytest

from tests.support.bench import ANN, Bench
from tests.support.leading import a_leader
from wvo_mcp.execution.roadmap.rules import RulesOfRoadmap, open_differences
from wvo_mcp.execution.trust import ROADMAP, Trust
from wvo_mcp.orchestration.plan.rules import rules_check

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SAFE-4")]


async def test_an_unaccepted_change_is_an_alert_until_it_is_accepted_or_taken_back(
    bench: Bench, tmp_path: Path
) -> None:
    path, trust = tmp_path / "rules.yaml", Trust({"HOME": str(tmp_path)}, tmp_path)
    rules = RulesOfRoadmap(path, trust)
    leader = a_leader(bench.store, lambda: ANN, bench.clock, (rules_check(rules),))

    async def after(text: str) -> list[tuple[str, str, str | None]]:
        path.write_text(text)
        bench.clock.advance(10)
        async with anyio.create_task_group() as tasks:
            await leader.tick(tasks)
        return await bench.alerts()

    waiting = [("trust_roadmap", "warning", None)]
    assert await after("epics: []\n") == []
    assert await after("project: {setup: make}\n") == waiting
    assert await after("project: {setup: make\n") == waiting, "a broken file says nothing new of it"
    assert await after("epics: []\n# as it was\n") == []
    assert await after("project: {setup: make all}\n") == waiting
    trust.accept(ROADMAP, open_differences(path, trust)[0])
    assert await after("project: {setup: make all}\n# accepted\n") == []
    assert await after("project: {setup: rm -rf .}\n") == waiting
    assert rules.current().setup == "make all"
