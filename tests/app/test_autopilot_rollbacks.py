"""Files of a worker's workspace go back while it works: it stands still meanwhile, hears of it, and goes on in its session."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from tests.support.shops import DONE, OWNER, WRITES, Shop, tasks, workers
from wvo_mcp.app.autopilot import Autopilot
from wvo_mcp.domain.rollbacks import Extent, RollbackAsk
from wvo_mcp.orchestration.pool import watching
from wvo_mcp.orchestration.workspaces import pausing, reverting
from wvo_mcp.orchestration.workspaces.reverting import Reverted

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-9", "WS-5")]
BACK = RollbackAsk(task_id="A", to=0, extent=Extent.FULL)


class Flying:
    """The run of one worker on A, and what is asked for meanwhile."""

    def __init__(self, made: Shop) -> None:
        self.made = made
        self.summary: Mapping[str, Any] = {}

    def begin(self, run: Autopilot, group: TaskGroup) -> None:
        self.run = run
        group.start_soon(self._work)

    async def _work(self) -> None:
        self.summary = await self.run.work()

    async def writes(self, name: str) -> Path:
        """The file, once the worker has written it."""
        found: list[Path] = []

        async def there() -> bool:
            rows = await workers(self.run)
            found[:] = [file for row in rows if row.workspace and (file := Path(row.workspace) / name).exists()]
            return bool(found)

        await self.made.until(there)
        return found[0]

    async def back(self) -> Reverted:
        guard = self.run.parts.guard
        assert guard is not None
        found = await reverting.revert(self.run.parts.store, OWNER, guard.rollbacks, BACK, "a person asked for it")
        assert found is not None
        return found

    async def waits(self) -> bool:
        """Its server has made its session known, and it waits for the file that never comes."""
        return any(one.last_act is not None and "never" in one.last_act for one in await workers(self.run))


async def test_a_worker_stands_still_while_its_files_go_back_and_then_goes_on(shop: Callable[..., Shop]) -> None:
    early: Mapping[str, Any] = {"write": "early.txt", "text": "early\n"}
    made = shop(A=[{"say": "begun"}, early, {"until": "never"}, WRITES, DONE])
    flying = Flying(made)
    async with made.run() as run, anyio.create_task_group() as group:
        flying.begin(run, group)
        file = await flying.writes("early.txt")
        await made.until(flying.waits)
        found = await flying.back()
        assert (found.forced, found.rolled.reverted, file.exists()) == (False, ("early.txt",), False)

    rows_of = [one["event"] for one in made.news]
    assert rows_of.count("launched") == 1, "the same process went on"
    assert [one["task_id"] for one in flying.summary["done"]] == ["A"], (flying.summary, made.news)


async def test_each_of_two_pauses_that_follow_at_once_is_acknowledged(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool may see no moment between them."""
    monkeypatch.setattr(pausing, "FORCED_SECONDS", 20.0)
    early: Mapping[str, Any] = {"write": "early.txt", "text": "early\n"}
    made = shop(A=[{"say": "begun"}, early, {"until": "never"}, WRITES, DONE])
    flying = Flying(made)
    async with made.run() as run, anyio.create_task_group() as group:
        flying.begin(run, group)
        await flying.writes("early.txt")
        await made.until(flying.waits)
        for _ in range(3):
            async with pausing.paused(run.parts.store, OWNER, "A", "a person asked for it") as pause:
                assert (pause.holder is None, pause.forced) == (False, False)

    assert [one["event"] for one in made.news].count("launched") == 1, "the same process went on"
    assert [one["task_id"] for one in flying.summary["done"]] == ["A"], (flying.summary, made.news)


async def test_one_that_does_not_pause_is_ended_first_and_its_session_goes_on(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its program reads nothing while it waits."""
    monkeypatch.setattr(watching, "_QUIET_SECONDS", 0.2)
    monkeypatch.setattr(watching, "_INTERRUPTED_SECONDS", 0.1)
    monkeypatch.setattr(pausing, "FORCED_SECONDS", 60.0)
    early: Mapping[str, Any] = {"write": "early.txt", "text": "early\n"}
    deaf: Mapping[str, Any] = {"deaf": "never"}
    made = shop(A=[{"say": "begun"}, early, deaf, WRITES, DONE])
    flying = Flying(made)
    async with made.run() as run, anyio.create_task_group() as group:
        flying.begin(run, group)
        file = await flying.writes("early.txt")
        await made.until(flying.waits)
        found = await flying.back()
        assert (found.forced, file.exists()) == (False, False)
        found_tasks = await tasks(run, "A")
        assert found_tasks["A"].attempts == 0

    events = [one["event"] for one in made.news]
    assert (events.count("launched"), events.count("resumed")) == (1, 1), made.news
    assert [one["task_id"] for one in flying.summary["done"]] == ["A"], (flying.summary, made.news)


@pytest.mark.requirement("WS-8")
async def test_one_that_works_alone_is_ended_before_its_files_go_back_and_goes_on_later(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so: in the news, in the row that `wvo-mcp workers` shows, and as an event."""
    monkeypatch.setattr(watching, "_QUIET_SECONDS", 600.0)
    monkeypatch.setattr(watching, "_INTERRUPTED_SECONDS", 0.1)
    monkeypatch.setattr(pausing, "FORCED_SECONDS", 60.0)
    early: Mapping[str, Any] = {"write": "early.txt", "text": "early\n"}
    made = shop({"WVO_EXECUTION_MODE": "deterministic"}, A=[{"say": "begun"}, early, {"until": "never"}, WRITES, DONE])
    flying = Flying(made)
    async with made.run() as run, anyio.create_task_group() as group:
        flying.begin(run, group)
        file = await flying.writes("early.txt")
        await made.until(flying.waits)
        [row] = await workers(run)
        assert (row.reason or "").endswith("; deterministic: WVO_EXECUTION_MODE")
        found = await flying.back()
        assert (found.forced, file.exists()) == (False, False)
        events = await run.parts.store.read(OWNER, lambda tx: tx.events.of_task("A", 100))
        assert {"mode": "deterministic", "reason": "WVO_EXECUTION_MODE"}.items() <= next(
            one.data for one in events if one.kind == "worker.alone"
        ).items()

    said = [one["event"] for one in made.news]
    assert (said.count("launched"), said.count("resumed"), said.count("alone")) == (1, 1, 2), made.news
    assert [one["task_id"] for one in flying.summary["done"]] == ["A"], (flying.summary, made.news)
