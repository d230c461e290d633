"""One process of a worker, from its first word to the end of its last turn."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from wvo_mcp.domain.activity import REPEATED, Activity
from wvo_mcp.domain.agents import AgentEvent, EventKind, Status
from wvo_mcp.domain.providers.signals.reading import Signal
from wvo_mcp.domain.worker import ALONE, ExecutionMode, Outcome, WorkerState
from wvo_mcp.orchestration.pool import parking, prompt
from wvo_mcp.orchestration.pool.asking import Asker
from wvo_mcp.orchestration.pool.ending import Act, End
from wvo_mcp.orchestration.pool.facts import Halt
from wvo_mcp.orchestration.pool.hearing import Hearing
from wvo_mcp.orchestration.pool.launching import Launched
from wvo_mcp.orchestration.pool.parts import Parts, patiently
from wvo_mcp.orchestration.pool.sink import Sink
from wvo_mcp.orchestration.pool.spending import Ledger
from wvo_mcp.orchestration.workspaces import pausing
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.agents import AgentRun, Answer

T = TypeVar("T")

_TICK_SECONDS = 1.0
_INTERRUPTED_SECONDS = 3.0
"""So long an interrupted worker may take to stop by itself."""
_QUIET_SECONDS = 8.0
"""So long a worker may take to pause; then it is ended, before a rollback is forced beside it."""
_SETTLED_SECONDS = 20.0
"""So long a worker whose task is settled may go on talking."""
_ENDING_TOOLS = ("complete_task", "fail_task", "release_task", "block_task")
_LAST_WORDS = 1_500


@dataclass(frozen=True, slots=True)
class Over:
    """The process need not be watched any more: `end`, what a limit, a person or the policy decided; else how its last turn
    ended."""

    end: End | None = None
    stop: AgentEvent | None = None
    signal: Signal | None = None
    session: str | None = None


@dataclass
class Watching:
    """Reads the events of one process, answers it, and ends it when it must end."""

    parts: Parts
    launched: Launched
    run: AgentRun
    asker: Asker
    ledger: Ledger
    sink: Sink
    started_at: datetime
    hearing: Hearing | None = None
    activity: Activity = field(init=False)
    alone: str | None = None
    """Why it works alone (deterministic): nobody pauses it, tells it things or takes its files back while it works."""
    _end: End | None = None
    _reminded: bool = False
    _confirmed: bool = False
    _warned: bool = False
    _settled_at: datetime | None = None
    _signal: Signal | None = None
    _session: str | None = None
    _reading: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _tasks: TaskGroup | None = None
    _paused: anyio.Event | None = None
    """Set when it may go on."""
    _quiet: bool = False

    def __post_init__(self) -> None:
        self.activity = Activity.began(self.parts.now())

    async def until_over(self) -> Over:
        """The process may still run when it returns: leaving the driver's block ends it."""
        stop: AgentEvent | None = None
        failed: Exception | None = None
        await self._fall_back()
        async with anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._look_at_the_time, self._tasks)
            if self.hearing is not None and not self.launched.driver.answers:
                self._tasks.start_soon(self.hearing.listen, self._may_hear, self._say)
            if self._paused is not None:
                self._tasks.start_soon(self._quieten, self._paused)
            try:
                with self._reading:
                    async for event in self.run.events():
                        await self._take(event)
                        if event.kind is EventKind.STOP:
                            stop = event
                            if self._end is not None or not (await self._stays(event) or await self._goes_on(event)):
                                break
            except Exception as error:  # raised below, outside of the group, which would wrap it
                failed = error
            self._tasks.cancel_scope.cancel()
        if failed is not None:
            raise failed
        return Over(self._end, stop, self._signal, self._session)

    def end(self, end: End) -> None:
        """It must end now: it is interrupted, and soon after not listened to any more. The first reason counts."""
        if self._end is None and self._tasks is not None:
            self._end = end
            self._show(self.activity)
            self._tasks.start_soon(self._interrupt)

    def pause(self, until: anyio.Event) -> None:
        """It must write nothing until this is set; then it goes on, in the same session, and hears why."""
        self._paused = until
        if self._tasks is not None and not self._quiet:
            self._tasks.start_soon(self._quieten, until)

    def _may_hear(self) -> bool:
        return self._end is None and self._paused is None and self._settled_at is None

    async def _quieten(self, until: anyio.Event) -> None:
        if self.launched.driver.answers:  # it has no tools
            await self._acknowledge()
            return
        if self.alone is not None:
            self.end(End(Outcome.STOPPED, f"its files go back, and it cannot be paused: {self.alone}", Act.PAUSE))
            return
        with anyio.move_on_after(_QUIET_SECONDS) as waited:
            await self.run.interrupt()
            await until.wait()
        if waited.cancelled_caught and self._paused is until and not self._quiet:
            self.end(End(Outcome.STOPPED, "it did not pause for a rollback of its files", Act.PAUSE))

    async def _stays(self, stop: AgentEvent) -> bool:
        """Its turn was ended for a pause. Does another one follow, once that is over?"""
        until, task_id = None, self.launched.task.id
        if self._paused is None or self.launched.driver.answers:
            return False
        self._quiet = True
        while self._paused is not until:  # the next pause may begin when one ends
            until = self._paused
            await self._acknowledge()
            await until.wait()
        self._paused, self._quiet = None, False
        if self._end is not None or stop.status is Status.FAILED or not await self._still_mine():
            return False
        agent_id = self.launched.worker.agent_id
        said = await self._written(lambda tx: pausing.waiting(tx, task_id, agent_id))
        await self._say(prompt.paused(task_id, said))
        return True

    async def _acknowledge(self) -> None:
        await self._written(lambda tx: pausing.acknowledge(tx, self.launched.task.id))

    async def _written(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        return await patiently(lambda: self.parts.store.write(self.parts.caller, work))

    async def _fall_back(self) -> None:
        """It works alone from now on, if it must; once, and on record."""
        asked = "WVO_EXECUTION_MODE" if self.parts.mode is ExecutionMode.DETERMINISTIC else None
        if self.alone is not None or self._end is not None or (why := asked or self.run.lacks) is None:
            return
        self.alone, worker = why, self.launched.worker
        said = {"mode": ExecutionMode.DETERMINISTIC.value, "reason": why}
        data = {"worker": worker.worker_id, **said}
        await self._written(lambda tx: tx.events.append("worker.alone", worker.task_id, data))
        self.parts.news({"event": "alone", "task_id": worker.task_id, "worker_id": worker.worker_id, **said})
        self._show(self.activity)
        if self._paused is not None and not self._quiet:
            await self._quieten(self._paused)

    async def _interrupt(self) -> None:
        with anyio.move_on_after(_INTERRUPTED_SECONDS):
            await self.run.interrupt()
            await anyio.sleep(_INTERRUPTED_SECONDS)
        self._reading.cancel()

    async def _take(self, event: AgentEvent) -> None:
        now = self.parts.now()
        if event.kind is not EventKind.NOISE:
            self.parts.heard()
        if event.session is not None:
            self._session = event.session
            self.sink.put(self.launched.worker.worker_id, {"client_session": event.session}, now=True)
        before, self.activity = self.activity, self.activity.after(event, now)
        self._show(self.activity)
        if event.use is not None:
            self.ledger.add(event.use)
            if self.ledger.urgent:
                self.sink.hurry()
            self._pay()
        if event.signal is not None:
            self._signal = event.signal
        if event.kind is EventKind.TOOL_CALL:
            self._called(event, before.calls.get(event.call_id or "", ""), now)
        if event.exit_code is not None:
            self.sink.put(self.launched.worker.worker_id, {"exit_code": event.exit_code})
        if event.request is not None:
            await self._answer(event)
        await self._fall_back()
        if self.activity.loops and not self._warned and self.alone is None:
            self._warned = True
            await self._say(prompt.looping(self.activity.last_call))
        elif self.activity.repeats >= 2 * REPEATED:
            self.end(End(Outcome.KILLED, f"the same call over and over: {self.activity.last_call[:200]}", Act.FAIL))

    def _pay(self) -> None:
        """What cost too much ends: for good, or, where only this run's or this day's money is spent, until there is more."""
        if self.ledger.over is not None:
            act = Act.RELEASE if self.ledger.spent_out else Act.BLOCK
            self.end(End(Outcome.KILLED, self.ledger.over, act))

    def _called(self, event: AgentEvent, call: str, now: datetime) -> None:
        """`call`: as it was begun; the end of one need not have its name."""
        tool = event.tool or call.partition(" ")[0]
        if event.status is Status.DONE and tool.endswith(_ENDING_TOOLS):
            self._settled_at = now

    async def _answer(self, event: AgentEvent) -> None:
        request = event.request
        if request is None:
            return
        reply = await self.asker.reply(request)
        await self.run.answer(request.request_id, Answer(reply.allowed, reply.reason, reply.approval_id is not None))
        self.activity = self.activity.told(self.parts.now())
        if not reply.allowed:
            worker = self.launched.worker
            told = {"task_id": worker.task_id, "worker_id": worker.worker_id, "approval_id": reply.approval_id}
            told["command"] = request.command or ", ".join(request.paths) or request.tool
            self.parts.news({"event": "asks" if reply.approval_id else "refused", **told, "reason": reply.reason})
        if reply.approval_id is not None:
            self.end(End(Outcome.STOPPED, f"waits for approval {reply.approval_id}"))

    async def _goes_on(self, stop: AgentEvent) -> bool:
        """Its turn is over. Does another one follow in this process?"""
        if not await self._still_mine() or stop.status is Status.INTERRUPTED:
            return False
        if stop.signal is not None and stop.status is Status.FAILED:
            if not parking.unsure(stop.signal, confirmed=self._confirmed):
                return False
            self._confirmed = True
            await self._say(prompt.resumed(self.launched.task.id, "a limit was reported"))
            return True
        if stop.status is Status.FAILED or self._reminded or self.launched.driver.answers:
            return False
        self._reminded = True
        await self._say(prompt.go_on(self.launched.task.id))
        return True

    async def _say(self, text: str) -> None:
        await self.run.say(text)
        self.activity = self.activity.told(self.parts.now())

    async def _still_mine(self) -> bool:
        async def look(tx: Transaction) -> bool:
            return self.launched.worker.holds(await tx.tasks.get(self.launched.task.id))

        return await patiently(lambda: self.parts.store.read(self.parts.caller, look))

    async def _look_at_the_time(self, tasks: TaskGroup) -> None:
        limits, worker = self.parts.limits, self.launched.worker
        while True:
            await anyio.sleep(_TICK_SECONDS)
            self.parts.heard()  # what is silent for too long is ended here, not by its lease
            now = self.parts.now()
            before, self.activity = self.activity, self.activity.at(now)
            if self.activity is not before:
                self._show(self.activity)
            silent = self.activity.silent_seconds(now)
            self._pay()
            if (over := self.parts.trees.over(worker.worker_id)) is not None:
                self.end(End(Outcome.KILLED, over, Act.FAIL))
            elif (now - self.started_at).total_seconds() > limits.run_seconds:
                self.end(End(Outcome.KILLED, f"it ran longer than {limits.run_seconds:g} s", Act.FAIL))
            elif silent > limits.idle_seconds:
                self.end(End(Outcome.KILLED, f"nothing was heard of it for {limits.idle_seconds:g} s", Act.FAIL))
            elif self._settled_at is not None and (now - self._settled_at).total_seconds() > _SETTLED_SECONDS:
                self._settled_at = None
                tasks.start_soon(self._end_settled)

    async def _end_settled(self) -> None:
        if not await self._still_mine():
            self.end(End(Outcome.COMPLETED, "its task is settled"))

    def _show(self, activity: Activity) -> None:
        state, reason = activity.state, activity.reason
        if self._end is not None:
            state, reason = WorkerState.STOPPING, self._end.reason
        elif self.alone is not None:
            reason = f"{reason}{ALONE}{self.alone}"
        fields = {"state": state, "reason": reason, "last_act": activity.act}
        self.sink.put(self.launched.worker.worker_id, fields)


def ended_by(halt: Halt, worker_id: str) -> End | None:
    """Must this worker end, as people want it?"""
    if (asked := halt.asked.get(worker_id)) is not None:
        return End(Outcome.STOPPED, asked, Act.RELEASE)
    return End(Outcome.STOPPED, halt.reason or "paused by a person", Act.PAUSE) if halt.interrupts else None


def last_words(over: Over) -> str:
    """What it said at its end, for the next attempt and for people."""
    said = "" if over.stop is None else over.stop.text.strip()
    return f"its turn ended without ending the task{f': {said[:_LAST_WORDS]}' if said else ''}"
