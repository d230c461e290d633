"""What builds on landed work begins with the target, whatever commit it landed as (WORK-8)."""

import pytest

from tests.orchestration.merging.conftest import Lane
from tests.support.bench import a_task
from wvo_mcp.domain.merging import begins_with
from wvo_mcp.domain.rules import MergePolicy
from wvo_mcp.ports.places import Place

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-8"), pytest.mark.both_stores]


async def opened(lane: Lane, task_id: str) -> Place:
    """As the pool opens it."""
    worker = await lane.yard.claim(task_id)
    bases, landed = begins_with(await lane.bench.read(lambda tx: tx.submissions.built_on(task_id)))
    return await lane.yard.open(worker, bases=bases, landed=landed)


@pytest.mark.parametrize(
    "policy",
    [
        MergePolicy.SQUASH,
        *(pytest.param(one, marks=pytest.mark.full) for one in (MergePolicy.REBASE, MergePolicy.MERGE)),
    ],
)
async def test_landed_work_is_not_joined_with_itself_and_still_shown(lane: Lane, policy: MergePolicy) -> None:
    lane.rule(policy=policy)
    first = await lane.submit("A", {"code.py": "a = 2\n"})
    await lane.submit("B", {"b.py": "b\n"})
    await lane.bench.create(a_task("T", depends_on=["A", "B"]))
    await lane.land()
    (lane.yard.root / "code.py").write_text("a = 3\n")
    tip = lane.yard.save("a person's own, on top")

    place = await opened(lane, "T")
    assert (place.base, list(place.conflicts)) == (tip, [])
    assert (place.path / "code.py").read_text() == "a = 3\n"
    changes = await lane.yard.places.changes("T")
    assert "+a = 2" in changes
    assert "+b" in changes

    # Once nothing leads to what was submitted, git may have removed it.
    gone = {"base_sha": "1" * 40, "commit_sha": "2" * 40}
    await lane.bench.write(lambda tx: tx.submissions.change(first["entry_id"], gone))
    assert "+a = 2" in await lane.yard.places.changes("T")


async def test_what_landed_in_a_target_that_this_branch_does_not_follow_is_there_too(lane: Lane) -> None:
    """Where landings are pushed, nobody moves the local branch."""
    before = lane.yard.git("rev-parse", "main")
    await lane.submit("A", {"a.py": "a\n"})
    await lane.bench.create(a_task("T", depends_on=["A"]), a_task("U", depends_on=["A"]))
    await lane.land()
    landed = lane.yard.git("rev-parse", "main")
    lane.yard.git("reset", "-q", "--hard", before)

    place = await opened(lane, "T")
    assert (place.base, (place.path / "a.py").read_text()) == (landed, "a\n")

    await lane.bench.write(lambda tx: tx.submissions.change("m-1", {"landed_sha": "1" * 40}))
    elsewhere = await opened(lane, "U")
    assert elsewhere.base == before
    assert elsewhere.note is not None
    assert "git fetch" in elsewhere.note
