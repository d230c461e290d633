"""The autopilot watches the worktrees of its workers, and keeps their files when many have changed (WS-2, WS-10)."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.shops import DONE, OWNER, WRITES, Shop, workers
from wvo_mcp.app.autopilot import Autopilot
from wvo_mcp.orchestration.workspaces import timing

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-2", "WS-10")]


async def _place(made: Shop, run: Autopilot) -> Path:
    """The worktree, once the worker writes in it."""
    found: list[Path] = []

    async def there() -> bool:
        places = [Path(row.workspace) for row in await workers(run) if row.workspace]
        found[:] = [place for place in places if (place / "early.txt").exists()]
        return bool(found)

    await made.until(there)
    return found[0]


async def test_many_changes_of_a_worker_are_logged_and_kept_at_once(shop: Callable[..., Shop]) -> None:
    early: Mapping[str, Any] = {"write": "early.txt", "text": "early\n"}
    made = shop(A=[{"say": "begun"}, early, {"until": "go"}, WRITES, DONE])
    summary: dict[str, Any] = {}
    async with made.run() as run, anyio.create_task_group() as group:

        async def work() -> None:
            summary.update(await run.work())

        group.start_soon(work)
        place = await _place(made, run)
        guard = run.parts.guard
        assert guard is not None and guard.watchers is not None
        watchers = guard.watchers

        async def sure() -> bool:
            watchers.mark("A")
            return watchers.look("A").sure

        await made.until(sure)
        for number in range(60):
            (place / f"f{number}.py").write_text("1\n")

        async def kept() -> bool:
            rows = await run.parts.store.read(OWNER, lambda tx: tx.snapshots.of_task("A", 10))
            return [row["trigger"] for row in rows if row["files_changed"] >= 60] == ["changes"]

        await made.until(kept)
        (log,) = (run.root / "state" / "workers" / "changes").iterdir()
        paths = {json.loads(line).get("path") for line in log.read_text("ascii").splitlines()}
        assert {f"f{number}.py" for number in range(60)} <= paths

        async def timed() -> bool:
            await guard.timing.keep(run.parts.store, run.parts.caller)
            took, _ = await run.parts.store.read(OWNER, timing.kept)
            return {"checkpoint", "validation", "noticing"} <= took.keys()

        await made.until(timed)
        (place / "go").write_text("")
    assert [one["task_id"] for one in summary["done"]] == ["A"], (summary, made.news)
