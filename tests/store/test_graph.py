"""Unlock counts where the graph is not a plain one; `test_model` compares them after every step of random runs."""

import math

import pytest

from tests.support.bench import OWNER, Bench, a_task
from wvo_mcp.domain.wsjf import UNLOCK_CAP

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCHED-1")]


async def counts(bench: Bench, *task_ids: str) -> list[int]:
    return [(await bench.task(task_id)).unlock_count for task_id in task_ids]


async def test_a_task_counts_once_however_many_ways_lead_to_it(bench: Bench) -> None:
    await bench.create(
        a_task("A"), a_task("B", depends_on=["A"]), a_task("C", depends_on=["A"]), a_task("D", depends_on=["B", "C"])
    )

    assert await counts(bench, "A", "B", "C", "D") == [3, 1, 1, 0]
    await bench.create(a_task("E", depends_on=["D", "A"]))
    assert await counts(bench, "A", "B", "C", "D") == [4, 2, 2, 1]
    await bench.call("update_task", task_id="D", remove_depends_on=["C"])
    assert await counts(bench, "A", "B", "C", "D") == [4, 2, 0, 1]


async def test_done_and_cancelled_dependents_do_not_count_until_they_are_open_again(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B", depends_on=["A"]), a_task("C", depends_on=["B"]))
    await bench.call("update_task", task_id="B", status="cancelled")
    assert await counts(bench, "A") == [1]

    await bench.call("update_task", task_id="B", status="pending")
    await bench.done("A", "B", "C")
    await bench.call("update_task", task_id="A", status="pending", reason="again")
    assert await counts(bench, "A") == [0]
    await bench.call("update_task", task_id="C", status="pending", reason="again")
    assert await counts(bench, "A") == [1]


async def test_a_finished_task_that_people_link_to_an_open_one_passes_changes_on(bench: Bench) -> None:
    await bench.create(a_task("X"), a_task("Y"), a_task("Z", depends_on=["Y"]))
    await bench.done("Y")
    await bench.call("update_task", OWNER, task_id="Y", add_depends_on=["X"])
    assert await counts(bench, "X") == [1]

    await bench.done("Z")

    assert await counts(bench, "X") == [0]


async def test_the_count_is_exact_on_both_sides_of_the_cap(bench: Bench) -> None:
    await bench.create(a_task("A"))
    for batch in range(4):
        await bench.create(*(a_task(f"D{batch}-{n}", depends_on=["A"]) for n in range(256)))
    assert await counts(bench, "A") == [UNLOCK_CAP]

    bench.limits(wip_limit=2)
    for n in range(3):
        await bench.call("update_task", task_id=f"D0-{n}", status="cancelled")

    assert await counts(bench, "A") == [1_021]
    assert (await bench.task("A")).score == round((5 + math.log2(1_022)) / 5, 4)


async def test_a_change_below_a_deep_chain_is_finished_by_the_leader(bench: Bench) -> None:
    chain = [a_task("N0"), *(a_task(f"N{n}", depends_on=[f"N{n - 1}"]) for n in range(1, 1_500))]
    for start in range(0, 1_500, 500):
        await bench.create(*chain[start : start + 500])
    await settle(bench)

    assert await counts(bench, "N0", "N476", "N477", "N1499") == [UNLOCK_CAP, 1_023, 1_022, 0]
    await bench.call("update_task", task_id="N1499", status="cancelled")
    await settle(bench)
    assert await counts(bench, "N0", "N475", "N476", "N1498") == [UNLOCK_CAP, 1_023, 1_022, 0]


async def settle(bench: Bench) -> None:
    for _ in range(50):
        if not await bench.read(lambda tx: tx.graph.stale()):
            return
        await bench.write(lambda tx: tx.graph.refresh(200))
    raise AssertionError("the refresh does not come to an end")


async def test_scores_are_refreshed_milestone_by_milestone_in_bounded_batches(bench: Bench) -> None:
    lines = ["epics:", "  - id: E", "    title: E", "    milestones:"]
    lines += [f"      - {{id: M{n}, title: M, due: 2026-03-{10 + n}}}" for n in range(3)]
    lines += ["      - {id: NEVER, title: without a date}", "    tasks:"]
    lines += [
        f"      - {{id: '{milestone}-{n}', title: t, milestone: {milestone}}}"
        for milestone in ("M0", "M1", "M2", "NEVER")
        for n in range(3)
    ]
    bench.roadmap.write_text("\n".join(lines) + "\n")
    await bench.call("roadmap_sync")
    await bench.done("M1-0", "M1-2")
    ids = [row["id"] for row in await bench.sql("SELECT id FROM tasks WHERE status = 'pending' ORDER BY id")]
    before = {task_id: (await bench.task(task_id)).score for task_id in ids}
    bench.clock.advance(days=6)

    after: str | None = None
    for _ in range(20):
        after = await bench.write(lambda tx, after=after: tx.graph.rescore_due(after, 2))
        if after is None:
            break

    assert after is None
    risen = {task_id for task_id in ids if (await bench.task(task_id)).score > before[task_id]}
    assert risen == {task_id for task_id in ids if not task_id.startswith("NEVER")}
