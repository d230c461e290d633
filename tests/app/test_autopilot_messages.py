"""What people and agents tell a worker reaches it while it works, and its answer comes back (CTX-4)."""

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from tests.support.shops import DONE, OWNER, WRITES, Shop, workers
from wvo_mcp.domain.messages import MessageKind
from wvo_mcp.execution.agents.scripted import ScriptedRun
from wvo_mcp.orchestration import talking
from wvo_mcp.ports import Transaction

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CTX-4")]


async def test_a_worker_is_told_at_once_what_a_person_says_to_its_task(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    say = ScriptedRun.say

    async def noted(run: ScriptedRun, text: str) -> None:
        heard.append(text)
        await say(run, text)

    monkeypatch.setattr(ScriptedRun, "say", noted)
    made = shop(A=[{"call": "plan_next"}, {"until": "go"}, WRITES, DONE])
    async with made.run() as run, anyio.create_task_group() as group:
        group.start_soon(run.work)
        places: list[Path] = []

        async def works() -> bool:
            places[:] = [Path(row.workspace) for row in await workers(run) if row.workspace and row.pid]
            return bool(places) and places[0].is_dir()

        await made.until(works)

        async def tell(tx: Transaction) -> None:
            await talking.send(tx, await talking.address(tx, "A"), MessageKind.NOTE, "use tabs")

        await run.parts.store.write(OWNER, tell)

        async def told() -> bool:
            return bool(heard)

        await made.until(told)
        (places[0] / "go").write_text("")
    assert 'n-1, note from a person on A: "use tabs"' in heard[0]
    assert len([text for text in heard if "use tabs" in text]) == 1
