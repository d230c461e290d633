"""What is noticed decides when files are kept; a watcher that may have missed something is not trusted (WS-2)."""

from collections.abc import Callable, Collection
from typing import Any

import anyio
import pytest

from tests.support.bench import ANN
from tests.support.yard import JOURNAL, Yard
from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.errors import StoreBusy
from wvo_mcp.execution.workspaces.rows import Rows
from wvo_mcp.execution.workspaces.watching import FileWatchers
from wvo_mcp.orchestration.workspaces import timing, watches
from wvo_mcp.orchestration.workspaces.triggers import Guard, Triggers
from wvo_mcp.orchestration.workspaces.watches import TRUSTED, Watches
from wvo_mcp.ports.checkpoints import Taken
from wvo_mcp.ports.watching import Noticed

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-2")]
QUIET = Noticed(sure=True)


class Scripted:
    """`ports.Watchers` that see what a test says."""

    def __init__(self) -> None:
        self.seen: dict[str, Noticed] = {}
        self.followed: list[set[str]] = []
        self.distrusted: list[str] = []
        self.ended = False
        self.busy = False

    async def follow(self, task_ids: Collection[str]) -> None:
        self.followed.append(set(task_ids))
        if self.busy:
            raise StoreBusy("later")

    def look(self, task_id: str) -> Noticed:
        return self.seen.get(task_id, Noticed())

    def mark(self, task_id: str) -> None:
        seen = self.look(task_id)
        self.seen[task_id] = Noticed(sure=seen.sure, trouble=seen.trouble)

    def distrust(self, task_id: str, why: str) -> None:
        self.distrusted.append(task_id)
        self.seen[task_id] = Noticed(trouble=why)

    def delays(self) -> list[float]:
        return [12.5]

    async def end(self) -> None:
        self.ended = True


class Scene:
    def __init__(self) -> None:
        self.watchers = Scripted()
        self.running = {"T1"}
        self.asked: list[tuple[str, Trigger]] = []
        self.delays: list[float] = []
        self.fresh = True
        self.fails = False
        self.watches = Watches(self.watchers, lambda: self.running, self.take, self.delays.append, 0.001)

    async def take(self, task_id: str, trigger: Trigger) -> Taken | None:
        self.asked.append((task_id, trigger))
        if self.fails:
            return None
        return Taken(workspace_id="ws", seq=1, number=1, commit="c", files_changed=1, took_ms=1, fresh=self.fresh)

    async def until(self, so: Callable[[], object]) -> None:
        """Run until it is so."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.watches.run)
            with anyio.fail_after(60):
                while not so():
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_many_changes_make_a_checkpoint_before_the_interval(scene: Scene) -> None:
    scene.watchers.seen["T1"] = Noticed(files=49, sure=True)
    await scene.until(lambda: len(scene.watchers.followed) > 3)
    assert scene.asked == []
    scene.watchers.seen["T1"] = Noticed(files=50, sure=True)
    await scene.until(lambda: scene.asked)
    assert scene.asked == [("T1", Trigger.CHANGES)]
    assert (scene.watchers.look("T1").files, scene.delays[0], scene.watchers.ended) == (0, 12.5, True)


async def test_checkpoints_by_changes_keep_apart(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.watchers.seen["T1"] = Noticed(files=50, sure=True)
    await scene.until(lambda: scene.asked)
    scene.watchers.seen["T1"] = Noticed(files=5_000, sure=True)
    before = len(scene.watchers.followed)
    await scene.until(lambda: len(scene.watchers.followed) > before + 3)
    assert len(scene.asked) == 1
    monkeypatch.setattr(watches, "APART_SECONDS", 0.0)
    await scene.until(lambda: len(scene.asked) > 1)


async def test_a_quiet_interval_makes_none_but_for_every_fourth(scene: Scene) -> None:
    scene.watchers.seen["T1"] = QUIET
    scene.fresh = False
    for _ in range(2 * TRUSTED):
        await scene.watches.at_interval("T1")
    assert scene.asked == [("T1", Trigger.INTERVAL)] * 2
    scene.watchers.seen["T1"] = Noticed(files=1, sure=True)
    await scene.watches.at_interval("T1")
    assert len(scene.asked) == 3


@pytest.mark.parametrize("seen", [Noticed(), Noticed(trouble="it died"), Noticed(files=1, sure=True)])
async def test_without_a_watcher_that_is_sure_each_interval_makes_one(scene: Scene, seen: Noticed) -> None:
    for _ in range(3):
        scene.watchers.seen["T1"] = seen
        await scene.watches.at_interval("T1")
    assert len(scene.asked) == 3


async def test_what_a_failed_checkpoint_did_not_keep_is_tried_again(scene: Scene) -> None:
    scene.watchers.seen["T1"] = Noticed(files=3, sure=True)
    scene.fails = True
    await scene.watches.at_interval("T1")
    scene.fails = False
    await scene.watches.at_interval("T1")
    await scene.watches.at_interval("T1")
    assert len(scene.asked) == 2


async def test_why_one_is_not_watched_is_said_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.watchers.seen["T1"] = Noticed(trouble="no watches left")
    await scene.until(lambda: len(scene.watchers.followed) > 3)
    assert [record.getMessage().count("no watches left") for record in caplog.records] == [1]


async def test_a_watcher_that_missed_a_change_is_watched_no_more(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "TRUSTED", 1)
    monkeypatch.setattr(watches, "_LATE_SECONDS", 0.0)
    scene.watchers.seen["T1"] = QUIET
    scene.fresh = False
    await scene.watches.at_interval("T1")
    await scene.until(lambda: len(scene.watchers.followed) > 3)
    assert scene.watchers.distrusted == []
    scene.fresh = True
    await scene.watches.at_interval("T1")
    await scene.until(lambda: scene.watchers.distrusted)


async def test_a_change_that_is_noticed_late_was_not_missed(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "TRUSTED", 1)
    monkeypatch.setattr(watches, "_LATE_SECONDS", 0.0)
    scene.watchers.seen["T1"] = QUIET
    await scene.watches.at_interval("T1")
    scene.watchers.seen["T1"] = Noticed(files=1, sure=True)
    await scene.until(lambda: len(scene.watchers.followed) > 3)
    assert scene.watchers.distrusted == []


async def test_those_who_work_are_followed_also_after_the_store_was_away(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.watchers.busy = True
    await scene.until(lambda: len(scene.watchers.followed) > 1)
    scene.watchers.busy = False
    scene.running = {"T2"}
    await scene.until(lambda: scene.watchers.followed[-1] == {"T2"})
    assert "not watched for now" in caplog.text


async def test_the_real_watcher_makes_a_checkpoint_of_fifty_new_files(yard: Yard) -> None:
    _, place = await yard.opened("T1")
    store: Any = yard.bench.store
    watchers = FileWatchers(yard.root, Rows(store, JOURNAL), yard.root / "state" / "workers" / "changes")
    guard = Guard(store, yard.files, yard.rollbacks, watchers)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Triggers(guard, ANN, lambda: ["T1"], 3_600).run)
        with anyio.fail_after(120):
            while not watchers.look("T1").sure:
                watchers.mark("T1")
                await anyio.sleep(0.05)
            yard.write(place.path, {f"f{number}.py": "1\n" for number in range(60)})
            kept: Collection[str] = ()
            while not {"checkpoint", "noticing"} <= {*kept}:
                await guard.timing.keep(store, ANN)
                kept, _ = await yard.bench.read(timing.kept)
        tasks.cancel_scope.cancel()
    rows = await yard.bench.read(lambda tx: tx.snapshots.of_task("T1", 100))
    assert (rows[0]["trigger"], rows[0]["files_changed"]) == ("changes", 60)
