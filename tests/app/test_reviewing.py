"""Work waits for reviews, which programs of other providers do beside the pool: whole autopilots with scripted agents."""

import json
import shutil
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.flights import Flight, Step, does

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("REV-1", "REV-2", "REV-3")]
_OTHER = """\
  {name}:
    kind: openai
    place: cloud
    base_url: http://127.0.0.1:9
    tiers:
      high: {{model: {name}, cost: {{input: 1, output: 2}}}}
"""
ONE_OTHER = {"project": {"review": "required"}, "providers": _OTHER.format(name="second")}
TWO_OTHERS = {
    "project": {"review": "required"},
    "providers": "".join(_OTHER.format(name=one) for one in ("second", "third")),
}


def says(verdict: str, summary: str = "It was read.", **issue: Any) -> Step:
    return {"stop": json.dumps({"verdict": verdict, "summary": summary, "issues": [issue] if issue else []})}


def reviews(flight: Flight, *columns: str) -> list[tuple[Any, ...]]:
    rows = flight.sql(f"SELECT {', '.join(columns)} FROM reviews ORDER BY seq")
    return [tuple(row[name] for name in columns) for row in rows]


async def test_work_is_reviewed_by_another_provider_before_it_lands(flight: Flight) -> None:
    answer = [{"use": {"in": 1000, "out": 100}}, says("approved", "It is fine.")]
    flight.begin({"T1": []}, {"T1": [does("T1")], "review T1": [answer]}, **ONE_OTHER)

    summary = await flight.fly()

    assert flight.statuses() == {"T1": "done"}, (summary, *flight.heard("review_lost"))
    assert [one["task_id"] for one in summary["landed"]] == ["T1"]
    assert reviews(flight, "provider", "state", "verdict", "decision", "summary") == [
        ("second", "answered", "approved", "continue", "It is fine.")
    ]
    [row] = flight.sql("SELECT * FROM workers WHERE review_id IS NOT NULL")
    assert (row["review_id"], row["provider"], row["outcome"]) == ("R-1", "second", "completed")
    assert (row["tokens_in"], row["tokens_out"]) == (1000, 100)
    assert row["cost_usd"] > 0
    assert summary["cost_usd"] >= row["cost_usd"]
    asked = (flight.root / "state/reviews/R-1.md").read_text()
    assert "work of T1" in asked
    assert "It is fine." in asked
    assert not list((flight.root / "state/workers/copies").glob("*"))
    assert not list((flight.root / "state/workers/tasks").glob("answer*"))


async def test_concerns_of_one_go_to_the_author_who_mends_and_is_reviewed_again(flight: Flight) -> None:
    concern = says("concerns", "A line is missing.", path="T1.txt", line=1, problem="it ends early", suggestion="go on")
    mended: Sequence[Step] = ({"write": "T1.txt", "text": "work of T1\nand more\n"}, *does("T1")[2:])
    flight.begin(
        {"T1": []},
        {"T1": [does("T1"), mended], "review R-1": [[concern]], "review R-2": [[says("approved")]]},
        **ONE_OTHER,
    )

    summary = await flight.fly()

    assert flight.statuses() == {"T1": "done"}, (summary, *flight.heard("review_lost"))
    assert reviews(flight, "verdict", "decision") == [("concerns", "warn"), ("approved", "continue")]
    assert "and more" in flight.git("show", "main:T1.txt")
    assert len(flight.sql("SELECT worker_id FROM workers WHERE review_id IS NULL")) == 2


async def test_a_blocker_stops_the_work_and_tells_people(flight: Flight) -> None:
    flight.begin(
        {"T1": []},
        {
            "T1": [does("T1")],
            "review R-1": [[says("blocker", "It deletes everything.")]],
            "review R-2": [[says("approved")]],
        },
        **TWO_OTHERS,
    )

    await flight.fly()

    assert flight.statuses() == {"T1": "blocked"}
    assert {row[0] for row in reviews(flight, "provider")} == {"second", "third"}
    assert {row[0] for row in reviews(flight, "decision")} == {"stop"}
    assert flight.git("log", "--format=%s", "main").splitlines() == ["begin"]
    [alert] = flight.sql("SELECT severity, message FROM alerts WHERE kind = 'review'")
    assert alert["severity"] == "critical"
    assert "It deletes everything." in alert["message"]


async def test_an_answer_that_cannot_be_read_is_asked_for_once_more_then_of_another(flight: Flight) -> None:
    prose = [{"stop": "It looks good to me."}, {"stop": "As I said: good."}]
    repaired = [{"stop": "Well."}, says("approved", "Read at the second time.")]
    flight.begin({"T1": []}, {"T1": [does("T1")], "review R-1": [prose], "review R-2": [repaired]}, **TWO_OTHERS)
    # R-1 is lost by its first reviewer; whoever is asked then says the same, until three tries are over.

    await flight.fly()

    states = reviews(flight, "review_id", "state", "tries", "summary")
    assert [one for one in states if one[0] in ("R-1", "R-2")] == [
        ("R-1", "lost", 3, None),
        ("R-2", "answered", 0, "Read at the second time."),
    ]
    assert flight.statuses() == {"T1": "done"}
    tried = flight.sql("SELECT provider, outcome FROM workers WHERE review_id = 'R-1' ORDER BY seq")
    assert {row["outcome"] for row in tried} == {"failed"}
    assert len(tried) == 3


async def test_a_reviewer_gets_no_server_no_key_and_no_leave_to_run_anything(flight: Flight) -> None:
    tries = [
        {"call": "complete_task", "with": {"summary": "I approve it myself"}},
        {"run": f"touch {flight.folder}/ran"},
        says("approved"),
    ]
    flight.begin({"T1": []}, {"T1": [does("T1")], "review T1": [tries]}, **ONE_OTHER)

    summary = await flight.fly()

    assert flight.statuses() == {"T1": "done"}, (summary, *flight.heard("review_lost"))
    assert [row["key_hash"] for row in flight.sql("SELECT key_hash FROM workers WHERE review_id IS NOT NULL")] == [None]
    log = next((flight.root / "state/workers/logs").glob("w-2.jsonl")).read_text()
    assert "nothing is written or run" in log or "only read" in log
    assert not (flight.folder / "ran").exists()
    assert flight.completions() in ({}, {"T1": 1})


@pytest.mark.requirement("WS-8")
async def test_without_git_the_folder_gets_the_work_of_a_worker_after_its_review(flight: Flight) -> None:
    hands_in: Sequence[Step] = ({"call": "complete_task", "with": {"summary": "It has passed"}},)
    sees = [{"run": "cat T1.txt"}, says("approved", "It is fine.")]
    flight.begin({"T1": []}, {"T1": [does("T1"), hands_in], "review T1": [sees]}, **ONE_OTHER)
    shutil.rmtree(flight.root / ".git")

    summary = await flight.fly()

    assert flight.statuses() == {"T1": "done"}, (summary, *flight.heard("review_lost"))
    assert reviews(flight, "verdict", "decision") == [("approved", "continue")]
    assert (flight.root / "T1.txt").read_text() == "work of T1\n"
    kinds = [row["kind"] for row in flight.sql("SELECT kind FROM events WHERE task_id = 'T1' ORDER BY seq")]
    assert kinds.index("review.decided") < kinds.index("task.reviewed") < kinds.index("task.completed")
    assert "+work of T1" in (flight.root / "state/reviews/R-1.md").read_text()
