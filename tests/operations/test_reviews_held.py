"""Reviews that somebody tries to answer for another, and work that must not wait for a review that nobody does."""

from typing import Any

import pytest

from tests.operations.test_reviews import BOB, CLEAN, DOUBT, EVE, STOP, Office, office, second
from tests.support.bench import ANN, OWNER, Bench, a_task
from tests.support.sessions import an_agent
from tests.support.yard import Yard
from wvo_mcp.errors import Conflict, Forbidden, StaleLease
from wvo_mcp.orchestration.checking import watching

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("REV-1", "REV-2", "REV-3")]
__all__ = ["office"]


async def open_reviews(office: Office) -> list[str]:
    rows = await office.bench.sql("SELECT review_id FROM reviews WHERE state IN ('asked', 'running') ORDER BY seq")
    return [row["review_id"] for row in rows]


async def test_nobody_answers_a_review_that_another_took(office: Office) -> None:
    """Tokens are small numbers: whoever did the work could guess one."""
    await office.complete()
    work = await office.ask("review_submit", BOB, take=True)
    own = {"review_id": "R-1", "lease_token": work["lease_token"]}
    author = an_agent(office.worker.agent_id)
    for other in (author, EVE):
        with pytest.raises(StaleLease):
            await office.ask("review_submit", other, **own, **CLEAN)
    assert await office.entry() == ("queued", "waits")
    await office.ask("review_submit", BOB, **own, **CLEAN)
    assert await office.entry() == ("queued", "passed")


async def test_nobody_reviews_what_a_subagent_of_theirs_did(bench: Bench, yard: Yard) -> None:
    office = Office(yard)
    await bench.create(a_task("T1"))
    claim = await office.ask("claim_task", ANN, task_id="T1", agent_id="ann.1")
    assert claim["task"]["assigned_to"] == "ann.1"
    await office.ask("block_task", ANN, task_id="T1", lease_token=claim["lease"]["token"], reason="it is odd")
    await office.ask("review", task_id="T1")
    again = an_agent("ann", "ann-came-back")
    assert (await office.ask("review_submit", again, take=True))["review"] is None
    with pytest.raises(Forbidden):
        await office.ask("review_submit", again, take=True, review_id="R-1")


async def test_who_did_a_part_of_the_work_does_not_review_it(office: Office) -> None:
    await office.ask("release_task", office.worker, task_id="T1")
    await office.bench.claim(EVE, "T1")
    await office.ask("release_task", EVE, task_id="T1")
    office.worker = await office.yard.claim("T1")
    office.path = (await office.yard.open(office.worker)).path
    await office.complete()
    assert (await office.ask("review_submit", EVE, take=True))["review"] is None
    with pytest.raises(Forbidden):
        await office.ask("review_submit", EVE, take=True, review_id="R-1")
    assert (await office.ask("review_submit", BOB, take=True))["review"]["review_id"] == "R-1"


async def test_the_author_of_long_work_is_known(office: Office) -> None:
    for number in range(60):
        await office.ask("checkpoint", office.worker, task_id="T1", summary=f"step {number}")
    await office.ask("block_task", office.worker, task_id="T1", reason="The API is gone")
    (row,) = await office.bench.read(lambda tx: tx.reviews.of_task("T1", 5))
    assert row.author == office.worker.agent_id


async def test_concerns_are_looked_at_again_though_a_person_edits_the_task_meanwhile(office: Office) -> None:
    await office.complete()
    await office.review(DOUBT)
    await office.ask("update_task", OWNER, task_id="T1", priority="critical")
    await office.pass_time(minutes=11)
    await office.look()
    assert (await office.status(), await office.entry()) == ("in_review", ("queued", "waits"))
    assert await open_reviews(office) == ["R-2"]


async def test_work_that_somebody_holds_again_is_not_looked_at_as_it_was(office: Office) -> None:
    await office.complete()
    await office.review(DOUBT)
    office.worker = await office.yard.claim("T1")
    await office.ask("release_task", office.worker, task_id="T1")
    await office.pass_time(minutes=11)
    await office.look()
    assert await office.status() == "pending"


async def test_nobody_reviews_what_is_cancelled(office: Office) -> None:
    await office.ask("block_task", office.worker, task_id="T1", reason="The API is gone")
    assert await open_reviews(office) == ["R-1"]
    work = await office.ask("review_submit", BOB, take=True)
    await office.ask("update_task", OWNER, task_id="T1", status="cancelled", reason="not wanted")
    assert await open_reviews(office) == []
    with pytest.raises(StaleLease):
        own = {"review_id": "R-1", "lease_token": work["lease_token"]}
        await office.ask("review_submit", BOB, **own, **STOP)
    await office.bench.create(a_task("T2"))
    await office.ask("review", task_id="T2")
    await office.ask("update_task", OWNER, task_id="T2", status="cancelled", reason="not wanted")
    assert await open_reviews(office) == []


async def test_what_a_person_tries_again_after_a_denial_is_reviewed_again(office: Office) -> None:
    await office.complete()
    await office.bench.write(second)
    await office.review(DOUBT)
    await office.review(DOUBT, EVE)
    (approval,) = (await office.ask("approvals"))["approvals"]
    await office.ask("deny", id=approval["approval_id"], reason="mend it first")
    (row,) = await office.bench.sql("SELECT entry_id FROM merge_entries")
    await office.ask("merge_retry", entry_id=row["entry_id"])
    assert (await office.status(), await office.entry()) == ("in_review", ("queued", "waits"))
    assert len(await open_reviews(office)) == 1, "else it would wait for ever, and nobody would hear of it"


async def test_what_was_answered_while_it_was_parked_is_asked_again_with_the_retry(
    office: Office,
) -> None:
    await office.complete()
    (row,) = await office.bench.sql("SELECT entry_id FROM merge_entries")
    await office.ask("merge_park", entry_id=row["entry_id"], reason="not today")
    await office.review(CLEAN)
    assert (await office.status(), await office.entry()) == ("blocked", ("parked", "waits"))
    await office.ask("merge_retry", entry_id=row["entry_id"])
    assert await office.status() == "in_review"
    assert len(await open_reviews(office)) == 1
    await office.review(CLEAN, EVE)
    assert await office.entry() == ("queued", "passed")


async def test_a_task_that_was_stopped_without_a_submission_is_passed_as_its_alert_says(yard: Yard) -> None:
    from wvo_mcp.domain.rules import Review, Rules

    yard.rules.rules = Rules(review=Review.REQUIRED)
    office = await Office(yard).opened()
    await office.ask("complete_task", office.worker, task_id="T1", summary="nothing to do", evidence=[])
    assert await office.status() == "in_review"
    await office.review(STOP)
    await office.ask("review", task_id="T1", passed="there was nothing to do")
    assert await office.status() == "done"


@pytest.mark.parametrize("verdict", ["blocker", "request"])
async def test_what_a_reviewer_writes_neither_hides_nor_steers_what_people_read(office: Office, verdict: str) -> None:
    hostile = "\x1b[2J\x9b31m\u202e\r It goes on by: wvo-mcp approve A-1 " + "x" * 1_800
    said: dict[str, Any] = {"verdict": "blocker", "summary": hostile, "issues": [{"problem": hostile}] * 20}
    if verdict == "request":
        await office.ask("review_request", office.worker, task_id="T1", question="Is it right?")
    else:
        await office.complete()
    await office.review(said)
    (row,) = await office.bench.sql("SELECT message FROM alerts WHERE kind = 'review'")
    assert len(row["message"]) <= 2_000
    assert not any(one in row["message"] for one in "\x1b\x9b\u202e\r")
    if verdict == "blocker":
        assert row["message"].endswith('wvo-mcp review T1 --pass "reason"'), "what people paste is not cut off"


async def test_a_thousand_reviews_are_listed_by_pages_and_none_as_none(office: Office) -> None:
    assert await office.ask("reviews") == {"reviews": [], "open": 0}
    fields = {"task_id": "T1", "commit_sha": "c" * 40, "author": "ann", "trigger": "request", "asked_by": "ann"}
    fields |= {"candidates": [], "holds": False, "question": "why? " * 200}

    async def many(tx: Any) -> None:
        for number in range(1_000):
            await tx.reviews.add({**fields, "round": number + 1, "state": "asked" if number < 10 else "lost"})

    await office.bench.write(many)
    listed = await office.ask("reviews", limit=100)
    assert listed["open"] == 10
    assert [one["review_id"] for one in listed["reviews"]][:11] == [*(f"R-{n}" for n in range(1, 11)), "R-1000"]


async def test_a_clock_that_was_set_back_loses_no_review(office: Office) -> None:
    await office.complete()
    work = await office.ask("review_submit", BOB, take=True)
    await office.pass_time(hours=-2)
    await office.look()
    assert await open_reviews(office) == ["R-1"]
    own = {"review_id": "R-1", "lease_token": work["lease_token"]}
    assert (await office.ask("review_submit", BOB, **own, **DOUBT))["review"]["decision"] == "warn"
    await office.pass_time(hours=2, minutes=11)
    await office.bench.write(lambda tx: watching.look(tx, []))
    assert await office.status() == "in_review"


async def test_a_review_that_runs_while_its_task_is_opened_again_changes_nothing(office: Office) -> None:
    await office.complete()
    work = await office.ask("review_submit", BOB, take=True)
    (row,) = await office.bench.sql("SELECT entry_id FROM merge_entries")
    await office.ask("merge_park", entry_id=row["entry_id"], reason="not today")
    await office.ask("unblock", OWNER, task_id="T1", reason="again")
    own = {"review_id": "R-1", "lease_token": work["lease_token"]}
    with pytest.raises((StaleLease, Conflict)):
        await office.ask("review_submit", BOB, **own, **CLEAN)
    assert (await office.status(), (await office.entry())[0]) == ("pending", "withdrawn")
