"""Long work: a handle at once, polled from anywhere, lost with its server and never silently."""

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
from tests.support.sessions import an_agent
from wvo_mcp.errors import IncompatibleStore, InvalidInput, NotFound, StoreBusy, WvoError
from wvo_mcp.orchestration import jobs as module
from wvo_mcp.orchestration.jobs import Jobs, Progress, Work, in_foreground, polled
from wvo_mcp.store.records.jobs import Jobs as JobRepository

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("CORE-10")]

SERVER = an_agent("server")
OTHER = an_agent("other")
SOON = 60.0
"""Long enough that what is to be waited for has ended; nothing waits so long."""


class Held:
    """Work that goes on until it is let go; how often it was begun."""

    def __init__(self, outcome: Callable[[], dict[str, Any]] = lambda: {"made": 1}) -> None:
        self.begun = 0
        self.let_go = anyio.Event()
        self.outcome = outcome

    async def __call__(self, progress: Progress) -> dict[str, Any]:
        self.begun += 1
        progress.tell(0.25, "a quarter")
        await self.let_go.wait()
        return self.outcome()


def jobs_of(bench: Bench, tasks: TaskGroup, patience: float = 0.0) -> Jobs:
    return Jobs(bench.store, lambda: SERVER, tasks, patience)


async def settled(bench: Bench, handle: str) -> dict[str, Any]:
    """The row once it runs no more."""
    with anyio.fail_after(SOON):
        while True:
            (row,) = await bench.sql("SELECT * FROM jobs WHERE id = ?", handle)
            if row["state"] != "running":
                return row
            await anyio.sleep(0.01)


async def test_what_is_done_soon_is_answered_at_once_and_leaves_no_trace(bench: Bench) -> None:
    told: list[tuple[float, str]] = []

    async def tell(done: float, note: str) -> None:
        told.append((done, note))

    async def quick(progress: Progress) -> dict[str, Any]:
        progress.tell(0.5, "half")
        await anyio.lowlevel.checkpoint()
        return {"made": 2}

    async with anyio.create_task_group() as tasks:
        assert await jobs_of(bench, tasks, SOON).ask(ANN, "forecast", "r", quick, tell) == {"made": 2}
    assert told
    assert await bench.sql("SELECT * FROM jobs") == []


async def test_what_takes_longer_is_polled_by_its_handle_from_any_server_until_its_result_is_there(
    bench: Bench,
) -> None:
    work = Held()
    async with anyio.create_task_group() as tasks, anyio.create_task_group() as others:
        here, there = jobs_of(bench, tasks), Jobs(bench.store, lambda: OTHER, others, 0.0)
        first = await here.ask(ANN, "forecast", "r", work)
        handle = first["handle"]
        assert (first["state"], first["progress"], first["note"]) == ("running", 0.25, "a quarter")

        # The same question finds the same work, here and elsewhere; another agent's, or another question, is its own.
        for jobs in (here, there):
            assert (await jobs.ask(ANN, "forecast", "r", work))["handle"] == handle
        assert (await there.poll(BOB, "forecast", handle))["state"] == "running"
        second = await here.ask(BOB, "forecast", "r", work)
        assert (second["handle"] != handle, work.begun) == (True, 2)
        with pytest.raises(NotFound):
            await there.poll(ANN, "import_tasks", handle)

        work.let_go.set()
        await settled(bench, handle)
        await settled(bench, second["handle"])
        for jobs in (here, there):
            assert await jobs.poll(ANN, "forecast", handle) == {"made": 1}
        assert await polled(bench.store, ANN, "forecast", handle) == {"made": 1}


async def test_what_went_wrong_is_told_by_whoever_is_asked(bench: Bench) -> None:
    def refuse() -> dict[str, Any]:
        raise InvalidInput("text", "line 3: no JSON")

    async with anyio.create_task_group() as tasks:
        work = Held(refuse)
        handle = (await jobs_of(bench, tasks).ask(ANN, "import_tasks", "r", work))["handle"]
        work.let_go.set()
        await settled(bench, handle)
        with pytest.raises(WvoError, match="no JSON") as told:
            await polled(bench.store, BOB, "import_tasks", handle)
        assert (told.value.code, told.value.details["field"]) == ("invalid_input", "text")
        # While it is waited for, it is raised as any error is.
        with pytest.raises(InvalidInput):
            await jobs_of(bench, tasks, SOON).ask(ANN, "import_tasks", "r", work)


async def test_a_defect_of_a_job_is_told_by_a_reference_that_the_log_has(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> dict[str, Any]:
        raise ZeroDivisionError("by what?")

    async with anyio.create_task_group() as tasks:
        work, jobs = Held(fail), jobs_of(bench, tasks)
        handle = (await jobs.ask(ANN, "forecast", "r", work))["handle"]
        work.let_go.set()
        await settled(bench, handle)
        for poll in (jobs.poll(ANN, "forecast", handle), polled(bench.store, ANN, "forecast", handle)):
            with pytest.raises(WvoError) as told:
                await poll
            assert (told.value.code, told.value.retryable) == ("internal", False)
            assert told.value.details["ref"] in caplog.text


@pytest.mark.parametrize(
    ("refusals", "outcome"),
    [
        ([StoreBusy("busy"), StoreBusy("busy")], "succeeded"),
        ([InvalidInput("result", "cannot be stored")], "failed"),
        ([IncompatibleStore("damaged"), IncompatibleStore("damaged")], "running"),
    ],
)
async def test_an_end_that_can_never_be_stored_is_not_tried_for_ever(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, refusals: list[WvoError], outcome: str
) -> None:
    monkeypatch.setattr(module, "_AGAIN_SECONDS", (0.0, 0.0))
    plain, ended, left = JobRepository.end, list[str](), [*refusals]

    async def refusing(jobs: JobRepository, job_id: str, **of: Any) -> bool:
        ended.append(job_id)
        if left:
            raise left.pop(0)
        return await plain(jobs, job_id, **of)

    monkeypatch.setattr(JobRepository, "end", refusing)
    expected = len(refusals) + (outcome != "running")
    work, handle = Held(), ""
    async with anyio.create_task_group() as tasks:
        handle = (await jobs_of(bench, tasks).ask(ANN, "forecast", "r", work))["handle"]
        work.let_go.set()
    (row,) = await bench.sql("SELECT * FROM jobs WHERE id = ?", handle)

    assert (row["state"], len(ended)) == (outcome, expected)
    if outcome == "failed":
        with pytest.raises(WvoError, match="cannot be stored"):
            await polled(bench.store, ANN, "forecast", handle)


async def test_a_job_whose_server_died_has_failed_and_may_be_begun_anew(bench: Bench) -> None:
    work, handle, again = Held(), "", dict[str, Any]()
    async with anyio.create_task_group() as tasks:
        handle = (await jobs_of(bench, tasks).ask(ANN, "forecast", "r", work))["handle"]
        tasks.cancel_scope.cancel()
    bench.servers.kill(SERVER.session_id)

    async with anyio.create_task_group() as tasks:
        there = Jobs(bench.store, lambda: OTHER, tasks, 0.0)
        for _ in range(2):
            with pytest.raises(WvoError, match="job") as told:
                await there.poll(ANN, "forecast", handle)
            assert (told.value.code, told.value.retryable) == ("not_found", False)
            assert "without the handle" in told.value.hint
        again = await there.ask(ANN, "forecast", "r", work)
        assert (again["state"], again["handle"] != handle) == ("running", True)
        work.let_go.set()
    assert await polled(bench.store, ANN, "forecast", again["handle"]) == {"made": 1}


async def test_results_are_kept_for_a_day(bench: Bench) -> None:
    handle = ""
    async with anyio.create_task_group() as tasks:
        work = Held()
        handle = (await jobs_of(bench, tasks).ask(ANN, "forecast", "r", work))["handle"]
        work.let_go.set()
    for hours, kept in ((23, True), (2, False)):
        bench.clock.advance(seconds=hours * 3600)
        before = await bench.read(lambda tx: tx.jobs.get(handle))
        assert before is not None
        await bench.write(lambda tx: tx.jobs.forget(tx.now.replace(day=tx.now.day - 1)))
        assert (await bench.read(lambda tx: tx.jobs.get(handle)) is not None) == kept


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

        tasks.start_soon(Progress().aside, steps(), hear)
        await at_work.wait()
        tasks.cancel_scope.cancel()
    assert heard[0] == first
    then = steps_done
    await anyio.lowlevel.checkpoint()
    assert steps_done == then

    def few() -> Generator[int, None, str]:
        yield 1
        return "the end"

    assert await Progress().aside(few()) == "the end"


async def test_without_a_server_the_work_is_done_while_one_waits(bench: Bench) -> None:
    work: Work = Held()
    work.let_go.set()
    assert await in_foreground(work) == {"made": 1}

    async def refused(progress: Progress) -> dict[str, Any]:
        raise InvalidInput("text", "wrong")

    with pytest.raises(InvalidInput):
        await in_foreground(refused)


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
        bench.services = replace(bench.services, jobs=jobs_of(bench, tasks))
        begun = await bench.call("forecast", runs=5_000)
        assert begun["state"] == "running"
        answered.set()
        await settled(bench, begun["handle"])
        found = await bench.call("forecast", handle=begun["handle"])
        assert found["runs"] == 5_000
        bench.services = replace(bench.services, jobs=None)
        assert await bench.call("forecast", handle=begun["handle"]) == found
        with pytest.raises(NotFound):
            await bench.call("forecast", handle="none")
