"""Files are kept at intervals while workers work, whatever happens to one of them (WS-2)."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from tests.support.bench import ANN, Bench
from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.errors import StoreBusy
from wvo_mcp.orchestration.workspaces import triggers
from wvo_mcp.orchestration.workspaces.triggers import Guard, Triggers
from wvo_mcp.ports.checkpoints import Difference, NoCheckpoint, Taken

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-2")]
NOTHING: Any = None


class Recorded:
    """`ports.Checkpoints` that keeps what was asked of it."""

    def __init__(self, on_take: Callable[[str], None]) -> None:
        self.asked: list[tuple[str, Trigger]] = []
        self._on_take = on_take

    async def take(
        self, task_id: str, trigger: Trigger, task_checkpoint: int | None = None, *, anew: bool = False
    ) -> Taken | None:
        self.asked.append((task_id, trigger))
        self._on_take(task_id)
        return None

    async def diff(
        self, task_id: str, number: int | None, *, whole: bool, most: int, since: int | None = None
    ) -> Difference | None:
        return None

    async def prune(self, task_id: str) -> int:
        return 0


async def test_each_running_task_again_and_again_until_none_runs(bench: Bench) -> None:
    running = ["T1", "T2"]
    over = anyio.Event()

    def on_take(task_id: str) -> None:
        if task_id == "T1":
            raise NoCheckpoint("The disk is full.")
        if len(checkpoints.asked) >= 6:
            running.clear()
            over.set()
            raise StoreBusy("later")

    store: Any = bench.store
    checkpoints = Recorded(on_take)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Triggers(Guard(store, checkpoints, NOTHING), ANN, lambda: running, 0.001).run)
        with anyio.fail_after(60):
            await over.wait()
        tasks.cancel_scope.cancel()
    assert checkpoints.asked == [("T1", Trigger.INTERVAL), ("T2", Trigger.INTERVAL)] * 3


@pytest.mark.requirement("WS-8")
async def test_files_of_those_who_work_alone_are_kept_and_nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    followed: list[str] = []
    over = anyio.Event()

    async def follow(_store: object, _caller: object, _rollbacks: object, task_id: str, _taken: object) -> None:
        followed.append(task_id)
        if len(followed) == 3:
            over.set()

    class Keeping(Recorded):
        async def take(self, task_id: str, trigger: Trigger, task_checkpoint: int | None = None, **more: Any) -> Any:
            await super().take(task_id, trigger)
            return SimpleNamespace()

    monkeypatch.setattr(triggers.violations, "follow", follow)
    checkpoints = Keeping(lambda _: None)
    timing: Any = SimpleNamespace(taken=_nothing, failed=_nothing, keep=_kept)
    guard = Guard(NOTHING, checkpoints, NOTHING, timing=timing)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Triggers(guard, ANN, lambda: ["T1", "T2"], 0.001, alone=lambda: ["T1"]).run)
        with anyio.fail_after(60):
            await over.wait()
        tasks.cancel_scope.cancel()
    assert {one for one, _ in checkpoints.asked} == {"T1", "T2"}
    assert set(followed) == {"T2"}


async def _kept(*_: object) -> None: ...


def _nothing(*_: object) -> None: ...
