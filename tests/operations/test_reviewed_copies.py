"""Where reviews are demanded, what a copy holds reaches the project's folder only after its review has passed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import ANN, BOB, OWNER, a_task
from tests.support.plain import Plain, plain
from tests.support.sessions import an_agent
from tests.support.yard import Yard
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.rules import Review, Rules
from wvo_mcp.errors import Conflict, Forbidden
from wvo_mcp.operations import ALL
from wvo_mcp.orchestration.checking import watching

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("REV-1", "REV-2", "REV-3", "WS-8")]
__all__ = ["plain"]

EVE = an_agent("eve")
CLEAN = {"summary": "It is as asked.", "verdict": "approved"}
DOUBT = {"summary": "One case is missing.", "verdict": "concerns"}
STOP = {"summary": "It deletes the price table.", "verdict": "blocker"}
BEFORE = "a = 1\n"


class Desk:
    """T1 is worked on in a copy of a project whose work must be reviewed."""

    def __init__(self, yard: Yard) -> None:
        self.yard, self.bench = yard, yard.bench
        self.path = Path()
        yard.rules.rules = Rules(review=Review.REQUIRED)
        yard.write(yard.root, {"code.py": BEFORE})

    async def ask(self, tool: str, caller: Caller = ANN, **given: Any) -> Mapping[str, Any]:
        return await ALL[tool](self.yard.services, caller, given)

    async def begin(self, **fields: Any) -> "Desk":
        self.bench.limits(wip_limit=50, agent_wip_limit=50)
        await self.bench.create(a_task("T1", **fields))
        return await self.claim()

    async def claim(self) -> "Desk":
        await self.bench.claim(ANN, "T1")
        opened = await self.ask("workspace_open", task_id="T1", mode="shadow")
        self.path = Path(opened["path"])
        assert opened["mode"] == "shadow"
        return self

    async def complete(self, text: str | None = None) -> Mapping[str, Any]:
        if text is not None:
            self.yard.write(self.path, {"code.py": text})
        return await self.ask("complete_task", task_id="T1", summary="Rewrote it")

    async def review(self, answer: Mapping[str, Any], by: Caller = BOB) -> Mapping[str, Any]:
        work = await self.ask("review_submit", by, take=True)
        assert work["review"] is not None
        own = {"review_id": work["review"]["review_id"], "lease_token": work["lease_token"]}
        return (await self.ask("review_submit", by, **own, **answer))["review"]

    async def status(self) -> str:
        return (await self.bench.status("T1"))[0]

    @property
    def has(self) -> str:
        return (self.yard.root / "code.py").read_text()


@pytest.fixture(params=["git", "plain"])
async def desk(request: pytest.FixtureRequest, yard: Yard, plain: Plain) -> Desk:
    return await Desk(plain.yard if request.param == "plain" else yard).begin()


@pytest.mark.both_stores
async def test_nothing_reaches_the_folder_before_its_review_has_passed(desk: Desk) -> None:
    done = await desk.complete("a = 2\n")
    assert (done["task"]["status"], desk.has) == ("in_review", BEFORE)

    work = await desk.ask("review_submit", BOB, take=True)
    assert "+a = 2" in work["to_review"], "the reviewer sees the changes of the copy"
    own = {"review_id": "R-1", "lease_token": work["lease_token"]}
    answered = await desk.ask("review_submit", BOB, **own, **CLEAN)

    assert answered["review"]["decision"] == "continue"
    assert (await desk.status(), desk.has) == ("pending", BEFORE)
    assert (await desk.bench.claim(EVE))["task"] is None, "it is kept for its author"
    resumed = await desk.bench.claim(ANN, "T1")
    assert "complete_task" in resumed["resume"]["summary"]
    await desk.ask("workspace_open", task_id="T1")
    done = await desk.complete()
    assert (done["task"]["status"], desk.has) == ("done", "a = 2\n")
    assert len(await desk.bench.read(lambda tx: tx.reviews.of_task("T1", 9))) == 1, "it was reviewed once"


async def test_what_was_changed_after_its_review_is_reviewed_again(desk: Desk) -> None:
    await desk.complete("a = 2\n")
    await desk.review(CLEAN)
    await desk.claim()
    done = await desk.complete("a = 3\n")
    assert (done["task"]["status"], desk.has) == ("in_review", BEFORE)

    await desk.review(CLEAN)
    await desk.claim()
    assert (await desk.complete())["task"]["status"] == "done"
    assert desk.has == "a = 3\n"


async def test_what_the_person_changed_meanwhile_makes_it_other_work(desk: Desk) -> None:
    await desk.complete("a = 2\n")
    await desk.review(CLEAN)
    await desk.claim()
    desk.yard.write(desk.yard.root, {"code.py": "a = 1\nb = 7\n"})
    with pytest.raises(Conflict):
        await desk.complete()
    done = await desk.complete("a = 2\n")
    assert (done["task"]["status"], desk.has) == ("in_review", "a = 1\nb = 7\n"), "it takes back what the person wrote"


async def test_an_agent_promotes_nothing_that_was_not_reviewed_and_a_person_may(desk: Desk) -> None:
    desk.yard.write(desk.path, {"code.py": "a = 2\n"})
    with pytest.raises(Forbidden, match="review") as refused:
        await desk.ask("workspace_promote", task_id="T1")
    assert "complete_task" in str(refused.value.hint)
    assert desk.has == BEFORE
    assert (await desk.ask("workspace_promote", task_id="T1", dry_run=True))["files"] == ["code.py"]

    await desk.complete()
    await desk.review(CLEAN)
    await desk.claim()
    desk.yard.write(desk.path, {"code.py": "a = 3\n"})
    with pytest.raises(Forbidden, match="review"):
        await desk.ask("workspace_promote", task_id="T1")
    desk.yard.write(desk.path, {"code.py": "a = 2\n"})
    assert (await desk.ask("workspace_promote", task_id="T1"))["files"] == ["code.py"]
    desk.yard.write(desk.path, {"code.py": "a = 4\n"})
    assert (await desk.ask("workspace_promote", OWNER, task_id="T1"))["files"] == ["code.py"]
    assert desk.has == "a = 4\n"


async def test_concerns_send_it_back_and_after_ten_minutes_it_is_reviewed_as_it_is(desk: Desk) -> None:
    await desk.complete("a = 2\n")
    assert (await desk.review(DOUBT))["decision"] == "warn"
    assert (await desk.status(), desk.has) == ("pending", BEFORE)
    desk.bench.clock.advance(660)
    await desk.bench.write(lambda tx: watching.look(tx, []))
    assert await desk.status() == "in_review"
    assert (await desk.review(DOUBT))["decision"] == "warn", "the second in a row goes on"
    await desk.claim()
    assert (await desk.complete())["task"]["status"] == "done"
    assert desk.has == "a = 2\n"


async def test_a_blocker_stops_it_and_a_person_passes_it(desk: Desk) -> None:
    await desk.complete("a = 2\n")
    assert (await desk.review(STOP))["decision"] == "stop"
    assert (await desk.status(), desk.has) == ("blocked", BEFORE)
    await desk.ask("review", OWNER, task_id="T1", passed="the table is unused")
    assert (await desk.status(), desk.has) == ("pending", BEFORE)
    assert (await desk.bench.claim(EVE))["task"] is None, "it is kept for its author"
    await desk.claim()
    assert (await desk.complete())["task"]["status"] == "done"
    assert desk.has == "a = 2\n"


async def test_a_person_asks_again_about_the_same_content_or_passes_it_at_once(desk: Desk) -> None:
    await desk.complete("a = 2\n")
    asked = await desk.ask("review", OWNER, task_id="T1", question="Is it safe?")
    first, *_ = await desk.bench.read(lambda tx: tx.reviews.of_round("T1", 1))
    assert [one["commit"] for one in asked["reviews"]] == [first.commit_sha]
    assert first.commit_sha
    await desk.ask("review", OWNER, task_id="T1", passed="I looked")
    assert (await desk.status(), desk.has) == ("pending", BEFORE)
    await desk.claim()
    assert (await desk.complete())["task"]["status"] == "done"
    assert desk.has == "a = 2\n"


async def test_a_copy_without_changes_is_done_after_its_review(desk: Desk) -> None:
    assert (await desk.complete())["task"]["status"] == "in_review"
    await desk.review(CLEAN)
    assert (await desk.status(), desk.has) == ("done", BEFORE)


async def test_what_is_promoted_before_a_crash_is_not_reviewed_twice(desk: Desk) -> None:
    await desk.complete("a = 2\n")
    await desk.review(CLEAN)
    await desk.claim()
    assert (await desk.ask("workspace_promote", task_id="T1"))["files"] == ["code.py"]
    assert (await desk.complete())["task"]["status"] == "done"
