"""What a person decides reaches the worker that waits for it at once, and nobody runs meanwhile (APPR-1)."""

from collections.abc import Callable, Mapping
from typing import Any

import anyio
import pytest

from tests.support.services import Services
from tests.support.shops import DONE, OWNER, WRITES, Shop, tasks, workers
from tests.support.stores import a_store
from wvo_mcp.domain.event import Event
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.task import Status
from wvo_mcp.domain.worker import WorkerState
from wvo_mcp.execution.agents.lines import LineDriver
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.operations import ALL
from wvo_mcp.ports.agents import Launch

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("APPR-1")]
_SECONDS = 2.0


async def said(made: Shop, command: str, given: Mapping[str, Any]) -> None:
    """By a person, whose command is a process of its own."""
    other, root = a_store(made.root / "state", made.environ.get("WVO_DATABASE_URL")), made.root
    await other.open()
    roadmap, directives = RoadmapSource(root / "roadmap.yaml"), DirectiveFiles(root)
    await ALL[command](Services(store=other, policy=Policy(), roadmap=roadmap, directives=directives), OWNER, given)
    await other.close()


@pytest.mark.parametrize("verdict", ["approve", "deny"])
async def test_a_decision_reaches_a_parked_worker_within_two_seconds(shop: Callable[..., Shop], verdict: str) -> None:
    made = shop(A=[{"run": "git push origin main"}, WRITES, DONE])
    async with made.run() as run, anyio.create_task_group() as group:
        group.start_soon(run.work)

        async def parked() -> bool:
            return any(row.state is WorkerState.WAITING_APPROVAL and row.pid is None for row in await workers(run))

        await made.until(parked)
        store = run.parts.store
        await said(made, verdict, {"id": "A-1", "reason": "as I say"})

        async def events() -> list[Event]:
            return await store.read(OWNER, lambda tx: tx.events.of_task("A", 100))

        async def goes_on() -> bool:
            return [event.kind for event in await events()].count("task.claimed") == 2

        await made.until(goes_on)
        found = await events()
        decided = next(event for event in found if event.kind in ("task.approved", "task.denied"))
        claimed = [event for event in found if event.kind == "task.claimed"][-1]
        assert (claimed.at - decided.at).total_seconds() <= _SECONDS
        run.stop()  # what becomes of the task is another test's


QUESTION: Mapping[str, Any] = {
    "call": "message_send",
    "with": {"to": "person", "kind": "question", "body": "Blue or red?"},
}


@pytest.mark.requirement("CTX-4")
async def test_a_worker_asks_a_person_holds_nothing_meanwhile_and_goes_on_with_the_answer(
    shop: Callable[..., Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts: list[str] = []
    start = LineDriver.start

    def noted(driver: LineDriver, launch: Launch) -> Any:
        prompts.append(launch.prompt)
        return start(driver, launch)

    monkeypatch.setattr(LineDriver, "start", noted)
    made = shop(A=[QUESTION, {"stop": "I wait for the answer."}, WRITES, DONE])
    async with made.run() as run, anyio.create_task_group() as group:
        group.start_soon(run.work)

        async def parked() -> bool:
            found = await workers(run)
            return any(row.state is WorkerState.WAITING_APPROVAL and row.pid is None for row in found)

        await made.until(parked)
        waiting = (await tasks(run, "A"))["A"]
        assert (waiting.status, waiting.assigned_to) == (Status.AWAITING_APPROVAL, None)
        await said(made, "answer", {"id": "A-1", "body": "Blue, as the sky is."})

        async def done() -> bool:
            return (await tasks(run, "A"))["A"].status in (Status.DONE, Status.IN_REVIEW)

        await made.until(done)
    assert "Blue, as the sky is." in prompts[-1]
    assert len(prompts) == 2
