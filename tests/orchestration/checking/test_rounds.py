"""Rounds of reviews: who is asked, who may take one, and what becomes of the work."""

from typing import Any

import pytest

from tests.support.bench import ANN, BOB, Bench, a_task
from tests.support.invariants import verify
from tests.support.sessions import an_agent
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.review import Review, ReviewAnswer, ReviewTrigger
from wvo_mcp.errors import StaleLease
from wvo_mcp.orchestration.checking import asking, taking
from wvo_mcp.ports import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("REV-2")]

EVE = an_agent("eve")
COMMIT = "c0ffee" * 6 + "c0de"


async def submitted(
    bench: Bench, task_id: str = "T1", commit: str = COMMIT, candidates: tuple[str, ...] = ("x", "y")
) -> list[Review]:
    """Ann submits the task; the review that this asks for."""
    if not await bench.read(lambda tx: tx.tasks.find(task_id)):
        await bench.create(a_task(task_id))
    claim = await bench.claim(ANN, task_id)

    async def work(tx: Transaction) -> list[Review]:
        task = await tx.tasks.get(task_id)
        number = await tx.submissions.next_number(task_id)
        from wvo_mcp.orchestration.tasks import lifecycle

        entry = await tx.submissions.add(
            {"task_id": task_id, "number": number, "repository": "r", "host": "h", "path": "", "target": "main"}
            | {"commit_sha": commit, "base_sha": "b" * 40}
        )
        made = {"entry_id": entry["entry_id"], "state": "queued", "commit": commit}
        moved = await lifecycle.complete(tx, task, "done", [], work={"submission": made})
        return await asking.ask(
            tx,
            moved.task,
            commit=commit,
            base="b" * 40,
            trigger=ReviewTrigger.REQUEST,
            asked_by="ann",
            entry=entry,
            candidates=candidates,
        )

    assert claim["task"]["id"] == task_id
    return await bench.write(work)


async def take(bench: Bench, caller: Caller, provider: str | None = None, **more: Any) -> Review | None:
    who = {"agent_id": caller.agent_id, "session_id": caller.session_id, "provider": provider}
    return await bench.write(lambda tx: taking.take(tx, **who, **more), caller)


async def answer(bench: Bench, review: Review | None, verdict: str) -> Review:
    assert review is not None
    said = ReviewAnswer.model_validate({"verdict": verdict, "summary": f"{verdict} it is"})
    return await bench.write(lambda tx: taking.answer(tx, review, review.lease_token, said))


async def entry(bench: Bench) -> dict[str, Any]:
    (row,) = await bench.sql("SELECT state, review, reason FROM merge_entries ORDER BY seq DESC LIMIT 1")
    return row


async def reviewed(bench: Bench, *verdicts: str) -> None:
    for caller, provider, verdict in zip((BOB, EVE), ("x", "y"), verdicts, strict=False):
        await answer(bench, await take(bench, caller, provider), verdict)


async def test_two_providers_that_are_not_the_authors_are_asked(bench: Bench) -> None:
    rows = await submitted(bench, candidates=("x", "y", "z"))

    assert [(one.review_id, one.round, one.provider, one.state) for one in rows] == [
        ("R-1", 1, "x", "asked"),
        ("R-2", 1, "y", "asked"),
    ]
    assert await entry(bench) == {"state": "queued", "review": "waits", "reason": "review"}


async def test_all_approved_lets_the_entry_land(bench: Bench) -> None:
    await submitted(bench)
    await answer(bench, await take(bench, BOB, "x"), "approved")
    assert (await entry(bench))["review"] == "waits"
    await answer(bench, await take(bench, EVE, "y"), "approved")

    assert await entry(bench) == {"state": "queued", "review": "passed", "reason": None}
    assert await bench.status("T1") == ["in_review"]
    rows = await bench.read(lambda tx: tx.reviews.of_round("T1", 1))
    assert {one.explanation for one in rows} == {"Continue: bob (x) and eve (y) approved it."}
    verify(bench.source)


async def test_one_with_concerns_sends_it_back_to_its_author_and_the_entry_waits(bench: Bench) -> None:
    await submitted(bench)
    await reviewed(bench, "concerns", "approved")

    assert await entry(bench) == {"state": "queued", "review": "waits", "reason": "review"}
    assert await bench.status("T1") == ["pending"]
    claim = await bench.claim(ANN)
    assert "bob (x): concerns it is" in claim["resume"]["summary"]
    verify(bench.source)


async def test_two_with_concerns_ask_a_person(bench: Bench) -> None:
    await submitted(bench)
    await reviewed(bench, "concerns", "concerns")

    (approval,) = await bench.read(lambda tx: tx.approvals.open_of_task("T1"))
    assert (approval.kind, approval.subject["commit"]) == ("merge", COMMIT)
    assert (await entry(bench))["review"] == "waits"
    verify(bench.source)


async def test_a_blocker_stops_it(bench: Bench) -> None:
    await submitted(bench)
    await reviewed(bench, "approved", "blocker")

    assert (await entry(bench))["state"] == "parked"
    task = await bench.task("T1")
    assert (task.status, task.block_author) == ("blocked", "review")
    assert ("review", "critical", "T1") in await bench.alerts()
    verify(bench.source)


async def test_a_token_of_before_changes_nothing(bench: Bench) -> None:
    await submitted(bench)
    first = await take(bench, BOB, "x")
    assert first is not None
    await bench.write(lambda tx: taking.lost(tx, first, "too late"))
    with pytest.raises(StaleLease):
        await answer(bench, first, "approved")
