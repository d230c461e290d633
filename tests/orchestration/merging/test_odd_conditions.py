"""What happens to a repository while a task lives in it: no work is lost, and what cannot go on says why (MERGE-7)."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.orchestration.merging.conftest import Lane
from tests.orchestration.merging.life import Canary, Person, Shop
from tests.orchestration.merging.works import module
from tests.support.bench import OWNER
from tests.support.disks import mounted
from tests.support.yard import git
from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.domain.rollbacks import Extent, RollbackAsk
from wvo_mcp.domain.rules import MergeMode
from wvo_mcp.errors import Conflict, StoreUnavailable
from wvo_mcp.ports.checkpoints import NoCheckpoint, NoRollback
from wvo_mcp.ports.places import PlaceFailed

pytestmark = [pytest.mark.anyio, pytest.mark.sqlite, pytest.mark.requirement("MERGE-7", "WS-1")]


@pytest.fixture
def shop(lane: Lane, tmp_path: Path) -> Shop:
    shop = Shop(lane, tmp_path)
    shop.save({"mine.py": "mine\n", "kept/a.py": "a\n", "away/b.py": "b\n"}, "what the person works on")
    return shop


def sparse(shop: Shop) -> None:
    shop.person("sparse-checkout", "set", "kept")


def in_sha256(shop: Shop) -> None:
    root = shop.tmp / "long"
    root.mkdir()
    git(root, "init", "-q", "-b", "main", "--object-format=sha256")
    shop.moved(root)
    files: dict[str, str | bytes] = {"code.py": "a = 1\n", ".gitignore": "*.log\nstate/\n", "mine.py": "mine\n"}
    shop.save(files | {"kept/a.py": "a\n", "away/b.py": "b\n"})


def with_line_ends(shop: Shop) -> None:
    shop.person("config", "core.autocrlf", "true")


@pytest.mark.parametrize("form", [sparse, in_sha256, with_line_ends])
async def test_work_that_conflicts_comes_back_is_mended_and_lands(shop: Shop, form: Callable[[Shop], None]) -> None:
    form(shop)
    person = Person(shop)
    lane, yard = shop.lane, shop.yard
    worker, place = await yard.opened("T1")
    yard.write(place.path, {"code.py": "a = 2\n", "new.py": "1\n"})
    await yard.complete(worker)
    (shop.top / "code.py").write_text("a = 3\n")
    shop.person("commit", "-qm", "theirs", "--", "code.py")
    await lane.land()
    assert await lane.states() == {"T1": "conflict"}

    await lane.again("T1", {"code.py": "a = 23\n"})
    await lane.land()

    assert await lane.states() == {"T1": "merged"}
    assert lane.main("code.py") == "a = 23"
    assert shop.person("diff", "--name-only", "main^", "main").split() == ["code.py", "new.py"]
    assert shop.person("show", "main:away/b.py") == "b"
    person.check()


async def test_an_empty_repository_is_told_to_begin_and_then_works(lane: Lane, tmp_path: Path) -> None:
    shop = Shop(lane, tmp_path)
    root = tmp_path / "empty"
    root.mkdir()
    git(root, "init", "-q", "-b", "main")
    shop.moved(root)
    worker = await shop.yard.claimed("T1")

    with pytest.raises(PlaceFailed, match="make the first one"):
        await shop.yard.open(worker)

    assert (shop.person("for-each-ref"), shop.person("worktree", "list").count("\n")) == ("", 0)
    shop.save({"code.py": "a = 1\n", ".gitignore": "state/\n"})
    shop.place = await shop.yard.open(worker)
    shop.write("code.py", "a = 2\n")
    await shop.yard.complete(worker)
    await lane.land()
    assert lane.main("code.py") == "a = 2"


def removed(shop: Shop) -> Path:
    shutil.rmtree(shop.path)
    return shop.path


def moved(shop: Shop) -> Path:
    shop.agent("worktree", "move", str(shop.path), str(shop.tmp / "elsewhere"))
    return shop.tmp / "elsewhere"


def made_anew(shop: Shop) -> Path:
    """As a clone, by an agent that wanted to begin again."""
    shutil.rmtree(shop.path)
    git(shop.tmp, "clone", "-q", str(shop.top), str(shop.path))
    return shop.path


@pytest.mark.parametrize("gone", [removed, moved, made_anew])
async def test_the_work_of_a_worktree_that_is_gone_is_in_its_checkpoints(
    shop: Shop, gone: Callable[[Shop], Path]
) -> None:
    lane, yard = shop.lane, shop.yard
    worker, shop.place = await yard.opened("T1")
    shop.write("code.py", "a = 2\n")
    shop.write("new.py")
    kept = await yard.files.take("T1", Trigger.CALL)
    assert kept is not None
    there = gone(shop)

    if gone is not made_anew:
        with pytest.raises(NoCheckpoint, match="is not a folder"):
            await yard.files.take("T1", Trigger.CALL)
        with pytest.raises(Conflict, match="is not a folder"):
            await yard.complete(worker)
        shop.place = await yard.open(worker)
    ask = RollbackAsk(task_id="T1", extent=Extent.FULL, to=kept.number)
    assert await yard.rollbacks.roll_back(ask) is not None
    await yard.complete(worker)
    await lane.land()

    assert (lane.main("code.py"), lane.main("new.py")) == ("a = 2", "new")
    assert shop.person("status", "--porcelain") == ""
    if gone is moved:
        assert (there / "new.py").exists(), "what somebody moved away is theirs"
    why = await yard.places.close("T1")
    assert "is not a .git file" in (why or "") if gone is made_anew else why is None
    assert (shop.path.exists(), there.exists()) == (gone is made_anew, gone is not removed)
    shop.person("fsck", "--no-dangling")


async def test_locks_of_others_are_waited_for_and_left(shop: Shop) -> None:
    """Of a git that works just now, or that was killed."""
    lane, yard = shop.lane, shop.yard
    worker, shop.place = await yard.opened("T1")
    (shop.git_dir / "worktrees/T1/index.lock").write_text("the agent's")
    shop.write("code.py", "a = 2\n")
    kept = await yard.files.take("T1", Trigger.CALL)
    assert kept is not None
    shop.write("code.py", "a = 3\n")
    lock = shop.git_dir / "packed-refs.lock"
    lock.write_text("")
    ask = RollbackAsk(task_id="T1", extent=Extent.FULL, to=kept.number)
    with pytest.raises(NoRollback, match=r"packed-refs\.lock"):
        await yard.rollbacks.roll_back(ask)
    assert lock.read_text() == ""
    lock.unlink()
    assert await yard.rollbacks.finish() == []
    assert (shop.path / "code.py").read_text() == "a = 2\n"
    assert shop.person("for-each-ref", "refs/wvo/rollback") == ""
    await yard.complete(worker)
    before = shop.person("rev-parse", "main")
    for lock in (shop.git_dir / "index.lock", shop.git_dir / "refs/heads/main.lock"):
        lock.write_text("")
        await lane.land()
        assert (await lane.states(), shop.person("rev-parse", "main")) == ({"T1": "parked"}, before)
        assert lock.read_text() == ""
        lock.unlink()
        lane.bench.clock.advance(minutes=2)
    await lane.land()
    assert lane.main("code.py") == "a = 2"
    assert shop.person("status", "--porcelain") == ""


async def test_a_disk_that_is_full_at_any_step_costs_nothing(lane: Lane, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=8m"):
        shop = Shop(lane, tmp_path)
        shop.top.rename(tmp_path / "moved")
        shutil.copytree(tmp_path / "moved", tmp_path / "disk/shop", symlinks=True)
        shop.moved(tmp_path / "disk/shop")
        yard, ballast = shop.yard, tmp_path / "disk/ballast"
        person = Person(shop_with_mine(shop))
        worker, shop.place = await yard.opened("T1")
        shop.write("large.bin", os.urandom(1 << 20))

        def fill() -> None:
            with ballast.open("wb", buffering=0) as file:
                try:
                    while file.write(b"x" * 4_096) == 4_096:
                        pass
                except OSError:
                    pass

        fill()
        with pytest.raises(NoCheckpoint, match="No space left"):
            await yard.files.take("T1", Trigger.CALL)
        ballast.unlink()
        kept = await yard.files.take("T1", Trigger.CALL)
        assert kept is not None
        large = (shop.path / "large.bin").read_bytes()
        (shop.path / "large.bin").unlink()
        shop.write("other.bin", os.urandom(900_000))
        fill()
        ask = RollbackAsk(task_id="T1", extent=Extent.FULL, to=kept.number)
        other = (shop.path / "other.bin").read_bytes()
        with pytest.raises(NoRollback):
            await yard.rollbacks.roll_back(ask)
        assert (shop.path / "other.bin").read_bytes() == other
        ballast.unlink()
        await yard.rollbacks.roll_back(ask)
        assert (shop.path / "large.bin").read_bytes() == large
        shop.write("code.py", "a = 2\n")
        fill()
        with pytest.raises(StoreUnavailable):
            await yard.complete(worker)
        ballast.unlink()
        await yard.complete(worker)
        fill()
        await lane.land()
        assert await lane.states() == {"T1": "parked"}
        ballast.unlink()
        person.check()
        lane.bench.clock.advance(minutes=2)
        await lane.land()
        person.check()
        assert await lane.states() == {"T1": "merged"}
        assert (shop.top / "large.bin").read_bytes() == large
        assert await yard.places.close("T1") is None
        shop.person("fsck", "--no-dangling")


def shop_with_mine(shop: Shop) -> Shop:
    shop.save({"mine.py": "mine\n"})
    return shop


async def test_setup_may_fetch_the_submodules(shop: Shop) -> None:
    """As docs/workspaces.md says; git notes their addresses in its config then."""
    module(shop)
    git(shop.tmp, "clone", "-q", str(shop.top), "clone")
    shop.moved(shop.tmp / "clone")
    shop.lane.rule(setup="git -c protocol.file.allow=always submodule --quiet update --init")

    worker, shop.place = await shop.yard.opened("T1")

    assert (shop.path / "lib/a.py").read_text() == "1\n"
    shop.write("code.py", "a = 2\n")
    await shop.yard.complete(worker)
    await shop.lane.land()
    assert shop.lane.main("code.py") == "a = 2"


async def test_hooks_of_a_remote_that_refuse_keep_the_work_waiting(shop: Shop, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(shop.top), "remote.git")
    shop.person("remote", "add", "origin", str(tmp_path / "remote.git"))
    canary = Canary(tmp_path)
    canary.plant(shop.git_dir)
    git(shop.git_dir, "config", "--unset", "core.sshCommand")
    lane = shop.lane
    lane.rule(mode=MergeMode.PUSH)
    person = Person(shop)
    hook = tmp_path / "remote.git/hooks/update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\ncase $1 in refs/heads/*) echo "closed for the night" >&2; exit 1;; esac\n')
    hook.chmod(0o755)
    worker, shop.place = await shop.yard.opened("T1")
    shop.write("code.py", "a = 2\n")
    await shop.yard.complete(worker)

    await lane.land()

    (entry,) = await lane.bench.sql("SELECT * FROM merge_entries")
    assert (entry["state"], "closed for the night" in entry["reason"]) == ("parked", True)
    there = git(tmp_path / "remote.git", "rev-parse", "refs/wvo/submit/T1/1")
    assert there == entry["commit_sha"], "another host could land it"
    hook.unlink()
    lane.bench.clock.advance(minutes=2)
    await lane.bench.call("merge_retry", OWNER, entry_id=entry["entry_id"])
    await lane.land()
    assert git(tmp_path / "remote.git", "show", "main:code.py") == "a = 2"
    assert canary.heard() == ""
    person.check()
