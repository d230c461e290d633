"""What is removed, what is left, and what the next autopilot does with the rest."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.to_thread
import pytest

from tests.support.yard import Yard
from wvo_mcp.execution.workspaces import tidying, worktree
from wvo_mcp.ports.places import PlaceFailed

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WORK-8")]


async def test_a_place_whose_work_is_submitted_is_removed(yard: Yard) -> None:
    commit = await yard.submitted("T1", **{"new.py": "b = 2\n", "made.log": "ignored"})

    assert await yard.places.close("T1") is None

    assert not (yard.folder / "T1").exists()
    assert yard.refs("refs/heads") == ["refs/heads/main"]
    assert yard.git("rev-parse", "refs/wvo/submit/T1/1") == commit
    assert yard.git("worktree", "list").count("\n") == 0
    assert await yard.states("T1") == ["removed"]
    assert await yard.places.close("T1") is None


async def test_no_place_is_removed_while_another_is_half_made(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """git fails at a worktree that is half-made, and what is to be removed would stay until the next start."""
    await yard.submitted("T1", **{"new.py": "b = 2\n"})
    worker = await yard.claimed("T2")
    added, begun, go_on = worktree.added, threading.Event(), threading.Event()

    def slowly(*given: Any) -> None:
        begun.set()
        assert go_on.wait(60)
        added(*given)

    monkeypatch.setattr(worktree, "added", slowly)
    making = yard.places._making  # pyright: ignore[reportPrivateUsage]
    async with anyio.create_task_group() as group:
        group.start_soon(yard.open, worker)
        await anyio.to_thread.run_sync(begun.wait, 60)
        group.start_soon(yard.places.close, "T1")
        with anyio.fail_after(60):
            while not making.statistics().tasks_waiting:
                assert (yard.folder / "T1").exists()
                await anyio.sleep(0.005)
        go_on.set()

    assert not (yard.folder / "T1").exists()


@pytest.mark.parametrize("how", ["untracked", "changed", "deleted", "nested", "large"])
async def test_work_that_was_not_submitted_is_never_removed(yard: Yard, how: str) -> None:
    await yard.submitted("T1", **{"new.py": "b = 2\n"})
    folder = yard.folder / "T1"
    if how == "untracked":
        (folder / "more.py").write_text("c = 3\n")
    elif how == "changed":
        (folder / "new.py").write_text("b = 3\n")
    elif how == "large":
        with (folder / "big.bin").open("wb") as file:
            file.truncate(50 << 20)
    elif how == "deleted":
        (folder / "code.py").unlink()
    else:
        yard.git("init", "-q", str(folder / "own"))
        yard.git("-c", "user.name=A", "-c", "user.email=a@example.org", "commit", "-q", "--allow-empty", "-m", "x",
                 at=folder / "own")  # fmt: skip

    before = yard.git("count-objects") if how == "large" else ""
    why = await yard.places.close("T1")

    assert how != "large" or yard.git("count-objects") == before
    assert why is not None
    assert "not submitted" in why
    assert folder.exists()
    assert await yard.states("T1") == ["closed"]
    (left,) = await yard.places.recover()
    assert str(folder) in left


async def test_a_place_with_a_process_in_it_is_left(yard: Yard) -> None:
    await yard.submitted("T1", **{"new.py": "b = 2\n"})
    process = await anyio.open_process(["sleep", "600"], cwd=yard.folder / "T1")
    async with process:
        why = await yard.places.close("T1")
        process.kill()

    assert why == f"process {process.pid} works in it"
    assert await yard.places.recover() == []
    assert await yard.states("T1") == ["removed"]


async def test_a_place_that_a_person_locked_is_left(yard: Yard) -> None:
    await yard.submitted("T1", **{"new.py": "b = 2\n"})
    yard.git("worktree", "lock", str(yard.folder / "T1"))

    assert await yard.places.close("T1") == "somebody locked it (git worktree unlock)"

    yard.git("worktree", "unlock", str(yard.folder / "T1"))
    assert await yard.places.close("T1") is None


async def test_commits_that_were_not_submitted_are_archived(yard: Yard) -> None:
    """The tree is the submitted one; what the agent committed on the way is kept for thirty days."""
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"tried.py": "b = 2\n"})
    yard.git("add", "-A", at=place.path)
    person = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    yard.git(*person, "commit", "-q", "-m", "tried", at=place.path)
    tip = yard.git("rev-parse", "HEAD", at=place.path)
    yard.git("checkout", "-q", "--detach", at=place.path)
    yard.write(place.path, {"other.py": "b = 2\n"})
    yard.git("add", "-A", at=place.path)
    yard.git(*person, "commit", "-q", "-m", "detached", at=place.path)
    detached = yard.git("rev-parse", "HEAD", at=place.path)
    await yard.complete(worker)

    assert await yard.places.close("T1") is None

    kept = {yard.git("rev-parse", ref) for ref in yard.refs("refs/wvo/archive/T1")}
    assert kept == {tip, detached}


async def test_a_worktree_that_git_forgot_is_archived_and_left(yard: Yard) -> None:
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"half.py": "b = 2\n"})
    await yard.bench.call("release_task", worker, task_id="T1")
    for file in sorted((yard.root / ".git/worktrees/T1").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    (yard.root / ".git/worktrees/T1").rmdir()

    again = await yard.open(await yard.claim("T1"))

    assert again.path == yard.folder / "T1.2"
    assert (place.path / "half.py").exists()
    (archive,) = yard.refs("refs/wvo/archive")
    assert yard.show(archive, "half.py") == "b = 2"


async def test_a_worktree_whose_folder_a_person_removed_is_made_again(yard: Yard) -> None:
    worker, place = await yard.opened("T1")
    await yard.bench.call("release_task", worker, task_id="T1")
    yard.git("worktree", "remove", "--force", str(place.path))

    again = await yard.open(await yard.claim("T1"))

    assert again.path == place.path
    assert not again.reused


async def test_half_made_places_are_undone(yard: Yard) -> None:
    """As a kill of git leaves it: locked, without some of its files, or without any."""
    worker, place = await yard.opened("T1")
    await yard.bench.force("UPDATE workspaces SET state = 'making'")
    (place.path / "code.py").unlink()
    yard.git("worktree", "lock", "--reason", "initializing", str(place.path))
    yard.again()

    again = await yard.open(worker)

    assert again.path == place.path
    assert (again.path / "code.py").exists()
    assert not again.reused
    assert await yard.states("T1") == ["failed", "open"]


async def test_work_in_progress_is_left_alone(yard: Yard) -> None:
    _, place = await yard.opened("T1")
    yard.again()

    assert await yard.places.recover() == []
    assert await yard.states("T1") == ["open"]
    assert place.path.exists()


async def test_pins_without_an_entry_are_removed_after_a_day(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = await yard.submitted("T1", **{"new.py": "b = 2\n"})
    yard.git("update-ref", "refs/wvo/submit/T1/7", commit)
    yard.git("update-ref", "refs/wvo/archive/T1/20200101-aaaa", commit)
    today = datetime.now(UTC).strftime("%Y%m%d")
    yard.git("update-ref", f"refs/wvo/archive/T1/{today}-bbbb", commit)

    await yard.places.recover()
    kept = ["refs/wvo/checkpoint/T1/1", "refs/wvo/submit/T1/1", f"refs/wvo/archive/T1/{today}-bbbb"]
    assert sorted(yard.refs("refs/wvo")) == sorted([*kept, "refs/wvo/submit/T1/7"])
    monkeypatch.setattr(tidying, "_PIN_KEPT", timedelta(0))
    await yard.places.recover()
    assert sorted(yard.refs("refs/wvo")) == sorted(kept)


async def test_a_broken_ref_keeps_nobody_from_starting(yard: Yard) -> None:
    await yard.submitted("T1", **{"new.py": "b = 2\n"})
    (yard.root / ".git/refs/wvo/submit/T1/9").write_text(f"{'1' * 40}\n")
    (yard.root / ".git/refs/wvo/submit/T1/10").write_text("ref: refs/heads/nowhere\n")

    assert await yard.places.recover() == []
    _, place = await yard.opened("T2")
    assert place.path.exists()


async def test_a_half_made_place_waits_for_a_person_while_the_repository_is_changed(yard: Yard) -> None:
    worker, place = await yard.opened("T1")
    await yard.bench.force("UPDATE workspaces SET state = 'making'")
    yard.git("config", "core.fsmonitor", "theirs")

    (left,) = await yard.places.recover()
    assert "core.fsmonitor" in left
    with pytest.raises(PlaceFailed) as failed:
        await yard.open(worker)
    assert failed.value.tampered
    assert place.path.exists()
    await yard.places.accept()
    yard.git("config", "--unset", "core.fsmonitor")
    await yard.places.accept()

    assert (await yard.open(worker)).path == place.path
    assert await yard.states("T1") == ["failed", "open"]
