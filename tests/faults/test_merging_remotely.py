"""SIGKILL before and after each git command, request and write while work lands at a remote, by push or by pull request."""

import copy
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults import merging
from tests.faults.placing import yard_of
from tests.support.github import PAT, Hub, github
from tests.support.nursery import Nursery
from tests.support.scale import part_of
from tests.support.yard import Yard, git

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.sqlite, pytest.mark.requirement("MERGE-7", "MERGE-6")]


@pytest.fixture
def hub(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with github(tmp_path / "work" / "hub.git", monkeypatch) as hub:
        yield hub


@pytest.fixture
def nursery(tmp_path: Path, hub: Hub) -> Iterator[Nursery]:
    """Its processes reach the hub."""
    with Nursery("tests.faults.merging", tmp_path / "nursery.log") as started:
        yield started


@dataclass
class Shore:
    """A folder with a remote, as it is before each kill, and what runs in it."""

    nursery: Nursery
    hub: Hub
    tmp: Path
    mode: str
    policy: str

    def __post_init__(self) -> None:
        self.folder = self.tmp / "work"
        self.bare = self.folder / "hub.git"
        self._pulls: list[dict[str, Any]] = []
        self.lives = 1

    async def begin(self, *, opened: bool = False) -> None:
        """`opened`: a pull request was merged by a person, another conflicts with that, and the runner has yet to see it."""
        self.folder.mkdir()
        await merging.begun(self.folder, self.mode)
        if opened:
            assert self.spawn(0) == 0
            self.people_merge()
            self.lives = 2
        shutil.copytree(self.folder, self.tmp / "kept", symlinks=True)
        self._pulls = copy.deepcopy(self.hub.pulls)
        self._refs = self._others(self.bare) | self._others(self.folder / "shop")

    def again(self) -> None:
        """At the same place: rows and git know worktrees by it."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.tmp / "kept", self.folder, symlinks=True)
        self.hub.pulls = copy.deepcopy(self._pulls)

    def spawn(self, crash_at: int, record: Path | None = None) -> int:
        more = {} if record is None else {"record": str(record)}
        given = {"folder": str(self.folder), "policy": self.policy, "mode": self.mode, "life": self.lives}
        return self.nursery.wait(self.nursery.spawn(**given, crash_at=crash_at, **more))

    async def live(self, life: int) -> None:
        await merging.lived(self.folder, self.policy, self.mode, life)

    def _others(self, where: Path) -> set[str]:
        """The refs there that are not ours, but for the target of the remote."""
        shown = git(where, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        ours = ("refs/wvo/", "refs/heads/wvo/")
        found = {f"{where.name} {line}" for line in shown if not line.startswith(ours)}
        return {line for line in found if not line.startswith("hub.git refs/heads/main ")}

    def people_merge(self) -> None:
        """The pull request of T1 is merged; that of T2 conflicts with it."""
        assert [one["head"] for one in self.hub.pulls] == ["wvo/T1-1", "wvo/T2-1"], "each was opened once"
        self.hub.merge(1)
        self.hub.pulls[1]["conflicts"] = True

    def person_pushes(self) -> None:
        other = self.tmp / "person"
        shutil.rmtree(other, ignore_errors=True)
        git(self.tmp, "clone", "-q", str(self.bare), str(other))
        (other / "theirs.py").write_text("t\n")
        git(other, "add", "-A")
        git(other, *PAT, "commit", "-q", "-m", "by hand")
        git(other, "push", "-q", "origin", "HEAD:main")

    async def check(self, at: int, pushed: bool) -> None:
        """Each entry has its one end, the target holds what passed, and no ref is lost."""
        yard, store = await yard_of(self.folder)
        try:
            await yard.places.recover()
            await self._check_store(yard, at)
            await self._check_landed(yard, at)
        finally:
            await store.close()
        count = int(git(self.bare, "rev-list", "--count", "--first-parent", "main"))
        assert count == 2 + pushed, f"it landed more than once, at {at}"
        for commit in git(self.bare, "rev-list", "main").split():
            names = set(git(self.bare, "ls-tree", "--name-only", commit).split())
            code = git(self.bare, "show", f"{commit}:code.py")
            assert "bad.py" not in names and code == ("a = 2" if "new.py" in names else "a = 1"), at
        if pushed:
            assert git(self.bare, "show", "main:theirs.py") == "t", at
        assert self._others(self.bare) | self._others(self.folder / "shop") == self._refs, at
        assert yard.git("status", "--porcelain") == "M mine.py\nAM staged.txt", at
        assert (yard.root / "code.py").read_text() == "a = 1\n", "no local branch moves"
        assert [*(yard.root / ".git").rglob("*.lock"), *self.bare.rglob("*.lock")] == [], at
        if self.mode == "pull_request":
            assert [one["head"] for one in self.hub.pulls] == ["wvo/T1-1", "wvo/T2-1"], at

    async def _check_store(self, yard: Yard, at: int) -> None:
        entries = await yard.bench.sql("SELECT task_id, state, reason FROM merge_entries ORDER BY seq")
        states = {entry["task_id"]: entry["state"] for entry in entries}
        assert states == {"T1": "merged", "T2": "conflict", "T3": "red"}, (at, entries)
        assert await yard.bench.status("T1", "T2", "T3") == ["done", "pending", "pending"], at
        assert (await yard.bench.kinds("T1")).count("task.completed") == 1, at
        for task_id, entry in zip(("T2", "T3"), entries[1:], strict=True):
            assert entry["reason"], at
            assert (await yard.bench.kinds(task_id)).count("task.returned") == 1, at
            resume = await yard.bench.read(lambda tx, one=task_id: tx.memory.last_checkpoint(one))
            assert resume is not None and "could not land" in resume.summary, at

    async def _check_landed(self, yard: Yard, at: int) -> None:
        entries = await yard.bench.sql("SELECT task_id, landed_sha, commit_sha FROM merge_entries ORDER BY seq")
        git(self.bare, "merge-base", "--is-ancestor", entries[0]["landed_sha"], "main")
        for entry in entries:
            pin = f"refs/wvo/submit/{entry['task_id']}/1"
            assert yard.git("rev-parse", pin) == entry["commit_sha"], at
            there = git(self.bare, "for-each-ref", "--format=%(objectname)", pin)
            assert there in ("", entry["commit_sha"]), at
            assert there or entry["task_id"] == "T2", "only what conflicts at once was never pinned there"
        rows = await yard.bench.sql("SELECT task_id, state FROM workspaces ORDER BY task_id")
        assert {row["task_id"]: row["state"] for row in rows} == {"T1": "removed", "T2": "open", "T3": "open"}, at


async def every(shore: Shore, step: int, *, first: int = 1, opened: bool = False) -> int:
    """Kill it at call number `first` and each so many-th after it, and let another go on; the number of calls. At every second
    kill a person pushes before that one does."""
    await shore.begin(opened=opened)
    record = shore.tmp / "record"
    assert shore.spawn(0, record) == 0
    await ended(shore, 0, opened=opened)
    calls = int(record.read_text())
    kills = range(first, calls + 1, step)
    print(f"{len(kills)} kills, at every {step} calls of {calls}, from {first} on")  # noqa: T201 - shown where it fails
    for at, crash_at in enumerate(kills):
        shore.again()
        code = shore.spawn(crash_at)
        # What happens beside a landing (predictions, the slot) takes a few calls more or less.
        assert code == -9 or crash_at > calls * 0.9, "it ended before its time"
        await ended(shore, crash_at, opened=opened, pushed=at % 2 == 1)
    return calls


async def ended(shore: Shore, at: int, *, opened: bool, pushed: bool = False) -> None:
    """Another runner goes on to the end."""
    if pushed:
        shore.person_pushes()
    await shore.live(shore.lives + 1)
    if shore.mode == "pull_request" and not opened:
        shore.people_merge()
        await shore.live(shore.lives + 2)
    await shore.check(at, pushed)


WAYS = {"push": ("push", False), "opening": ("pull_request", False), "following": ("pull_request", True)}


@pytest.mark.parametrize("way", WAYS)
async def test_a_kill_at_any_step_of_a_landing_elsewhere_loses_and_repeats_nothing(
    nursery: Nursery, hub: Hub, tmp_path: Path, way: str
) -> None:
    mode, opened = WAYS[way]
    assert await every(Shore(nursery, hub, tmp_path, mode, "rebase"), 141, opened=opened) > 50


PARTS = {"push": 5, "opening": 7, "following": 1}
"""In how many full runs every call has its turn: all of them in one would take half an hour. Odd, for there is a call before
and one after each command."""


@pytest.mark.full
@pytest.mark.parametrize("policy", ["rebase", "merge"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_kill_at_each_step_of_a_landing_elsewhere_loses_and_repeats_nothing(
    nursery: Nursery, hub: Hub, tmp_path: Path, way: str, policy: str
) -> None:
    (mode, opened), parts = WAYS[way], PARTS[way]
    first = 1 + part_of(parts)
    assert await every(Shore(nursery, hub, tmp_path, mode, policy), parts, first=first, opened=opened) > 50
