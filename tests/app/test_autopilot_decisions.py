"""What a person decides reaches the worker that waits for it at once, and nobody runs meanwhile (APPR-1)."""

from collections.abc import Callable

import anyio
import pytest

from tests.support.services import Services
from tests.support.shops import DONE, OWNER, WRITES, Shop, workers
from tests.support.stores import a_store
from wvo_mcp.domain.event import Event
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.worker import WorkerState
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.operations import ALL

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("APPR-1")]
_SECONDS = 2.0


@pytest.mark.parametrize("verdict", ["approve", "deny"])
async def test_a_decision_reaches_a_parked_worker_within_two_seconds(shop: Callable[..., Shop], verdict: str) -> None:
    made = shop(A=[{"run": "git push origin main"}, WRITES, DONE])
    async with made.run() as run, anyio.create_task_group() as group:
        group.start_soon(run.work)

        async def parked() -> bool:
            return any(row.state is WorkerState.WAITING_APPROVAL and row.pid is None for row in await workers(run))

        await made.until(parked)
        store, root = run.parts.store, made.root
        other = a_store(root / "state", made.environ.get("WVO_DATABASE_URL"))  # a command is a process of its own
        await other.open()
        roadmap, directives = RoadmapSource(root / "roadmap.yaml"), DirectiveFiles(root)
        services = Services(store=other, policy=Policy(), roadmap=roadmap, directives=directives)
        await ALL[verdict](services, OWNER, {"id": "A-1", "reason": "as I say"})
        await other.close()

        async def events() -> list[Event]:
            return await store.read(OWNER, lambda tx: tx.events.of_task("A", 100))

        async def goes_on() -> bool:
            return [event.kind for event in await events()].count("task.claimed") == 2

        await made.until(goes_on)
        found = await events()
        decided = next(event for event in found if event.kind in ("task.approved", "task.denied"))
        claimed = [event for event in found if event.kind == "task.claimed"][-1]
        assert (claimed.at - decided.at).total_seconds() <= _SECONDS
