"""The autopilot's whole life: real processes, worktrees and store; agents that follow a script."""

import json
import os
from collections.abc import Sequence

import pytest

from tests.support.flights import Flight, Step, does
from wvo_mcp.app.autopilot import Autopilot
from wvo_mcp.errors import Conflict

pytestmark = [pytest.mark.anyio]


@pytest.mark.requirement("WORK-1", "SAFE-1")
async def test_tasks_are_done_in_worktrees_and_pinned(flight: Flight) -> None:
    flight.begin({"A": [], "B": ["A"]}, {"A": [does("A")], "B": [does("B")]})

    summary = await flight.fly()

    assert flight.statuses() == {"A": "done", "B": "done"}
    assert flight.pinned() == {"A": {".gitignore", "A.txt"}, "B": {".gitignore", "A.txt", "B.txt"}}
    assert {one["task_id"] for one in summary["done"] if one["commit"]} == {"A", "B"}
    rows = flight.sql("SELECT state, outcome, tokens_in, tokens_out FROM workers")
    assert rows == [{"state": "ended", "outcome": "completed", "tokens_in": 100, "tokens_out": 10}] * 2
    assert flight.git("status", "--porcelain") == ""
    assert flight.git("worktree", "list").count("\n") == 0
    assert flight.git("for-each-ref", "--format=%(refname)", "refs/heads") == "refs/heads/main"


@pytest.mark.requirement("WORK-5", "SAFE-1")
async def test_the_store_says_how_each_launch_ended_never_the_worker(flight: Flight) -> None:
    scripts: dict[str, list[Sequence[Step]]] = {
        "asked": [does("asked", {"stop": "I think that I am done."})],
        "silent": [[{"say": "Everything is done!"}]],
        "fails": [[{"call": "fail_task", "with": {"error": "no such file", "retry": False}}]],
        "loops": [[{"call": "plan_next"}] * 12],
        "refused": [does("refused", {"run": "rm -rf /srv/other"})],
        "asks": [[{"run": "git push origin main"}]],
    }
    flight.begin({one: [] for one in scripts} | {"later": ["fails"]}, scripts)

    summary = await flight.fly()

    assert flight.statuses() == {
        "asked": "done",
        "asks": "awaiting_approval",
        "fails": "failed",
        "later": "pending",
        "loops": "failed",
        "refused": "done",
        "silent": "failed",
    }
    assert set(flight.pinned()) == {"asked", "refused"}
    ended = {row["task_id"]: row for row in flight.sql("SELECT task_id, state, outcome, reason FROM workers")}
    assert {one: row["outcome"] or row["state"] for one, row in ended.items()} == {
        "asked": "completed",
        "asks": "waiting_approval",
        "fails": "failed",
        "loops": "killed",
        "refused": "completed",
        "silent": "failed",
    }
    assert "the same call over and over" in ended["loops"]["reason"]
    assert "All steps are done" in ended["silent"]["reason"]
    assert {one["task_id"] for one in summary["failed"]} == {"fails", "loops", "silent"}
    assert {one["task_id"]: one["reason"] for one in summary["waiting"]} == {
        "asks": "waits for approval A-1",
        "later": "depends on fails, which failed",
    }
    assert {one["task_id"]: one["outcome"] for one in flight.heard("ended")}["fails"] == "failed"


@pytest.mark.full
@pytest.mark.requirement("OBS-1")
async def test_one_trace_runs_from_the_claim_through_the_workers_program(
    flight: Flight, monkeypatch: pytest.MonkeyPatch
) -> None:
    flight.begin({"A": []}, {"A": [does("A", {"run": "printenv TRACEPARENT > trace.txt"})]})
    monkeypatch.setenv("OTEL_ENABLED", "1")

    await flight.fly()

    lines = (flight.root / "state/telemetry/traces.jsonl").read_text().splitlines()
    spans = {span["name"]: span for span in map(json.loads, lines)}
    (entry,) = flight.sql("SELECT commit_sha FROM merge_entries")
    _, trace, parent, _ = flight.git("show", f"{entry['commit_sha']}:trace.txt").split("-")
    assert parent == spans["provider.call"]["span_id"]
    assert spans["provider.call"]["parent_span_id"] == spans["worker"]["span_id"]
    assert {spans[one]["trace_id"] for one in ("worker", "provider.call", "task.execution")} == {trace}
    assert spans["worker"]["attributes"]["wvo.worker.outcome"] == "completed"


async def test_a_second_autopilot_of_a_store_exits_and_names_the_process(flight: Flight) -> None:
    flight.begin({"A": []}, {"A": [does("A")]})
    told: list[Conflict] = []

    async def second(run: Autopilot) -> None:
        with pytest.raises(Conflict, match=f"process {os.getpid()}") as refused:
            await Flight(flight.folder).fly()
        told.append(refused.value)
        run.drain()

    await flight.fly(second)

    assert len(told) == 1
    assert flight.statuses() == {"A": "pending"}


@pytest.mark.full
@pytest.mark.requirement("WORK-1")
async def test_twelve_tasks_with_dependencies_are_each_done_once_three_at_a_time(flight: Flight) -> None:
    needs: dict[str, list[str]] = {f"T{n}": [f"T{m}" for m in (n - 3, n - 4) if m > 0] for n in range(1, 13)}
    flight.begin(needs, {one: [does(one)] for one in needs})

    summary = await flight.fly(agents=3)

    assert set(flight.statuses().values()) == {"done"}
    assert len(summary["done"]) == 12
    assert flight.completions() == dict.fromkeys(needs, 1)
    pinned = flight.pinned()
    for task_id, before in needs.items():
        assert pinned[task_id] >= {f"{one}.txt" for one in (task_id, *before)}
    agents = {row["agent_id"].rpartition(".")[2] for row in flight.sql("SELECT agent_id FROM workers")}
    assert agents == {"1", "2", "3"}
