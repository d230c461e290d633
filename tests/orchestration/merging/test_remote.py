"""What we pushed to a remote goes once nobody needs it there; what others pushed stays. Real git, the hub of pull requests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.orchestration.merging.conftest import RUNNER, Lane
from tests.orchestration.merging.test_pull_requests import Far
from tests.support.bench import OWNER
from tests.support.github import PAT, REMOTE, Hub, github
from tests.support.yard import git
from wvo_mcp.domain.rules import MergeMode
from wvo_mcp.orchestration.merging.remote import RemoteRefs

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-6", "MERGE-8")]


class Shore(Far):
    def refs(self) -> set[str]:
        """Of the remote, but for the target; without what commits are called."""
        names = git(self.hub.bare, "for-each-ref", "--format=%(refname)").split()
        return {name.partition("-")[0] if "/wvo/pull/" in name else name for name in names} - {"refs/heads/main"}

    async def tidy(self, **later: float) -> None:
        self.bench.clock.advance(**later)
        refs = RemoteRefs(
            store=self.bench.store, caller=lambda: RUNNER, repository=self.lane.queue.repository,
            rules=self.lane.yard.rules, clock=self.bench.clock,
        )  # fmt: skip
        await refs.tidied()

    async def opened(self, task_id: str = "T1") -> set[str]:
        """Its refs, once its pull request is open."""
        await self.lane.submit(task_id, {f"{task_id}.py": "n\n"})
        await self.lane.land()
        await self.waits(task_id, "is open")
        return {f"refs/wvo/submit/{task_id}/1", f"refs/wvo/pull/{task_id}/1", f"refs/heads/wvo/{task_id}-1"}


@pytest.fixture
def hub(tmp_path: Path, home: Path, origin: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(origin), str(bare))
    with github(bare, monkeypatch) as hub:
        yield hub


@pytest.fixture
def shore(lane: Lane, hub: Hub) -> Shore:
    lane.yard.git("remote", "add", "origin", REMOTE)
    lane.rule(mode=MergeMode.PULL_REQUEST)
    return Shore(lane, hub)


async def test_what_is_open_keeps_all_of_its_refs(shore: Shore) -> None:
    refs = await shore.opened()
    assert shore.refs() == refs
    await shore.tidy(days=40)
    assert shore.refs() == refs
    shore.hub.pulls[0]["state"] = "closed"
    await shore.look()
    await shore.tidy(days=40)
    assert shore.refs() == refs, "a person may open it again"


async def test_what_landed_keeps_its_refs_for_a_day(shore: Shore) -> None:
    refs = await shore.opened()
    commit = shore.hub.merge(1, tidy=False)
    await shore.look()
    await shore.is_done("T1", commit)
    await shore.tidy(hours=23)
    assert shore.refs() == refs
    await shore.tidy(hours=2)
    await shore.tidy(hours=1)
    assert shore.refs() == set()
    assert git(shore.hub.bare, "rev-parse", "main") == commit


async def test_what_was_withdrawn_loses_its_branch_and_keeps_its_commits_for_thirty_days(shore: Shore) -> None:
    refs = await shore.opened()
    await shore.bench.call("update_task", OWNER, task_id="T1", status="cancelled")
    await shore.tidy()
    assert shore.refs() == refs - {"refs/heads/wvo/T1-1"}, "its pull request is closed so"
    await shore.tidy(days=29)
    assert shore.refs() == refs - {"refs/heads/wvo/T1-1"}
    await shore.tidy(days=2)
    assert shore.refs() == set()


async def test_what_came_back_leaves_no_pull_request_beside_the_next(shore: Shore) -> None:
    refs = await shore.opened()
    shore.hub.check(1, "tests", "failure")
    await shore.look()
    await shore.lane.again("T1", {"T1.py": "better\n"})
    await shore.lane.land()
    await shore.waits("T1", "pull/2 is open")
    await shore.tidy()
    assert "refs/heads/wvo/T1-1" not in shore.refs()
    assert shore.refs() >= (refs - {"refs/heads/wvo/T1-1"}) | {"refs/heads/wvo/T1-2", "refs/wvo/submit/T1/2"}


async def test_what_others_pushed_stays(shore: Shore) -> None:
    """A person to our branch, and another store under the names that ours would use."""
    refs = await shore.opened()
    bare = shore.hub.bare
    theirs = git(bare, *PAT, "commit-tree", "-p", "wvo/T1-1", "-m", "more", "wvo/T1-1^{tree}")
    git(bare, "update-ref", "refs/heads/wvo/T1-1", theirs)
    others = {
        "refs/heads/wvo/T1", "refs/heads/wvo/T1-2", "refs/heads/wvo/T9-1", "refs/wvo/submit/T1/7", "refs/wvo/submit/T9/1",
        "refs/wvo/other", "refs/heads/feature",
    }  # fmt: skip
    for name in others:
        git(bare, "update-ref", name, theirs)
    git(bare, "update-ref", "-d", "refs/wvo/submit/T1/1")
    git(bare, "update-ref", "refs/wvo/submit/T1/1", theirs)
    record = f"refs/wvo/pull/T1/1-{'a' * 16}-{theirs[:16]}"
    git(bare, "update-ref", record, theirs)
    await shore.bench.call("update_task", OWNER, task_id="T1", status="cancelled")

    await shore.tidy()
    await shore.tidy(days=40)

    assert shore.refs() == (refs | others)
    assert git(bare, "for-each-ref", "--format=%(refname)", "refs/wvo/pull").split() == [record]


async def test_a_branch_that_a_person_moves_meanwhile_stays(shore: Shore, monkeypatch: pytest.MonkeyPatch) -> None:
    await shore.opened()
    await shore.bench.call("update_task", OWNER, task_id="T1", status="cancelled")
    bare, repository = shore.hub.bare, shore.lane.queue.repository
    theirs = git(bare, *PAT, "commit-tree", "-p", "wvo/T1-1", "-m", "more", "wvo/T1-1^{tree}")
    forget = repository.forget

    async def late(target: str, refs: Any) -> None:
        git(bare, "update-ref", "refs/heads/wvo/T1-1", theirs)
        await forget(target, refs)

    monkeypatch.setattr(repository, "forget", late)
    await shore.tidy(days=31)
    await shore.tidy()
    assert shore.refs() == {"refs/heads/wvo/T1-1"}, "the others went"
    assert git(bare, "rev-parse", "wvo/T1-1") == theirs


async def test_pins_of_mode_push_go_too(shore: Shore) -> None:
    shore.lane.rule(mode=MergeMode.PUSH)
    await shore.lane.submit("T1.lock", {"new.py": "n\n"})
    await shore.lane.land()
    assert shore.refs() == {"refs/wvo/submit/T1%2Elock/1"}
    await shore.tidy(days=2)
    assert shore.refs() == set()


async def test_a_remote_that_is_away_or_refuses_is_asked_another_time(shore: Shore) -> None:
    refs = await shore.opened()
    await shore.bench.call("update_task", OWNER, task_id="T1", status="cancelled")
    git(shore.hub.bare, "config", "receive.denyDeletes", "true")
    await shore.tidy(days=31)
    refs -= {"refs/wvo/submit/T1/1"}
    assert shore.refs() == refs, "by the record the branch is known as ours"
    git(shore.hub.bare, "config", "receive.denyDeletes", "false")
    moved = shore.hub.bare.rename(shore.hub.bare.with_name("away.git"))
    await shore.tidy()
    moved.rename(shore.hub.bare)
    assert shore.refs() == refs
    await shore.tidy()
    await shore.tidy()
    assert shore.refs() == set()


async def test_an_idle_queue_looks_once_an_hour(shore: Shore, monkeypatch: pytest.MonkeyPatch) -> None:
    await shore.opened()
    await shore.bench.call("update_task", OWNER, task_id="T1", status="cancelled")
    queue = shore.lane.queue
    looked: list[str] = []
    done = anyio.Event()
    ask, forget = queue.repository.remote_refs, queue.repository.forget

    async def asked(target: str) -> Any:
        looked.append(target)
        return await ask(target)

    async def forgotten(target: str, refs: Any) -> None:
        await forget(target, refs)
        done.set()

    monkeypatch.setattr(queue.repository, "remote_refs", asked)
    monkeypatch.setattr(queue.repository, "forget", forgotten)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.run)
        with anyio.fail_after(30):
            await done.wait()
        tasks.cancel_scope.cancel()
    assert "refs/heads/wvo/T1-1" not in shore.refs()
    refs: RemoteRefs = vars(queue)["_remote_refs"]
    await refs.look()
    assert looked == ["main"]
    shore.bench.clock.advance(hours=1, seconds=1)
    await refs.look()
    shore.lane.rule(mode=MergeMode.LOCAL)
    shore.bench.clock.advance(hours=2)
    await refs.look()
    assert looked == ["main", "main"]
