"""What is kept for the scores where the graph is not a plain one; `test_graph_model` compares it after random changes."""

from pathlib import Path

import pytest

from tests.support.bench import ANN, OWNER, Bench, a_task
from tests.support.ranking import misranked
from wvo_mcp.domain.wsjf import path_step
from wvo_mcp.store.records import bundles as rows_of_bundles
from wvo_mcp.store.records import graph

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("SCHED-1")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "roadmap.yaml"


async def scores(bench: Bench, *task_ids: str) -> list[float]:
    return [(await bench.task(task_id)).score for task_id in task_ids]


async def tails(bench: Bench, *task_ids: str) -> list[int]:
    return [(await bench.task(task_id)).tail for task_id in task_ids]


async def bundles(bench: Bench, *task_ids: str) -> list[tuple[float, float]]:
    tasks = [await bench.task(task_id) for task_id in task_ids]
    return [(task.bundle_value, task.bundle_size) for task in tasks]


async def right(bench: Bench, *, told: bool = True) -> None:
    """Every kept column follows from the others by the rule."""
    edges = await bench.sql("SELECT task_id AS a, depends_on_task_id AS b FROM task_dependencies")
    waits = await bench.sql("SELECT task_id AS a, waits_for_task_id AS b FROM task_waits")
    (store,) = await bench.sql("SELECT path_step FROM store")
    wrong = misranked(
        await bench.sql("SELECT * FROM tasks"),
        [(row["a"], row["b"]) for row in edges],
        [(row["a"], row["b"]) for row in waits],
        step=store["path_step"],
        told=told,
    )
    assert list(wrong) == []


async def worked_example(bench: Bench) -> None:
    bench.store.agents = 2
    await bench.create(
        a_task("A", business_value=1, complexity=2),
        a_task("B", business_value=15, complexity=3, depends_on=["A"]),
        a_task("C", business_value=10, complexity=2, depends_on=["A", "D"]),
        a_task("D", business_value=5, complexity=4),
        a_task("E", business_value=10, complexity=4),
    )


async def test_the_worked_example_comes_out_to_the_digit(bench: Bench) -> None:
    await worked_example(bench)

    assert await scores(bench, "A", "E", "D", "B", "C") == [3.8906, 2.75, 2.5625, 5.1406, 5.0625]
    plan = await bench.call("plan_next")
    assert [(task["id"], task["score"]) for task in plan["tasks"]] == [("A", 3.8906), ("E", 2.75), ("D", 2.5625)]
    assert plan["tasks"][0]["why"] == {
        "business_value": 1, "time_criticality": 0, "unlock_value": 20, "complexity": 2, "unlock_size": 4,
        "path_value": 0.3906,
    }  # fmt: skip
    await right(bench)


async def test_a_completion_makes_anew_only_what_shares_a_dependent_with_it(bench: Bench) -> None:
    await worked_example(bench)

    await bench.done("A")

    assert await bundles(bench, "B", "C", "D", "E") == [(15, 3), (10, 2), (15, 6), (10, 4)]
    await right(bench, told=False)


async def test_a_parent_ranks_below_its_children_and_a_task_below_its_dependencies(bench: Bench) -> None:
    await bench.create(
        a_task("P", business_value=20, complexity=1),
        a_task("C1", business_value=1, parent_id="P"),
        a_task("C2", business_value=1, parent_id="P"),
        a_task("W", business_value=20, complexity=1),
        a_task("X", business_value=1),
    )
    await bench.call("block_task", task_id="W", reason="needs X", waiting_for=["X"])

    assert await bundles(bench, "C1", "C2", "X") == [(11, 5.5), (11, 5.5), (21, 6)]
    assert await tails(bench, "C1", "X", "P") == [6, 6, 1]
    await bench.done("C1")
    assert await bundles(bench, "C2") == [(21, 6)]
    await bench.call("update_task", OWNER, task_id="W", status="pending", reason="not needed")
    await bench.call("update_task", OWNER, task_id="C2", parent_id="X")
    assert await bundles(bench, "C2", "X") == [(1, 5), (1, 5)]
    await right(bench, told=False)


async def test_ties_go_by_the_order_of_creation(bench: Bench) -> None:
    await bench.create(a_task("Z"), a_task("M"), a_task("A"))

    assert [row["id"] for row in await bench.sql("SELECT id FROM ready_tasks")] == ["Z", "M", "A"]
    assert [task["id"] for task in (await bench.call("plan_next"))["tasks"]] == ["Z", "M", "A"]
    assert (await bench.call("claim_task", ANN))["task"]["id"] == "Z"


async def test_the_task_that_starts_the_longest_path_ranks_above_similar_leaves(
    bench: Bench,
) -> None:
    bench.roadmap.write_text(EXAMPLE.read_text())
    await bench.call("roadmap_sync")

    first = await bench.task("calendar-file")
    assert first.bundle_size > first.complexity
    leaves = await bench.sql(
        """
        SELECT id, score, complexity FROM tasks AS t WHERE priority = 'low' AND business_value IS NULL AND complexity >= 2
          AND parent_id IS NULL AND open_children = 0
          AND NOT EXISTS (SELECT 1 FROM task_dependencies WHERE depends_on_task_id = t.id)
        """
    )
    assert leaves
    assert all(leaf["score"] < first.score for leaf in leaves)


async def test_settled_dependents_belong_to_no_bundle_until_they_are_open_again(bench: Bench) -> None:
    await bench.create(a_task("A", priority="low"), a_task("B", depends_on=["A"]), a_task("C", depends_on=["B"]))
    assert await tails(bench, "A") == [15]
    await bench.call("update_task", task_id="B", status="cancelled")
    assert (await bundles(bench, "A"), await tails(bench, "A")) == ([(1, 5)], [5])

    await bench.call("update_task", task_id="B", status="pending")
    assert (await bundles(bench, "A"), await tails(bench, "A")) == ([(6, 10)], [15])
    await bench.done("A", "B", "C")
    await bench.call("update_task", task_id="A", status="pending", reason="again")
    assert await bundles(bench, "A") == [(1, 5)]
    await bench.call("update_task", task_id="B", status="pending", reason="again")
    assert await bundles(bench, "A") == [(6, 10)]
    await right(bench)


async def test_what_is_finished_before_what_it_waits_for_leaves_the_bundle_above(bench: Bench) -> None:
    await bench.create(a_task("X", priority="low"), a_task("Y"))
    bench.limits(wip_limit=5)
    claimed = await bench.call("claim_task", ANN, task_id="Y")
    await bench.call("update_task", OWNER, task_id="Y", add_depends_on=["X"])
    assert await bundles(bench, "X") == [(6, 10)]

    await bench.call("complete_task", ANN, task_id="Y", lease_token=claimed["lease"]["token"], summary="done")

    assert (await bundles(bench, "X"), await tails(bench, "X")) == ([(1, 5)], [5])


async def test_a_path_that_ends_with_a_completion_is_shorter_for_all_above(bench: Bench) -> None:
    await bench.create(a_task("A"), a_task("B", depends_on=["A"]), a_task("C"), a_task("D", depends_on=["B"]))
    claimed = await bench.call("claim_task", ANN, task_id="C")
    await bench.call("update_task", OWNER, task_id="C", add_depends_on=["B"])
    await bench.call("update_task", OWNER, task_id="D", add_depends_on=["C"])
    assert await tails(bench, "A", "B") == [20, 15]

    # D waits for B and C, so that B is made anew for its share as well as for its path.
    await bench.call("complete_task", ANN, task_id="C", lease_token=claimed["lease"]["token"], summary="done")

    assert await tails(bench, "A", "B") == [15, 10]


async def test_a_small_change_is_not_told_upward_and_a_large_one_is(bench: Bench) -> None:
    await bench.create(
        a_task("A", priority="low"), a_task("B", business_value=10, depends_on=["A"]), a_task("C", depends_on=["A"])
    )
    before = await bundles(bench, "A")

    await bench.call("update_task", task_id="B", business_value=10.4)
    assert await bundles(bench, "A", "B") == [*before, (10.4, 5)]
    await bench.call("update_task", task_id="B", business_value=10.8)
    assert await bundles(bench, "A") == [(before[0][0] + 0.8, before[0][1])]
    await right(bench)


async def test_a_task_with_a_crowd_behind_it_knows_the_best_of_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_of_bundles, "CROWD", 20)
    crowd = [a_task(f"K{n}", business_value=n % 17, complexity=10, depends_on=["HUB"]) for n in range(50)]
    await bench.create(a_task("HUB", priority="low", complexity=5), *crowd, a_task("Z", depends_on=["K3"]))

    assert (await bundles(bench, "HUB"), await tails(bench, "HUB")) == ([(1 + 16 * 2 + 15 * 3, 55)], [20])
    await bench.call("update_task", task_id="K16", status="cancelled")
    await bench.call("update_task", task_id="K3", status="cancelled")
    assert (await bundles(bench, "HUB"), await tails(bench, "HUB")) == ([(1 + 16 + 15 * 3 + 14, 55)], [15])


async def test_more_agents_or_less_work_let_the_longest_path_decide(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=10), a_task("B", complexity=10, depends_on=["A"]), a_task("C"))
    assert await bench.sql("SELECT path_step FROM store") == [{"path_step": -7}]

    bench.store.agents = 9
    assert await bench.read(lambda tx: tx.graph.stale())
    await settle(bench)
    assert await bench.sql("SELECT path_step FROM store") == [{"path_step": -3}]
    await right(bench)

    await bench.done("A")
    assert await bench.sql("SELECT path_step FROM store") == [{"path_step": -2}]
    await right(bench, told=False)


async def test_processes_with_another_limit_follow_that_of_the_leader(bench: Bench) -> None:
    await bench.create(a_task("A", complexity=10), a_task("B", complexity=10, depends_on=["A"]), a_task("C"))
    await settle(bench)

    bench.store.agents = 9  # a command in a shell without the variable, say
    await bench.create(a_task("D", complexity=1))
    await bench.done("A")

    (store,) = await bench.sql("SELECT path_step FROM store")
    assert store["path_step"] == path_step(3, 16)
    await right(bench, told=False)


async def test_scores_follow_a_step_of_the_path_a_stretch_at_a_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph.Graph, "stretch", 3)
    await bench.create(*(a_task(f"T{n}") for n in range(10)))
    await settle(bench)
    bench.store.agents = 30

    for rescored in (3, 6, 9, -1):
        assert await bench.read(lambda tx: tx.graph.stale())
        await bench.write(lambda tx: tx.graph.refresh(10))
        assert await bench.sql("SELECT rescored FROM store") == [{"rescored": rescored}]

    assert not await bench.read(lambda tx: tx.graph.stale())
    await right(bench)


async def test_a_change_below_a_deep_chain_is_finished_by_the_leader(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph.Graph, "budget", 10)
    chain = [a_task("N0"), *(a_task(f"N{n}", depends_on=[f"N{n - 1}"]) for n in range(1, 100))]
    await bench.create(*chain[:60])
    await bench.create(*chain[60:])
    await settle(bench)
    assert await tails(bench, "N0", "N99") == [500, 5]

    await bench.call("update_task", task_id="N99", status="cancelled")
    assert await bench.read(lambda tx: tx.graph.stale())
    await settle(bench)

    assert await tails(bench, "N0", "N98") == [495, 5]
    await right(bench)


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
