"""What may go a day after a task is done: what is proven to be in the target; the rest is archived first."""

from typing import Any

import pytest
from anyio import to_thread

from tests.support.yard import Yard, git
from wvo_mcp.execution.workspaces.proving import same_change
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.orchestration.tasks import review

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-3")]

LONG = "".join(f"line {number}\n" for number in range(40))


@pytest.fixture
def long(yard: Yard) -> Yard:
    yard.write(yard.root, {"long.py": LONG, "pic.bin": "a\0b"})
    yard.save("long")
    return yard


async def compared(yard: Yard, one: tuple[str, str], other: tuple[str, str]) -> bool:
    def run() -> bool:
        common = Common.of(yard.root)
        assert common is not None
        return same_change(common, one, other)

    return await to_thread.run_sync(run)


async def landed(yard: Yard, how: str) -> str:
    """A submission of T1 that changes line 20, and what became of it in the target; the pinned commit."""
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"long.py": LONG.replace("line 20\n", "line 20 new\n")})
    await yard.complete(worker)
    commit = yard.git("rev-parse", "refs/wvo/submit/T1/1")
    if how == "drifted":
        yard.write(yard.root, {"long.py": LONG.replace("line 0\n", "theirs\n"), "other.py": "o\n"})
        yard.save("theirs")
    tip = yard.git("rev-parse", "main")
    text = (yard.root / "long.py").read_text()
    new = "line 20  new\n" if how == "spaces differ" else "line 20 new\n"
    yard.write(yard.root, {"long.py": text.replace("line 20\n", new)})
    if how == "merged":
        yard.git("checkout", "-q", "--", ".")
        yard.git("merge", "-q", "--ff-only", commit)
    else:
        yard.save("squashed")
    sha = yard.git("rev-parse", "main")
    if how == "taken back":
        yard.git("reset", "-q", "--hard", tip)

    async def work(tx: Any) -> None:
        entry = (await tx.submissions.of_task("T1"))[0]
        await tx.submissions.change(entry["entry_id"], {"tip_sha": tip})
        await review.landed(tx, entry, {"landed_sha": sha})

    await yard.bench.write(work)
    return commit


def kept(yard: Yard) -> list[str]:
    return [name.rpartition("/")[0] for name in yard.refs("refs/wvo") if "checkpoint" not in name]


@pytest.mark.parametrize(
    ("how", "archived"),
    [("merged", False), ("squashed", False), ("drifted", False), ("spaces differ", True), ("taken back", True)],
)
async def test_a_pin_goes_when_its_change_is_proven_else_it_is_archived(
    long: Yard, how: str, *, archived: bool
) -> None:
    commit = await landed(long, how)
    await long.places.recover()
    assert "refs/wvo/submit/T1" in kept(long), "for a day"

    long.bench.clock.advance(days=1, seconds=1)
    await long.places.recover()

    assert "refs/wvo/submit/T1" not in kept(long)
    assert ("refs/wvo/archive/T1" in kept(long)) == archived
    if archived:
        (ref,) = (name for name in long.refs("refs/wvo/archive/T1"))
        assert long.git("rev-parse", ref) == commit


async def test_what_waits_or_is_open_again_keeps_its_pin(long: Yard) -> None:
    worker, place = await long.opened("T1")
    long.write(place.path, {"long.py": "new\n"})
    await long.complete(worker)
    long.bench.clock.advance(days=40)
    await long.places.recover()
    assert "refs/wvo/submit/T1" in kept(long)
    await long.bench.force("UPDATE merge_entries SET state = 'red'")
    await long.returned("T1")
    await long.places.recover()
    assert "refs/wvo/submit/T1" in kept(long)


async def test_what_was_withdrawn_is_archived(long: Yard) -> None:
    commit = await landed(long, "taken back")
    await long.bench.force("UPDATE merge_entries SET state = 'withdrawn'")
    long.bench.clock.advance(days=2)
    await long.places.recover()
    (ref,) = (name for name in long.refs("refs/wvo/archive/T1"))
    assert long.git("rev-parse", ref) == commit


async def test_a_fetched_target_proves_it_too(long: Yard) -> None:
    await landed(long, "squashed")
    long.git("update-ref", "refs/wvo/fetched/origin/main", "main")
    long.git("reset", "-q", "--hard", "main~1")
    long.bench.clock.advance(days=2)
    await long.places.recover()
    assert kept(long) == ["refs/wvo/fetched/origin"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"pic.bin": "a\0c"}, {"pic.bin": "a\0c"}, True),
        ({"pic.bin": "a\0c"}, {"pic.bin": "a\0d"}, False),
        ({"new.py": "n\n"}, {"new.py": "n"}, False),
        ({"new.py": "n\n"}, {"new.py": "n\n", "more.py": "m\n"}, False),
        ({"new.py": "-- x\n@@ y\nindex z\n"}, {"new.py": "-- x\n@@ q\nindex w\n"}, False),
    ],
)
async def test_two_changes_are_the_same_to_the_byte(
    long: Yard, one: dict[str, str], other: dict[str, str], *, same: bool
) -> None:
    base = long.git("rev-parse", "main")
    commits: list[str] = []
    for files in (one, other):
        long.git("reset", "-q", "--hard", base)
        long.write(long.root, files)
        commits.append(long.save("change"))
    assert await compared(long, (base, commits[0]), (base, commits[1])) is same


async def test_modes_are_part_of_a_change(long: Yard) -> None:
    base = long.git("rev-parse", "main")
    (long.root / "long.py").chmod(0o755)
    one = long.save("mode")
    git(long.root, "reset", "-q", "--hard", base)
    assert not await compared(long, (base, one), (base, base))
