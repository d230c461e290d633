"""Mode pull_request through the whole queue: GitHub's protocol over a socket, or by `gh`; people merge, close and push."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.orchestration.merging.conftest import Lane
from tests.orchestration.merging.test_hosts import Hosts
from tests.support.bench import OWNER, Bench
from tests.support.github import PAT, REMOTE, Hub, github
from tests.support.yard import git
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.rules import MergeMode
from wvo_mcp.execution.merging import pull_requests, pushing
from wvo_mcp.execution.merging.forges import Api

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("MERGE-6", "MERGE-7")]

NEXT = Caller("auto-next", "runner/2", client="tests", worker=True)


class Died(BaseException):
    """The runner is gone."""


class Far:
    """A lane whose work is merged by people at the hub."""

    def __init__(self, lane: Lane, hub: Hub) -> None:
        self.lane = lane
        self.hub = hub
        self.bench = lane.bench

    async def entry(self, task_id: str) -> dict[str, Any]:
        return (await self.bench.read(lambda tx: tx.submissions.of_task(task_id)))[0]

    async def look(self) -> None:
        """The queue, a while later."""
        self.bench.clock.advance(seconds=61)
        await self.lane.land()

    async def waits(self, task_id: str, words: str, *, again: bool = True) -> dict[str, Any]:
        entry = await self.entry(task_id)
        assert (entry["state"], entry["retry_at"] is not None) == ("parked", again), entry["reason"]
        assert words in entry["reason"]
        assert await self.bench.status(task_id) == ["in_review"]
        return entry

    async def is_done(self, task_id: str, commit: str, number: int = 1) -> dict[str, Any]:
        entry = await self.entry(task_id)
        assert (entry["state"], entry["landed_sha"]) == ("merged", commit), entry["reason"]
        assert entry["pull_request"] == f"https://github.com/shop/code/pull/{number}"
        assert await self.bench.status(task_id) == ["done"]
        assert (await self.bench.kinds(task_id)).count("task.completed") == 1
        return entry

    def person(self, files: dict[str, str]) -> str:
        """Pushes this to the target."""
        other = self.hub.bare.parent / "person"
        if not other.exists():
            git(other.parent, "clone", "-q", str(self.hub.bare), str(other))
        git(other, "pull", "-q", "--ff-only")
        for name, text in files.items():
            (other / name).write_text(text)
        git(other, "add", "-A")
        git(other, *PAT, "commit", "-q", "-m", "by hand")
        git(other, "push", "-q", "origin", "HEAD:main")
        return git(other, "rev-parse", "HEAD")

    def show(self, name: str) -> str:
        return git(self.hub.bare, "show", f"main:{name}")

    def count(self) -> int:
        return int(git(self.hub.bare, "rev-list", "--count", "--first-parent", "main"))


@pytest.fixture
def hub(tmp_path: Path, home: Path, origin: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(origin), str(bare))
    with github(bare, monkeypatch) as hub:
        yield hub


@pytest.fixture
def far(lane: Lane, hub: Hub) -> Far:
    lane.yard.git("remote", "add", "origin", REMOTE)
    lane.rule(mode=MergeMode.PULL_REQUEST)
    return Far(lane, hub)


@pytest.fixture(params=["api", "gh"])
def way(request: pytest.FixtureRequest, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "gh":
        hub.by_gh(tmp_path / "bin", monkeypatch)
    return request.param


@pytest.mark.parametrize("how", ["squash", "merge"])
async def test_work_is_done_when_people_merged_it(far: Far, way: str, how: str) -> None:
    await far.lane.submit("T1", {"new.py": "n\n"})
    await far.lane.land()
    await far.waits("T1", "https://github.com/shop/code/pull/1 is open")
    await far.look()
    await far.waits("T1", "pull/1 is open")
    assert len(far.hub.pulls) == 1
    assert (await far.bench.kinds("T1")).count("merge.parked") == 1, "nothing is new"
    far.person({"theirs.py": "t\n"})

    commit = far.hub.merge(1, how)
    await far.look()

    entry = await far.is_done("T1", commit)
    assert far.lane.yard.git("rev-parse", f"{commit}^1") == entry["tip_sha"]
    assert ("merge_parked", "warning", "T1") not in await far.bench.alerts()
    assert far.lane.yard.git("rev-parse", "main") == far.lane.yard.git("rev-parse", "HEAD"), "no local branch moves"


async def test_what_is_taken_back_is_the_work_and_nothing_of_others(far: Far) -> None:
    await far.lane.submit("T1", {"new.py": "n\n"})
    await far.lane.land()
    far.person({"theirs.py": "t\n"})
    far.hub.merge(1)
    await far.look()
    await far.bench.call("merge_revert", OWNER, entry_id="T1")
    await far.lane.land()
    assert [one["head"] for one in far.hub.pulls] == ["wvo/T1-1", "wvo/T1-2"]
    far.hub.merge(2)
    await far.look()
    names = git(far.hub.bare, "ls-tree", "--name-only", "main").split()
    assert ("theirs.py" in names, "new.py" in names) == (True, False)
    assert await far.bench.status("T1") == ["pending"]


async def test_red_checks_send_the_work_back_and_the_next_opens_another(far: Far, way: str) -> None:
    await far.lane.submit("T1", {"code.py": "a = 2\n"})
    await far.lane.land()
    far.hub.check(1, "lint", "success")
    far.hub.check(1, "tests", None)
    far.hub.check(1, "docs", "failure", "a link leads nowhere", kind="status")
    await far.look()
    await far.waits("T1", "pull/1 is open")

    far.hub.checks = [one for one in far.hub.checks if one["name"] != "tests"]
    far.hub.check(1, "tests", "failure", "2 of 9 failed")
    await far.look()

    entry = await far.entry("T1")
    assert (entry["state"], await far.bench.status("T1")) == ("red", ["pending"])
    for word in ("pull/1", "tests", "docs", "https://ci.example.org/tests"):
        assert word in entry["reason"]
    assert "lint" not in entry["reason"]
    resume = await far.bench.read(lambda tx: tx.memory.last_checkpoint("T1"))
    assert resume is not None and "https://ci.example.org/docs" in resume.summary

    await far.lane.again("T1", {"code.py": "a = 3\n"})
    await far.lane.land()
    await far.waits("T1", "pull/2 is open")
    far.hub.check(2, "tests", "success")
    await far.look()
    await far.waits("T1", "pull/2 is open")
    commit = far.hub.merge(2)
    await far.look()
    await far.is_done("T1", commit, 2)
    assert far.show("code.py") == "a = 3"


async def test_checks_that_ran_again_and_passed_are_not_red(
    far: Far, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.by_gh(tmp_path / "bin", monkeypatch)
    await far.lane.submit("T1", {"new.py": "n\n"})
    await far.lane.land()
    hub.check(1, "tests", "failure")
    hub.check(1, "tests", "success")
    hub.check(1, "old", "cancelled")
    await far.look()
    await far.waits("T1", "pull/1 is open")


async def test_checks_that_nobody_may_see_are_left_to_people(far: Far) -> None:
    await far.lane.submit("T1", {"new.py": "n\n"})
    await far.lane.land()
    answer = far.hub.answer

    def denied(method: str, path: str, token: str | None, content: bytes) -> Any:
        if "/commits/" in path:
            return 403, {}, {"message": "Resource not accessible by personal access token"}
        return answer(method, path, token, content)

    far.hub.answer = denied
    await far.look()
    await far.waits("T1", "pull/1 is open")
    commit = far.hub.merge(1)
    await far.look()
    await far.is_done("T1", commit)


async def test_what_a_person_pushed_to_it_is_theirs_to_mend(far: Far) -> None:
    await far.lane.submit("T1", {"new.py": "n\n"})
    await far.lane.land()
    theirs = git(far.hub.bare, *PAT, "commit-tree", "-p", "wvo/T1-1", "-m", "more", "wvo/T1-1^{tree}")
    git(far.hub.bare, "update-ref", "refs/heads/wvo/T1-1", theirs)
    far.hub.check(1, "tests", "failure")
    await far.look()
    await far.waits("T1", "somebody else pushed")
    commit = far.hub.merge(1)
    await far.look()
    await far.is_done("T1", commit)


async def test_one_that_a_person_closed_waits_until_a_person_opens_it_again(far: Far, way: str) -> None:
    entry = await far.lane.submit("T1", {"new.py": "n\n"})
    await far.lane.land()
    far.hub.pulls[0]["state"] = "closed"
    await far.look()
    await far.waits("T1", "a person closed https://github.com/shop/code/pull/1", again=False)
    assert ("merge_parked", "critical", "T1") in await far.bench.alerts()
    await far.look()
    assert len(far.hub.pulls) == 1

    far.hub.pulls[0]["state"] = "open"
    await far.bench.call("merge_retry", OWNER, entry_id=entry["entry_id"])
    await far.lane.land()
    await far.waits("T1", "pull/1 is open")
    commit = far.hub.merge(1)
    await far.look()
    await far.is_done("T1", commit)


async def test_a_conflict_with_what_others_merged_goes_back_with_its_files(far: Far, way: str) -> None:
    await far.lane.submit("T1", {"code.py": "a = 2\n"})
    await far.lane.land()
    far.person({"code.py": "a = 7\n"})
    far.hub.pulls[0]["conflicts"] = True
    await far.look()
    entry = await far.entry("T1")
    assert (entry["state"], await far.bench.status("T1")) == ("conflict", ["pending"])
    assert "code.py" in entry["reason"]

    await far.lane.again("T1", {"code.py": "a = 9\n"})
    await far.lane.land()
    commit = far.hub.merge(2)
    await far.look()
    await far.is_done("T1", commit, 2)
    assert far.show("code.py") == "a = 9"


FAILURES: dict[str, tuple[int, dict[str, str], str]] = {
    "an error": (500, {}, "GitHub answered 500"),
    "a proxy": (502, {}, "GitHub answered 502"),
    "a login": (401, {}, "the token is wrong"),
    "the rate": (403, {"retry-after": "600"}, "rate limit is used up for 600 s"),
}


@pytest.mark.parametrize("what", FAILURES)
async def test_a_forge_that_does_not_answer_is_asked_again(far: Far, what: str) -> None:
    status, headers, words = FAILURES[what]
    await far.lane.submit("T1", {"new.py": "n\n"})
    far.hub.fails = [(status, headers, {"message": "not now"})]
    await far.lane.land()
    await far.waits("T1", words)
    assert far.hub.pulls == []

    asked = len(far.hub.asked)
    await far.look()
    if what == "the rate":
        assert len(far.hub.asked) == asked, "it was told to wait for longer"
        far.bench.clock.advance(seconds=600)
        await far.lane.land()
    await far.waits("T1", "pull/1 is open")


async def test_a_forge_that_is_away_is_asked_again(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    await far.lane.submit("T1", {"new.py": "n\n"})
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    await far.lane.land()
    await far.waits("T1", "GitHub cannot be reached")
    monkeypatch.setenv("GITHUB_API_URL", far.hub.address)
    await far.look()
    await far.waits("T1", "pull/1 is open")


def dying(monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """The runner ends before or after a step, once."""
    when, _, name = at.partition(" ")
    owner, attribute = {
        "pinning": (pushing, "pinned_remotely"),
        "pushing": (pushing, "put"),
        "opening": (Api, "open"),
        "finding": (Api, "find"),
        "merging": (pull_requests, "_merged"),
    }[name]
    real: Callable[..., Any] = getattr(owner, attribute)
    over: list[bool] = []

    def step(*arguments: Any, **more: Any) -> Any:
        wanted = not over and (name != "pushing" or str(arguments[-1]).startswith("refs/heads/"))
        if wanted:
            over.append(True)
            if when == "before":
                raise Died
        found = real(*arguments, **more)
        if wanted:
            raise Died
        return found

    monkeypatch.setattr(owner, attribute, step)


STEPS = [f"{when} {name}" for name in ("pushing", "opening", "finding", "merging") for when in ("before", "after")]


@pytest.mark.parametrize("at", STEPS)
async def test_a_runner_that_dies_loses_and_repeats_nothing(far: Far, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await far.lane.submit("T1", {"new.py": "n\n"})
    merged = ""
    if "merging" in at:
        await far.lane.land()
        merged = far.hub.merge(1)
        far.bench.clock.advance(seconds=61)
    dying(monkeypatch, at)
    with pytest.raises(BaseException) as error:
        await far.lane.land()
    assert error.group_contains(Died) if isinstance(error.value, BaseExceptionGroup) else isinstance(error.value, Died)

    far.person({"theirs.py": "t\n"})
    far.lane.queue = far.lane.runner(NEXT)
    await far.look()
    await far.look()
    if not merged:
        await far.waits("T1", "pull/1 is open")
        merged = far.hub.merge(1)
        await far.look()

    await far.is_done("T1", merged)
    assert len(far.hub.pulls) == 1
    assert (far.count(), far.show("new.py"), far.show("theirs.py")) == (3, "n", "t")


class Pair(Hosts):
    """Two hosts with clones of what the hub has."""

    def __init__(self, bench: Bench, folder: Path, origin: Path, hub: Hub) -> None:
        super().__init__(bench, folder / "hosts", origin)
        for lane in self.lanes:
            lane.yard.git("remote", "set-url", "origin", REMOTE)
            lane.rule(mode=MergeMode.PULL_REQUEST)
        self.far = Far(self.lanes[0], hub)

    async def look(self) -> None:
        self.bench.clock.advance(seconds=61)
        for lane in self.lanes:
            await lane.land()


@pytest.mark.both_stores
async def test_two_hosts_follow_what_either_opened(bench: Bench, tmp_path: Path, origin: Path, hub: Hub) -> None:
    (tmp_path / "hosts").mkdir()
    pair = Pair(bench, tmp_path, origin, hub)
    for number, lane in enumerate(pair.lanes):
        await lane.submit(f"T{number}", {f"new{number}.py": "n\n"})
    await pair.look()
    await pair.look()
    assert sorted(one["head"] for one in hub.pulls) == ["wvo/T0-1", "wvo/T1-1"]

    commits = {one["head"]: hub.merge(one["number"]) for one in hub.pulls}
    numbers = {one["head"]: one["number"] for one in hub.pulls}
    pair.bench.clock.advance(seconds=61)
    await pair.lanes[1].land()  # either can: the other one is gone
    for task_id in ("T0", "T1"):
        head = f"wvo/{task_id}-1"
        await pair.far.is_done(task_id, commits[head], numbers[head])
    assert pair.far.count() == 3


async def test_work_that_people_withdraw_is_not_followed(far: Far) -> None:
    await far.lane.submit("T1", {"new.py": "n\n"})
    await far.lane.land()
    await far.bench.call("update_task", OWNER, task_id="T1", status="cancelled")
    await far.look()
    assert await far.lane.states() == {"T1": "withdrawn"}
