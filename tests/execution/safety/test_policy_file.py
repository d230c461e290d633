"""`state/policy.yaml`: what is shipped says nothing new, the schema knows what the reader knows, errors name their line."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.bench import ANN, Bench
from tests.support.clock import StoppedClock
from tests.support.leading import a_leader
from wvo_mcp.domain.policy import SafetyPolicy, held_back
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.safety.judge import PolicyJudge
from wvo_mcp.execution.safety.policy_file import default_text, schema_text, stated_in
from wvo_mcp.execution.trust import Trust
from wvo_mcp.orchestration.plan.rules import policy_check

pytestmark = pytest.mark.requirement("SAFE-4")


def test_the_shipped_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(default_text())
    assert stated_in(path) == {}
    path.write_text(default_text() + "# read for real\n")
    assert held_back(stated_in(path), {}) == (SafetyPolicy(), [])


def test_the_schema_has_the_keys_and_bounds_of_the_reader(tmp_path: Path) -> None:
    schema: Any = json.loads(schema_text())
    parts = schema["properties"]
    path = tmp_path / "policy.yaml"
    for kind, part in parts.items():
        for key, one in part["properties"].items():
            bounds = ("{memory_mb: 1, cpus: 0.5}", "{memory_mb: 8193}"), ("{read: [a]}", "{read: a}")
            samples = {
                "mounts": bounds[1],
                "by_label": ("{a: {limits: {seconds: 2}}}", "{a: {by_label: {}}}"),
                **({"limits": bounds[0]} if kind == "sandbox" else {}),
            }
            good, bad = samples.get(key, ("[a b]", "[[]]"))
            if kind in ("limits", "severities"):
                good, bad = ("1", "-1") if kind == "limits" else ("critical", "no")
            path.write_text(f"{kind}:\n  {key}: {good}\n")
            assert key in stated_in(path)[kind], one
            path.write_text(f"{kind}:\n  {key}: {bad}\n")
            with pytest.raises(InvalidInput, match=rf"policy\.yaml:2: {kind}\.{key}"):
                stated_in(path)
        path.write_text(f"{kind}:\n  other: x\n")
        with pytest.raises(InvalidInput, match="unknown key 'other'"):
            stated_in(path)
    assert set(parts) == {"paths", "commands", "severities", "limits", "sandbox"}


@pytest.mark.parametrize(
    "text", ["[]", "paths: x", "commands: {block: x}", "\x00", "paths: &a {allowed: *a}", "a: 1\n"]
)
def test_what_is_no_policy_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput):
        stated_in(path)


@pytest.mark.anyio
async def test_people_hear_of_a_policy_that_waits_or_is_broken(bench: Bench, tmp_path: Path) -> None:
    path, trust = tmp_path / "policy.yaml", Trust({"HOME": str(tmp_path)}, tmp_path)
    clock = StoppedClock()
    judge = PolicyJudge(path, trust, clock, tmp_path, {"HOME": str(tmp_path)})
    leader = a_leader(bench.store, lambda: ANN, bench.clock, (policy_check(judge),))

    async def after(text: str) -> list[str]:
        path.write_text(text)
        bench.clock.advance(10)
        clock.advance(10)

        async with anyio.create_task_group() as tasks:
            await leader.tick(tasks)
        return [kind for kind, _, _ in await bench.alerts()]

    assert await after("commands: {block: [x]}\n") == []
    assert await after("commands: {allow: [docker]}\n") == ["trust_policy"]
    assert "policy_file" in await after("commands: [\n")
    assert await after("commands: {}\n") == []
