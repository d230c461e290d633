"""Long work: a handle at once, polled where it was begun, lost with its server and never silently."""

import itertools
import threading
from collections.abc import Callable, Generator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskGroup

from tests.support.bench import ANN, BOB, Bench, a_task
from wvo_mcp.errors import InvalidInput, NotFound, WvoError
from wvo_mcp.orchestration import jobs as module
from wvo_mcp.orchestration.jobs import Jobs, LongWork, Progress, Work

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CORE-10")]

SOON = 60.0
"""Long enough that what is to be waited for has ended; nothing waits so long."""


async def jobs_in(tasks: TaskGroup, patience: float) -> Jobs:
    jobs = Jobs(patience)
    await jobs.start(tasks)
    return jobs


class Held:
    """Work that goes on until it is let go; how often it was begun."""

    def __init__(self, outcome: Callable[[], dict[str, Any]] = lambda: {"made": 1}) -> None:
        self.begun = 0
        self.let_go = anyio.Event()
        self.outcome = outcome

    async def __call__(self, progress: Progress) -> dict[str, Any]:
        self.begun += 1
        progress.report(0.25, "a quarter")
        await self.let_go.wait()
        return self.outcome()


async def test_what_is_done_soon_is_answered_at_once() -> None:
    told: list[tuple[float, str]] = []

    async def tell(done: float, note: str) -> None:
        told.append((done, note))

    async def quick(progress: Progress) -> dict[str, Any]:
        progress.report(0.5, "half")
        await anyio.lowlevel.checkpoint()
        return {"made": 2}

    async with anyio.create_task_group() as tasks:
        assert await (await jobs_in(tasks, SOON)).ask(ANN, "forecast", {"runs": 1}, quick, tell) == {"made": 2}
    assert told


async def test_what_takes_longer_is_polled_by_its_handle_until_its_result_is_there() -> None:
    work = Held()
    async with anyio.create_task_group() as tasks:
        jobs = await jobs_in(tasks, 0.0)
        handle = (await jobs.ask(ANN, "forecast", {"runs": 1}, work))["handle"]
        await anyio.wait_all_tasks_blocked()
        running = await jobs.poll("forecast", handle)
        assert (running["state"], running["progress"], running["note"]) == ("running", 0.25, "a quarter")

        # The same question finds the same work; another agent's, or another question, is its own.
        assert (await jobs.ask(ANN, "forecast", {"runs": 1}, work))["handle"] == handle
        second = await jobs.ask(BOB, "forecast", {"runs": 1}, work)
        third = await jobs.ask(ANN, "forecast", {"runs": 2}, work)
        assert len({handle, second["handle"], third["handle"]}) == 3
        with pytest.raises(NotFound):
            await jobs.poll("import_tasks", handle)

        work.let_go.set()
        await anyio.wait_all_tasks_blocked()
        for one in (handle, second["handle"], third["handle"]):
            assert await jobs.poll("forecast", one) == {"made": 1}
    assert work.begun == 3


async def test_what_went_wrong_is_raised_for_whoever_asks() -> None:
    def refuse() -> dict[str, Any]:
        raise InvalidInput("text", "line 3: not JSON")

    async with anyio.create_task_group() as tasks:
        work, jobs = Held(refuse), await jobs_in(tasks, 0.0)
        handle = (await jobs.ask(ANN, "import_tasks", {}, work))["handle"]
        work.let_go.set()
        await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            with pytest.raises(InvalidInput, match="not JSON"):
                await jobs.poll("import_tasks", handle)


async def test_a_defect_of_a_job_is_told_by_a_reference_that_the_log_has(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> dict[str, Any]:
        raise ZeroDivisionError("by what?")

    async with anyio.create_task_group() as tasks:
        work, jobs = Held(fail), await jobs_in(tasks, 0.0)
        handle = (await jobs.ask(ANN, "forecast", {}, work))["handle"]
        work.let_go.set()
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(WvoError) as told:
            await jobs.poll("forecast", handle)
        assert (told.value.code, told.value.retryable) == ("internal", False)
        assert told.value.details["ref"] in caplog.text


async def test_of_the_jobs_that_ended_the_last_ones_are_kept() -> None:
    async with anyio.create_task_group() as tasks:
        jobs, endless = await jobs_in(tasks, 0.0), Held()
        running = (await jobs.ask(ANN, "forecast", {}, endless))["handle"]
        ended: list[str] = []
        for number in range(module.KEPT + 2):
            work = Held()
            ended.append((await jobs.ask(ANN, "forecast", {"seed": number}, work))["handle"])
            work.let_go.set()
            await anyio.wait_all_tasks_blocked()

        assert (await jobs.poll("forecast", running))["state"] == "running"
        assert await jobs.poll("forecast", ended[-1]) == {"made": 1}
        with pytest.raises(NotFound) as told:
            await jobs.poll("forecast", ended[0])
        assert "without the handle" in told.value.hint
        endless.let_go.set()


async def test_what_still_runs_when_its_server_stops_has_ended_then() -> None:
    ended = anyio.Event()

    async def endless(progress: Progress) -> dict[str, Any]:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
        return {}

    async with anyio.create_task_group() as tasks:
        jobs = await jobs_in(tasks, 0.0)
        await jobs.ask(ANN, "forecast", {}, endless)
        await anyio.wait_all_tasks_blocked()

        await jobs.stop()
        assert ended.is_set()


@pytest.mark.parametrize(("each", "first"), [(0.005, 4), (100.0, 1)], ids=["idle", "stopped before the first step"])
async def test_steps_aside_leave_the_loop_free_and_end_when_they_are_cancelled(
    monkeypatch: pytest.MonkeyPatch, each: float, first: int
) -> None:
    """Between two looks at the clock passes what `each` says; a slice is many steps, and one at least."""
    passed = itertools.count()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(passed) * each))
    at_work = anyio.Event()
    steps_done = 0
    heard: list[int] = []

    def steps() -> Generator[int, None, int]:
        nonlocal steps_done
        while True:
            steps_done += 1
            yield steps_done

    async with anyio.create_task_group() as tasks:

        def hear(step: int) -> None:
            heard.append(step)
            at_work.set()

        tasks.start_soon(Progress().in_thread_slices, steps(), hear)
        await at_work.wait()
        tasks.cancel_scope.cancel()
    assert heard[0] == first
    then = steps_done
    await anyio.lowlevel.checkpoint()
    assert steps_done == then

    def few() -> Generator[int, None, str]:
        yield 1
        return "the end"

    assert await Progress().in_thread_slices(few()) == "the end"


async def test_without_a_server_the_work_is_done_while_one_waits() -> None:
    work: Work = Held()
    work.let_go.set()
    assert await LongWork().ask(ANN, "forecast", {}, work) == {"made": 1}

    async def refused(progress: Progress) -> dict[str, Any]:
        raise InvalidInput("text", "wrong")

    with pytest.raises(InvalidInput):
        await LongWork().ask(ANN, "import_tasks", {}, refused)


async def test_an_operation_that_is_long_answers_with_a_handle_and_is_asked_again_with_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.create(*(a_task(f"t{number}") for number in range(60)))
    answered = threading.Event()
    plain = module._slice

    def held(steps: Generator[Any, None, Any]) -> tuple[Any, tuple[Any] | None]:
        assert answered.wait(60)
        return plain(steps)

    monkeypatch.setattr(module, "_slice", held)
    async with anyio.create_task_group() as tasks:
        jobs = await jobs_in(tasks, 0.0)
        bench.services = replace(bench.services, jobs=jobs)
        begun = await bench.call("forecast", runs=5_000)
        assert begun["state"] == "running"
        answered.set()
        jobs._patience = SOON
        assert (await bench.call("forecast", handle=begun["handle"]))["runs"] == 5_000
    bench.services = replace(bench.services, jobs=LongWork())
    with pytest.raises(NotFound):
        await bench.call("forecast", handle="none")
