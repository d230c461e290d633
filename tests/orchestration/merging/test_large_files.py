"""Files of Git LFS land with their content, or not at all: the real git-lfs, a server on loopback, real git."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.orchestration.merging.conftest import Lane
from tests.orchestration.merging.test_hosts import Hosts
from tests.support.bench import Bench
from tests.support.github import REMOTE, github
from tests.support.large_files import (
    LargeFiles,
    at_remote,
    kept,
    large_files,
    need_lfs,
    oid_of,
    pointer_of,
)
from tests.support.scale import sampled
from tests.support.yard import Yard, digests, git
from wvo_mcp.domain.rules import MergeMode, MergePolicy
from wvo_mcp.errors import Conflict
from wvo_mcp.ports.merging import NotNow

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-6", "MERGE-7")]

OLD, NEW = b"old content\n" * 300, b"new content\n" * 400


@pytest.fixture
def server(home: Path) -> Iterator[LargeFiles]:
    need_lfs()
    with large_files() as server:
        server.known_to(home)
        yield server


def begin(yard: Yard, server: LargeFiles, address: str | None = None) -> None:
    """The person has a file in Git LFS."""
    yard.write(
        yard.root,
        {
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            ".lfsconfig": f"[lfs]\n\turl = {address or server.address}\n",
            "old.bin": OLD.decode(),
        },
    )
    yard.save("Git LFS")
    assert yard.show("main", "old.bin").startswith("version https://git-lfs")


@pytest.fixture
def shop(lane: Lane, server: LargeFiles) -> Lane:
    begin(lane.yard, server)
    return lane


class Far:
    """A lane whose work is pushed to `bare`; the server has what the person pushed."""

    def __init__(self, lane: Lane, server: LargeFiles, bare: Path) -> None:
        self.lane = lane
        self.server = server
        self.bare = bare

    def main(self, name: str) -> str:
        return at_remote(self.bare, f"main:{name}")


@pytest.fixture
def far(shop: Lane, server: LargeFiles, tmp_path: Path) -> Far:
    bare = tmp_path / "bare.git"
    git(tmp_path, "init", "-q", "--bare", "-b", "main", str(bare))
    shop.yard.git("remote", "add", "origin", str(bare))
    shop.yard.git("lfs", "push", "origin", "main")
    shop.yard.git("push", "-q", "origin", "main")
    assert server.objects == {oid_of(OLD): OLD}
    server.asked.clear()
    shop.rule(mode=MergeMode.PUSH)
    return Far(shop, server, bare)


async def test_the_checkout_of_a_person_gets_the_content(shop: Lane, server: LargeFiles) -> None:
    await shop.submit("T1", {"new.bin": NEW.decode(), "old.bin": "changed"})
    await shop.land()

    assert await shop.states() == {"T1": "merged"}
    assert shop.main("new.bin") + "\n" == pointer_of(NEW)
    assert (shop.yard.root / "new.bin").read_bytes() == NEW
    assert (shop.yard.root / "old.bin").read_text() == "changed"
    assert shop.yard.git("status", "--porcelain") == ""
    assert server.asked == [], "all of it was here"


@pytest.mark.parametrize("mode", sampled([MergeMode.PUSH, MergeMode.LOCAL], 2))
async def test_the_program_installs_no_hooks_and_runs_none(far: Far, mode: MergeMode, tmp_path: Path) -> None:
    hooks, ran = far.lane.yard.root / ".git/hooks", tmp_path / "ran"
    for hook in hooks.iterdir():
        hook.unlink()
    for name in ("pre-push", "post-merge", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >>'{ran}'\n")
        (hooks / name).chmod(0o755)
    before = digests(far.lane.yard.root / ".git", ("objects", "refs", "logs", "lfs", "worktrees", "index"))
    far.lane.rule(mode=mode)
    await far.lane.submit("T1", {"new.bin": NEW.decode()})
    after = digests(hooks)
    ran.unlink(missing_ok=True)  # of the worktree that was made
    await far.lane.land()
    assert await far.lane.states() == {"T1": "merged"}
    assert not ran.exists()
    assert digests(hooks) == after == {n.removeprefix("hooks/"): d for n, d in before.items() if n.startswith("hooks/")}


async def test_a_landing_that_was_cut_off_over_such_a_file_goes_on(shop: Lane) -> None:
    await shop.submit("T1", {"new.bin": NEW.decode(), "old.bin": "changed"})
    shop.yard.write(shop.yard.root, {"new.bin": NEW.decode(), "old.bin": "changed"})

    await shop.land()

    assert await shop.states() == {"T1": "merged"}
    assert shop.yard.git("status", "--porcelain") == ""


async def test_a_pointer_to_nothing_is_not_submitted(shop: Lane) -> None:
    with pytest.raises(Conflict, match=r"fake\.bin: a pointer of Git LFS to content that is not here"):
        await shop.submit("T1", {"fake.bin": pointer_of(b"nowhere\n")})
    assert await shop.states() == {}


async def test_a_pointer_that_the_task_began_with_may_be_moved(shop: Lane) -> None:
    _, place = await shop.yard.opened("T1")
    pointer = (place.path / "old.bin").read_text()
    assert pointer == pointer_of(OLD)
    await shop.submit("T2", {"moved.bin": pointer})
    await shop.land()
    assert (await shop.states())["T2"] == "merged"
    assert (shop.yard.root / "moved.bin").read_bytes() == OLD


@pytest.mark.parametrize("mode", sampled([MergeMode.PUSH, MergeMode.LOCAL], 2))
@pytest.mark.parametrize("damage", ["removed", "replaced"])
async def test_content_that_is_not_there_any_more_does_not_land(far: Far, mode: MergeMode, damage: str) -> None:
    far.lane.rule(mode=mode)
    entry = await far.lane.submit("T1", {"new.bin": NEW.decode()})
    file, before = kept(far.lane.yard.root, NEW), git(far.bare, "rev-parse", "main")
    if damage == "removed":
        file.unlink()
    else:
        file.write_bytes(NEW[::-1])

    await far.lane.land()

    row = await far.lane.entry(entry["entry_id"])
    assert row["state"] == "parked" and row["retry_at"] is not None
    assert "the content of new.bin (Git LFS) is not in this repository, and cannot be fetched" in row["reason"]
    assert git(far.bare, "rev-parse", "main") == before
    assert git(far.bare, "for-each-ref", "refs/wvo") == ""
    assert oid_of(NEW) not in far.server.objects

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(NEW)
    far.lane.bench.clock.advance(seconds=61)
    await far.lane.land()
    assert await far.lane.states() == {"T1": "merged"}


async def test_content_that_only_the_remote_has_is_fetched(far: Far) -> None:
    far.lane.rule(mode=MergeMode.LOCAL)
    await far.lane.submit("T1", {"new.bin": NEW.decode()})
    kept(far.lane.yard.root, NEW).unlink()
    far.server.objects[oid_of(NEW)] = NEW
    await far.lane.land()
    assert await far.lane.states() == {"T1": "merged"}
    assert (far.lane.yard.root / "new.bin").read_bytes() == NEW


@pytest.mark.parametrize("policy", sampled([MergePolicy.REBASE, MergePolicy.MERGE], 2))
async def test_content_is_at_the_server_before_the_remote_has_a_commit(
    far: Far, policy: MergePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    far.lane.rule(policy=policy)
    seen: list[str] = []
    answer = far.server.answer

    def watched(method: str, path: str, content: bytes) -> Any:
        seen.append(git(far.bare, "for-each-ref", "--format=%(refname)"))
        return answer(method, path, content)

    monkeypatch.setattr(far.server, "answer", watched)
    await far.lane.submit("T1", {"new.bin": NEW.decode(), "code.py": "a = 2\n"})
    await far.lane.land()

    assert await far.lane.states() == {"T1": "merged"}
    assert far.main("new.bin") == pointer_of(NEW)
    assert far.server.objects == {oid_of(OLD): OLD, oid_of(NEW): NEW}
    assert set(seen) == {"refs/heads/main"}


async def test_what_changes_no_such_file_asks_no_server(far: Far) -> None:
    await far.lane.submit("T1", {"code.py": "a = 2\n"})
    await far.lane.land()
    assert await far.lane.states() == {"T1": "merged"}
    assert far.server.asked == []


@pytest.mark.parametrize("status", sampled([500, 403, 429], 3))
async def test_a_server_that_refuses_is_asked_again(far: Far, status: int) -> None:
    entry = await far.lane.submit("T1", {"new.bin": NEW.decode()})
    before = git(far.bare, "for-each-ref")
    far.server.fails = [status] * 12
    await far.lane.land()
    row = await far.lane.entry(entry["entry_id"])
    assert (row["state"], git(far.bare, "for-each-ref")) == ("parked", before), row
    assert row["reason"].startswith("origin does not answer as it should"), row["reason"]

    far.server.fails = []
    far.lane.bench.clock.advance(seconds=61)
    await far.lane.land()
    assert await far.lane.states() == {"T1": "merged"}


async def test_work_cannot_say_where_its_content_goes(far: Far) -> None:
    """Not by the file of the target that is to land, nor by a branch that a worker moves."""
    with large_files() as evil:
        settings = f"[lfs]\n\turl = {evil.address}\n\tpushurl = {evil.address}\n\tallowincompletepush = true\n"
        worker, place = await far.lane.yard.opened("T1")
        far.lane.yard.write(place.path, {"new.bin": NEW.decode(), ".lfsconfig": settings})
        await far.lane.yard.complete(worker)
        far.lane.yard.write(far.lane.yard.root, {".lfsconfig": settings})
        far.lane.yard.git("add", ".lfsconfig")
        far.lane.yard.git("-c", "user.name=Eve", "-c", "user.email=e@example.org", "commit", "-q", "-m", "mine")
        await far.lane.land()
        assert (evil.asked, evil.objects) == ([], {})
    assert oid_of(NEW) in far.server.objects
    assert await far.lane.states() == {"T1": "merged"}


async def test_a_missing_program_is_said(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = await far.lane.submit("T1", {"new.bin": NEW.decode()})
    nowhere: Callable[[str], None] = lambda name: None  # noqa: E731
    monkeypatch.setattr("wvo_mcp.execution.merging.contents.which", nowhere)
    await far.lane.land()
    row = await far.lane.entry(entry["entry_id"])
    assert (row["state"], row["reason"]) == ("parked", "git-lfs is not installed here")
    assert git(far.bare, "for-each-ref", "refs/wvo") == ""


async def test_content_lands_beside_a_remote_that_is_a_folder(far: Far, server: LargeFiles) -> None:
    """Without a server Git LFS copies it there."""
    yard = far.lane.yard
    yard.git("remote", "set-url", "origin", "../bare.git")
    yard.git("rm", "-q", ".lfsconfig")
    yard.save("no server")
    yard.git("lfs", "push", "origin", "main")
    yard.git("push", "-q", "origin", "main")
    await far.lane.submit("T1", {"new.bin": NEW.decode()})
    await far.lane.land()
    assert await far.lane.states() == {"T1": "merged"}
    oid = oid_of(NEW)
    assert (far.bare / "lfs/objects" / oid[:2] / oid[2:4] / oid).read_bytes() == NEW


async def test_another_host_lands_content_that_it_never_had(
    bench: Bench, tmp_path: Path, home: Path, server: LargeFiles
) -> None:
    origin = Yard(tmp_path / "origin", bench).begin()
    begin(origin, server)
    server.objects[oid_of(OLD)] = OLD
    here, there = (hosts := Hosts(bench, tmp_path, origin.root)).lanes
    entry = await there.submit("T1", {"new.bin": NEW.decode()})
    repository: Any = there.queue.repository
    land = repository.land

    async def away(*_: Any) -> None:
        raise NotNow("it is away")

    repository.land = away
    await there.land()
    repository.land = land
    assert (await here.entry(entry["entry_id"]))["state"] == "parked"

    bench.clock.advance(seconds=61)
    await here.land()
    assert await here.states() == {"T1": "merged"}
    assert at_remote(hosts.bare, "main:new.bin") == pointer_of(NEW)
    assert server.objects[oid_of(NEW)] == NEW


async def test_a_storage_elsewhere_is_used(far: Far, home: Path, tmp_path: Path) -> None:
    with (home / ".gitconfig").open("a") as file:
        file.write("[lfs]\n\tstorage = ~/files\n")
    far.lane.rule(mode=MergeMode.LOCAL)
    await far.lane.submit("T1", {"new.bin": NEW.decode()})
    oid = oid_of(NEW)
    assert (home / "files/objects" / oid[:2] / oid[2:4] / oid).read_bytes() == NEW
    await far.lane.land()
    assert await far.lane.states() == {"T1": "merged"}
    assert (far.lane.yard.root / "new.bin").read_bytes() == NEW


@pytest.mark.parametrize("mode", sampled([MergeMode.PUSH, MergeMode.LOCAL], 2))
async def test_a_repository_that_git_lfs_was_never_run_in_is_not_suspected(far: Far, mode: MergeMode) -> None:
    """The program writes to the repository's config, and installs hooks, where it finds neither."""
    yard = far.lane.yard
    forget_lfs(yard)
    far.lane.rule(mode=mode)
    await far.lane.submit("T1", {"new.bin": NEW.decode()})
    await far.lane.land()
    assert await far.lane.states() == {"T1": "merged"}
    assert await yard.places.suspected() == []
    await far.lane.submit("T2", {"code.py": "a = 2\n"})
    await far.lane.land()
    assert (await far.lane.states())["T2"] == "merged"


async def test_a_setup_that_fetches_large_files_is_not_suspected(far: Far) -> None:
    yard = far.lane.yard
    forget_lfs(yard)
    far.lane.rule(setup="git lfs pull")
    worker, place = await yard.opened("T1")
    assert (place.path / "old.bin").read_bytes() == OLD
    yard.write(place.path, {"new.bin": NEW.decode()})
    await yard.complete(worker)
    await far.lane.land()
    assert await far.lane.states() == {"T1": "merged"}
    assert await yard.places.suspected() == []
    assert git(far.bare, "diff", "--name-only", "main~1", "main") == "new.bin"


@pytest.mark.parametrize("more", ["touch ran\n", None])
async def test_a_hook_that_does_more_than_git_lfs_is_suspected(far: Far, more: str | None) -> None:
    yard = far.lane.yard
    hook = yard.root / ".git/hooks/pre-push"
    text = hook.read_text()
    hook.unlink()
    await yard.opened("T1")
    hook.write_text(text)
    assert await yard.places.suspected() == []
    hook.write_text(text + more if more else text.replace("Git LFS,", "`touch ran`"))
    assert any("hooks/pre-push" in line for line in await yard.places.suspected())


async def test_content_lands_with_a_pull_request(far: Far, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    settings = (home / ".gitconfig").read_text()
    with github(far.bare, monkeypatch) as hub:
        with (home / ".gitconfig").open("a") as file:
            file.write(settings)
        far.lane.yard.git("remote", "set-url", "origin", REMOTE)
        far.lane.rule(mode=MergeMode.PULL_REQUEST)
        await far.lane.submit("T1", {"new.bin": NEW.decode()})
        await far.lane.land()
        assert (len(hub.pulls), far.server.objects[oid_of(NEW)]) == (1, NEW)
        hub.merge(1)
        far.lane.bench.clock.advance(seconds=61)
        await far.lane.land()
        assert await far.lane.states() == {"T1": "merged"}
        assert far.main("new.bin") == pointer_of(NEW)


async def test_a_checkout_that_cannot_get_all_of_it_is_as_before(shop: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content goes in the moment between the look and the landing."""
    entry = await shop.submit("T1", {"a.bin": "a" * 9, "new.bin": NEW.decode(), "old.bin": "changed"})
    before = digests(shop.yard.root, (".git", "state"))

    def gone(*_: Any) -> None:
        kept(shop.yard.root, NEW).unlink()

    monkeypatch.setattr("wvo_mcp.execution.merging.repository.check_here", gone)
    await shop.land()
    row = await shop.entry(entry["entry_id"])
    assert row["state"] == "parked", row
    assert digests(shop.yard.root, (".git", "state")) == before
    assert shop.yard.git("status", "--porcelain") == ""


def forget_lfs(yard: Yard) -> None:
    for hook in (yard.root / ".git/hooks").iterdir():
        hook.unlink()
    yard.git("config", "--unset", "lfs.repositoryformatversion")
