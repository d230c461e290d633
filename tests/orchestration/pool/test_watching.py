"""What is seen of a process while it works, and why it is ended; with a clock that stands still."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import anyio
import pytest

from tests.support.clock import StoppedClock
from wvo_mcp.domain.agents import AgentEvent, EventKind, PermissionRequest, Status
from wvo_mcp.domain.worker import ExecutionMode, Outcome
from wvo_mcp.errors import StoreUnavailable
from wvo_mcp.orchestration.pool import parts, watching
from wvo_mcp.orchestration.pool.asking import Reply
from wvo_mcp.orchestration.pool.ending import Act, End
from wvo_mcp.orchestration.pool.facts import Halt, PauseMode
from wvo_mcp.orchestration.pool.parts import Limits
from wvo_mcp.orchestration.pool.watching import Over, Watching, ended_by

pytestmark = pytest.mark.anyio

STARTED = AgentEvent(EventKind.STARTED, session="s-1")
WRITES = AgentEvent(EventKind.TOOL_CALL, "a.py", call_id="1", tool="Write", status=Status.RUNNING)
WRITTEN = AgentEvent(EventKind.TOOL_CALL, "", call_id="1", tool="Write", status=Status.DONE)
ENDS = AgentEvent(EventKind.STOP, "I stop.", status=Status.DONE)
Step = AgentEvent | Callable[[], Any]


def _nothing(_: object) -> None: ...


class Program:
    """`ports.agents.AgentRun` whose events are given; after them it is silent until it is interrupted."""

    pid = 1
    lacks: str | None = None

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.said: list[str] = []
        self.interrupted = anyio.Event()

    async def events(self) -> AsyncIterator[AgentEvent]:
        for step in self.steps:
            if isinstance(step, AgentEvent):
                yield step
            else:
                step()
        await self.interrupted.wait()
        yield AgentEvent(EventKind.STOP, "It was interrupted.", status=Status.INTERRUPTED)

    async def say(self, text: str) -> None:
        self.said.append(text)

    async def interrupt(self) -> None:
        self.interrupted.set()

    async def answer(self, request_id: str, answer: object) -> None: ...


class Watched:
    """A process that is watched, and all that it shows."""

    def __init__(self, *steps: Step) -> None:
        self.clock = StoppedClock()
        self.program = Program(*steps)
        self.shown: list[dict[str, Any]] = []
        self.heard = 0
        self.mine = True
        self.reply = Reply(allowed=True, reason="")
        self.away = 0
        self.news: list[Any] = []
        self.events: list[Any] = []
        parts = SimpleNamespace(
            now=self.clock.now,
            heard=self._heard,
            store=SimpleNamespace(read=self._read, write=self._write),
            caller=None,
            limits=Limits(run_seconds=600, idle_seconds=60),
            mode=ExecutionMode.INTERACTIVE,
            news=self.news.append,
            trees=SimpleNamespace(over=_nothing),
        )
        task = SimpleNamespace(id="T", lease_token=1)
        worker = SimpleNamespace(worker_id="w-1", task_id="T", lease_token=1)
        launched = SimpleNamespace(task=task, worker=worker, driver=SimpleNamespace(answers=False))
        self.watching = Watching(
            cast("Any", parts),
            cast("Any", launched),
            self.program,
            cast("Any", SimpleNamespace(reply=self._reply)),
            cast("Any", SimpleNamespace(add=_nothing, over=None, spent_out=False)),
            cast("Any", SimpleNamespace(put=self._put, hurry=lambda: None)),
            self.clock.now(),
        )

    def _heard(self) -> None:
        self.heard += 1

    def _put(self, _: str, fields: dict[str, Any], *, now: bool = False) -> None:
        self.shown.append(fields)

    async def _read(self, _: object, work: object) -> bool:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("it is away")
        return self.mine

    async def _write(self, _: object, work: Callable[[Any], Any]) -> Any:
        async def append(*event: object) -> None:
            self.events.append(event)

        return await work(SimpleNamespace(events=SimpleNamespace(append=append)))

    async def _reply(self, _: object) -> Reply:
        return self.reply

    async def over(self) -> Over:
        with anyio.fail_after(60):
            return await self.watching.until_over()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_TICK_SECONDS", 0.001)


async def test_silence_ends_it_only_while_it_has_no_excuse() -> None:
    """A call that is open is an excuse, however long it takes; when it has ended, the silence counts from then."""
    watched = Watched(STARTED, WRITES, lambda: watched.clock.advance(500), WRITTEN, lambda: watched.clock.advance(61))

    over = await watched.over()

    assert over.end is not None
    assert (over.end.outcome, over.end.act) == (Outcome.KILLED, Act.FAIL)
    assert over.end.reason == "nothing was heard of it for 60 s"
    assert watched.shown[-1]["state"] == "stopping"


@pytest.mark.parametrize(
    "steps",
    [
        (STARTED, ENDS),
        (
            STARTED,
            AgentEvent(EventKind.PERMISSION_REQUEST, "ls", request=PermissionRequest("p-1", "Bash", command="ls")),
        ),
    ],
    ids=["asked to go on", "answered"],
)
async def test_who_was_told_something_and_is_silent_then_is_ended(steps: tuple[Step, ...]) -> None:
    watched = Watched(*steps, lambda: watched.clock.advance(61))

    over = await watched.over()

    assert over.end is not None and over.end.reason == "nothing was heard of it for 60 s"


async def test_an_open_call_ends_with_the_time_of_the_whole_run() -> None:
    watched = Watched(STARTED, WRITES, lambda: watched.clock.advance(601))

    over = await watched.over()

    assert over.end is not None
    assert over.end.reason == "it ran longer than 600 s"


async def test_a_loop_is_told_once_and_then_ended() -> None:
    watched = Watched(STARTED, *[WRITES, WRITTEN] * 10)

    over = await watched.over()

    assert over.end is not None
    assert over.end.reason == "the same call over and over: Write a.py"
    assert len(watched.program.said) == 1


async def test_a_worker_that_stops_too_early_is_asked_once_to_go_on() -> None:
    watched = Watched(STARTED, ENDS, WRITES, WRITTEN, ENDS)

    over = await watched.over()

    assert (over.end, over.stop, over.session) == (None, ENDS, "s-1")
    assert len(watched.program.said) == 1


async def test_a_worker_whose_task_is_settled_is_asked_nothing() -> None:
    watched = Watched(STARTED, ENDS)
    watched.mine = False

    assert (await watched.over()).stop == ENDS
    assert watched.program.said == []


async def test_an_approval_ends_the_process_and_leaves_the_task_where_it_is() -> None:
    asks = PermissionRequest("p-1", "Bash", command="git push")
    watched = Watched(STARTED, AgentEvent(EventKind.PERMISSION_REQUEST, "git push", request=asks))
    watched.reply = Reply(allowed=False, reason="waits", approval_id="A-17")

    over = await watched.over()

    assert over.end is not None
    assert (over.end.act, over.end.reason) == (Act.LEAVE, "waits for approval A-17")


def test_people_end_the_workers_that_they_mean() -> None:
    for halt, act in (
        (Halt(stop=True), Act.PAUSE),
        (Halt(mode=PauseMode.NOW), Act.PAUSE),
        (Halt(asked={"w-1": "not needed"}), Act.RELEASE),
        (Halt(mode=PauseMode.GENTLY), None),
        (Halt(asked={"w-2": "not needed"}), None),
    ):
        end = ended_by(halt, "w-1")
        assert (end.act if end else None) is act


async def test_the_first_reason_for_an_end_counts() -> None:
    def twice() -> None:
        watched.watching.end(End(Outcome.STOPPED, "lunch", Act.PAUSE))
        watched.watching.end(End(Outcome.STOPPED, "night", Act.PAUSE))

    watched = Watched(STARTED, WRITES, twice, WRITTEN, ENDS, ENDS)

    over = await watched.over()

    assert over.end is not None and over.end.reason == "lunch"


async def test_a_silent_worker_keeps_its_lease_as_long_as_it_may_live() -> None:
    watched = Watched(STARTED, WRITES)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watched.over)
        with anyio.fail_after(60):
            while watched.heard < 5:  # noqa: ASYNC110 - there is no event for what is heard
                await anyio.sleep(0.001)
        watched.watching.end(End(Outcome.STOPPED, "enough", Act.PAUSE))


async def test_a_store_that_was_away_costs_no_worker_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_AGAIN_SECONDS", 0.001)
    watched = Watched(STARTED, ENDS, ENDS)
    watched.away = 3

    over = await watched.over()

    assert (over.end, over.stop, watched.away) == (None, ENDS, 0)
    assert len(watched.program.said) == 1


async def test_an_exit_code_is_the_programs_own_and_not_what_it_says() -> None:
    says = AgentEvent(EventKind.STOP, "it ended with code 7", status=Status.FAILED)
    talks, ends = Watched(STARTED, says), Watched(STARTED, replace(says, text="", exit_code=9))

    await talks.over()
    await ends.over()

    assert [fields["exit_code"] for fields in (*talks.shown, *ends.shown) if "exit_code" in fields] == [9]


@pytest.mark.requirement("WS-8")
@pytest.mark.parametrize("by", ["its program", "a person"])
async def test_a_worker_that_nobody_can_take_part_in_works_alone_and_that_is_said_once(by: str) -> None:
    again = [replace(WRITES, call_id=str(number)) for number in range(6)]
    watched = Watched(STARTED, *again, ENDS, ENDS)
    if by == "its program":
        watched.program.lacks = "it only answers"
    else:
        cast("Any", watched.watching.parts).mode = ExecutionMode.DETERMINISTIC

    await watched.over()

    why = "it only answers" if by == "its program" else "WVO_EXECUTION_MODE"
    assert [(one["event"], one["mode"], one["reason"]) for one in watched.news] == [("alone", "deterministic", why)]
    [event] = watched.events
    assert event == ("worker.alone", "T", {"worker": "w-1", "mode": "deterministic", "reason": why})
    assert all(str(one["reason"]).endswith(f"; deterministic: {why}") for one in watched.shown if "reason" in one)
    assert not any("over and over" in said for said in watched.program.said), "it is told nothing in its turn"


@pytest.mark.requirement("WS-8")
async def test_what_the_program_refuses_as_it_runs_ends_a_pause_that_cannot_be() -> None:
    def found_out() -> None:
        watched.watching.pause(anyio.Event())
        watched.program.lacks = "this codex does not know turn/interrupt"

    watched = Watched(STARTED, found_out, WRITES, WRITTEN)

    over = await watched.over()

    assert over.end is not None
    assert (over.end.outcome, over.end.act) == (Outcome.STOPPED, Act.PAUSE)
    assert "does not know turn/interrupt" in over.end.reason
    assert [one["event"] for one in watched.news] == ["alone"]
