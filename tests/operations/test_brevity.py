"""What a model reads of a task: nothing that is null or empty, nothing twice, few bytes."""

from typing import Any

import pytest

from tests.support.bench import ANN, Bench, a_task
from wvo_mcp.operations.results import compact

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CORE-6")]

SAID_BY_THE_CONTRACT = {"task", "resume", "route", "retry_at", "next_cursor", "submission", "epic_id"}
"""Fields that are null where the contract says so."""
ANSWERS = {"dependencies", "dependents", "checkpoints", "context", "tasks", "not_ready", "unlocked"}
"""Lists that were asked for: an empty one is an answer."""


def hollow(value: Any, path: str = "") -> list[str]:
    """Paths of what is null or empty."""
    if isinstance(value, list):
        return [found for place, part in enumerate(value) for found in hollow(part, f"{path}[{place}]")]
    if not isinstance(value, dict):
        return []
    found = [f"{path}.{name}" for name, part in value.items() if part is None or part in ("", [], {})]
    return found + [deeper for name, part in value.items() for deeper in hollow(part, f"{path}.{name}")]


async def test_a_claim_of_a_small_task_has_no_empty_field_and_says_its_token_once(bench: Bench) -> None:
    await bench.create(a_task("T1"))

    claim = await bench.claim()

    assert hollow(claim) == [".resume", ".context", ".route"]
    assert compact(claim).count('"lease_token"') == 0
    assert len(compact(claim)) <= 520, len(compact(claim))


async def test_nothing_to_claim_is_said_in_few_words(bench: Bench) -> None:
    answer = await bench.claim()

    assert set(answer) == {"task", "lease", "resume", "context", "route", "reason", "retry_after", "holding"}


async def test_a_small_task_is_read_in_under_two_kilobytes_after_a_whole_life(bench: Bench) -> None:
    await bench.create(a_task("T1", description="What to do, and why.", acceptance=["it works"]), a_task("T2"))
    await bench.claim(ANN, "T1")
    await bench.call("checkpoint", task_id="T1", summary="Half of it is there.", next_steps="The rest.", progress=50)
    await bench.complete("T1", artifacts=["src/a.py"])

    fresh, done = [await bench.call("get_task", task_id=task_id) for task_id in ("T2", "T1")]

    assert {path.removeprefix(".") for path in hollow(fresh) + hollow(done)} <= ANSWERS
    assert len(compact(fresh)) <= 700, len(compact(fresh))
    assert len(compact(done)) <= 2_000, len(compact(done))


async def test_lists_and_writes_leave_out_what_is_empty(bench: Bench) -> None:
    await bench.create(a_task("T1"), a_task("T2", depends_on=["T1"]))
    listed = await bench.call("list_tasks")
    plan = await bench.call("plan_next")
    await bench.claim(ANN, "T1")
    done = await bench.complete("T1")

    for result in (listed, plan, done):
        assert {path.split(".")[-1] for path in hollow(result)} <= SAID_BY_THE_CONTRACT | ANSWERS
