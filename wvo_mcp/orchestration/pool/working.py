"""One launch from its place to its end: prepared, started, watched, settled; relaunched when only its flags were wrong."""

import json
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from wvo_mcp.domain.agents import Status
from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.domain.recovery import Act as Recovery
from wvo_mcp.domain.recovery import Corrections, Remedy, remedy
from wvo_mcp.domain.task import Status as TaskStatus
from wvo_mcp.domain.task import Task
from wvo_mcp.domain.worker import Outcome
from wvo_mcp.errors import StoreBusy, StoreUnavailable, WvoError
from wvo_mcp.orchestration.pool import parking, prompt
from wvo_mcp.orchestration.pool.asking import Asker
from wvo_mcp.orchestration.pool.ending import Act, End, repository_changed, settle
from wvo_mcp.orchestration.pool.facts import Halt
from wvo_mcp.orchestration.pool.hearing import Hearing
from wvo_mcp.orchestration.pool.launching import Launched
from wvo_mcp.orchestration.pool.parts import Parts, patiently
from wvo_mcp.orchestration.pool.sink import Sink
from wvo_mcp.orchestration.pool.spending import Ledger
from wvo_mcp.orchestration.pool.watching import Over, Watching, ended_by, last_words
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.orchestration.workspaces import pausing
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.agents import AgentNotStarted, Launch
from wvo_mcp.ports.homes import HomeAsk, HomeFailed
from wvo_mcp.ports.places import Place, PlaceAsk, PlaceFailed

logger = logging.getLogger(__name__)


@dataclass
class Work:
    """A launched worker's life. `run` never raises but for cancellation: whatever happens, its row and its task are settled."""

    parts: Parts
    launched: Launched
    sink: Sink
    watching: Watching | None = None
    _ledger: Ledger = field(init=False)
    _ended: End | None = None
    """As people want it; what they wanted first counts."""
    _opening: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _still: anyio.Event | None = None
    """Set when it may write again."""
    _paused: str | None = None
    """Which pause that is."""

    def __post_init__(self) -> None:
        self._ledger = Ledger(self.parts.providers, self.launched.caps, self.launched.worker)

    def halted(self, halt: Halt) -> None:
        self._keep_still(halt.still.get(self.launched.task.id))
        end = ended_by(halt, self.launched.worker.worker_id)
        if end is not None and self._ended is None:
            self._ended = end
            self._opening.cancel()  # a project's setup may take minutes
            if self._still is not None:
                self._still.set()
            if self.watching is not None:
                self.watching.end(end)

    def _keep_still(self, pause: str | None) -> None:
        """One may be over and the next begun since the last look: that one waits for its own acknowledgement."""
        if pause == self._paused:
            return
        before, self._still, self._paused = self._still, None if pause is None else anyio.Event(), pause
        if self._still is not None and self.watching is not None:
            self.watching.pause(self._still)
        if before is not None:
            before.set()

    async def run(self) -> tuple[Task, End]:
        """Its task as it is then, and how the launch ended."""
        worker_id = self.launched.worker.worker_id
        self.sink.begin(worker_id, self._ledger)
        try:
            with self.parts.tracer.span("worker", self._attributes()) as span:
                end = await self._live()
                span.set_attribute("wvo.worker.outcome", end.outcome.value)
        except (PlaceFailed, HomeFailed, AgentNotStarted, WvoError, OSError) as error:
            if isinstance(error, PlaceFailed) and error.tampered:
                end = await self._tampered(str(error), Act.RELEASE)
            else:
                end = End(Outcome.CRASHED, _why(error), Act.RELEASE if self._passes(error) else Act.FAULT)
        except Exception as error:  # an edge: one worker's defect must not end the others
            logger.exception("the worker %s could not go on", worker_id)
            end = End(Outcome.CRASHED, f"a defect of wvo-mcp: {type(error).__name__}", Act.FAULT)
        return await self._settled(end)

    def _passes(self, error: Exception) -> bool:
        """Will the next launch not meet this, or wait until it is over?"""
        if isinstance(error, StoreBusy | StoreUnavailable) or self.parts.places.full() is not None:
            return True
        return isinstance(error, HomeFailed) and error.busy

    async def _settled(self, end: End) -> tuple[Task, End]:
        """Also when the pool is being cancelled; but then a store that is away is left to the next autopilot."""
        parts = self.parts
        if end.act is Act.PAUSE and parts.guard is not None:
            with anyio.CancelScope(shield=True):
                await parts.guard.keep(self.launched.task.id, Trigger.PAUSE)

        async def write() -> None:
            with anyio.CancelScope(shield=True):
                written.append(await self._settle(end))

        written: list[tuple[Task, End]] = []
        await patiently(write)
        task, end = written[0]
        with anyio.CancelScope(shield=True):
            parts.trees.forget(self.launched.worker.worker_id)
            if task.status in (TaskStatus.DONE, TaskStatus.CANCELLED):
                await self._clear(task.id)
        return task, end

    async def _settle(self, end: End) -> tuple[Task, End]:
        worker_id, parts = self.launched.worker.worker_id, self.parts
        await self.sink.flush(worker_id, last=True)

        async def work(tx: Transaction) -> tuple[Task, End]:
            task = await settle(tx, worker_id, end)
            await pausing.acknowledge(tx, task.id)
            row = await tx.workers.get(worker_id)
            return task, replace(end, outcome=row.outcome or end.outcome, reason=row.reason or end.reason)

        return await parts.store.write(parts.caller, work)

    async def _clear(self, task_id: str) -> None:
        """What is left is found at the next start."""
        try:
            if (left := await self.parts.places.close(task_id)) is not None:
                self._told("left", reason=f"The worktree of {task_id} stays: {left}.")
            await self.parts.homes.forget(task_id)
        except (WvoError, PlaceFailed, OSError) as error:
            logger.warning("the place of %s could not be cleared: %s", task_id, error)

    async def _live(self) -> End:
        parts, launched = self.parts, self.launched
        await parts.rules.refresh()
        ask = PlaceAsk(
            task_id=launched.task.id,
            lease_token=launched.worker.lease_token,
            slot=launched.slot,
            bases=launched.bases,
            landed=launched.landed,
            onto=launched.onto,
        )
        place: Place | None = None
        with self._opening:
            place = await parts.places.open(ask)
        session, corrections = None if launched.before is None else launched.before.client_session, Corrections()
        while True:
            while self._still is not None and self._ended is None:
                await patiently(partial(parts.store.write, parts.caller, self._quiet))
                await self._still.wait()
            if self._ended is not None:
                return self._ended
            assert place is not None  # noqa: S101 - only people's word cancels its making
            over = await self._process(place, session, corrections)
            if (changed := await patiently(partial(parts.places.tampered, launched.task.id))) is not None:
                return await self._tampered(changed, Act.BLOCK)
            if over.end is not None:
                return over.end
            found = await self._remedy(over, corrections, place, resumed=session is not None)
            if found.act is Recovery.GIVE_UP:
                return End(Outcome.CRASHED, found.why, Act.BLOCK)
            if found.act is Recovery.NOT_MINE:
                return await self._judged(over)
            corrections, session = found.corrections, over.session or session
            if found.act is Recovery.FRESH:
                session = None
                await parts.homes.forget(launched.task.id)
            self._ledger.relaunched()

    async def _quiet(self, tx: Transaction) -> None:
        await pausing.acknowledge(tx, self.launched.task.id)

    async def _tampered(self, difference: str, act: Act) -> End:
        """Somebody changed git's own files: nothing that is left in a worktree can be looked at before a person has."""
        parts, worker = self.parts, self.launched.worker
        await patiently(
            lambda: parts.store.write(
                parts.caller, lambda tx: repository_changed(tx, worker.task_id, worker.worker_id, difference)
            )
        )
        reason = f"the repository's own files were changed: {difference[:500]}"
        return End(Outcome.KILLED, reason, act, halts="the repository's own files were changed; see wvo-mcp trust")

    async def _remedy(self, over: Over, before: Corrections, place: Place, *, resumed: bool) -> Remedy:
        """What follows for a process that ended its turn badly; it is on record (WORK-5)."""
        stop, worker = over.stop, self.launched.worker
        if stop is not None and stop.status is not Status.FAILED and over.signal is None:
            return Remedy(Recovery.NOT_MINE)
        said = "it ended with code 0, within its turn" if stop is None else stop.text
        signal, allowed = (None if stop is None else stop.signal) or over.signal, [str(place.top or place.path)]
        found = remedy(self.launched.provider.kind, said, signal, before, allowed, resumed=resumed)
        if found.act is Recovery.NOT_MINE:
            return found
        data = {
            "worker": worker.worker_id,
            "act": found.act.value,
            "trigger": found.trigger,
            "try": found.corrections.tries,
            "folders": [*found.corrections.folders],
            "reason": found.why,
        }

        async def record(tx: Transaction) -> Remedy:
            if not worker.holds(await tx.tasks.get(worker.task_id)):
                return Remedy(Recovery.NOT_MINE)
            await tx.events.append("worker.recovery", worker.task_id, data)
            return found

        return await patiently(lambda: self.parts.store.write(self.parts.caller, record))

    async def _process(self, place: Place, session: str | None, corrections: Corrections) -> Over:
        """One process of the worker, from its start to its end."""
        parts, launched, worker = self.parts, self.launched, self.launched.worker
        ask = HomeAsk(
            provider=launched.provider,
            task_id=launched.task.id,
            slot=launched.slot,
            key=launched.key,
            session=session,
            keep=parts.rules.current().env,
        )
        log = parts.logs / f"{worker.worker_id}.jsonl"
        async with AsyncExitStack() as stack:
            stack.enter_context(parts.tracer.span("provider.call", self._attributes()))
            home = await stack.enter_async_context(parts.homes.open(ask))
            launch = Launch(
                workspace=place.path,
                home=home.path,
                prompt=await self._prompt(place, resumed=home.session is not None),
                server=home.server,
                env={**home.env, **place.env, **self._trace()},
                program=launched.provider.command,
                model=worker.model or None,
                effort=launched.effort,
                session=home.session,
                folders=self._folders(place, corrections),
                budget=launched.caps.worker,
                deadline=parts.limits.run_seconds + 60,
                output=parts.limits.output_bytes,
                log=log,
                confirm_quota=launched.before is not None and launched.before.confirm,
                base_url=launched.provider.base_url,
            )
            run = await stack.enter_async_context(launched.driver.start(launch))
            if not launched.driver.answers:
                parts.trees.share(worker.worker_id, run.pid)
            pid = None if launched.driver.answers else run.pid
            mark = None if pid is None else await anyio.to_thread.run_sync(parts.trees.started, pid)
            fields = {"pid": pid, "pid_started": mark, "workspace": str(place.path), "log": str(log)}
            self.sink.put(worker.worker_id, fields, now=True)
            alone = (
                place.note or "nothing keeps workers apart here, and nothing is pinned" if place.unprotected else None
            )
            self._told("launched" if launched.before is None else "resumed", reason=alone or place.note)
            asker = Asker(parts.store, parts.caller, parts.policy, parts.judge, worker, place.path)
            watched = (parts, launched, run, asker, self._ledger, self.sink, worker.started_at)
            self.watching = Watching(*watched, hearing=Hearing(parts, worker))
            if self._still is not None:
                self.watching.pause(self._still)
            try:
                return await self.watching.until_over() if self._ended is None else Over(self._ended)
            finally:
                self.watching = None

    def _attributes(self) -> dict[str, str]:
        worker = self.launched.worker
        return {
            "wvo.worker.id": worker.worker_id,
            "wvo.task.id": worker.task_id,
            "gen_ai.provider.name": worker.provider,
            "wvo.tier": worker.tier,
            "gen_ai.request.model": worker.model,
        }

    def _trace(self) -> dict[str, str]:
        """With it the program's own spans are of this trace."""
        return {name.upper(): value for name, value in self.parts.tracer.carrier().items()}

    @staticmethod
    def _folders(place: Place, corrections: Corrections) -> tuple[Path, ...]:
        """Besides where it starts: the whole worktree, and what was found to be missing."""
        whole = () if place.top in (None, place.path) else (str(place.top),)
        return tuple(Path(folder) for folder in dict.fromkeys((*whole, *corrections.folders)))

    async def _prompt(self, place: Place, *, resumed: bool) -> str:
        launched = self.launched
        if launched.driver.answers:
            changes = await self.parts.places.changes(launched.task.id)
            return prompt.judging(launched.task, changes, launched.context)
        said = [] if launched.resume is None else [launched.resume.summary]
        if resumed and launched.before is not None and launched.before.why is not None:
            return prompt.came_back(launched.task.id, said or [launched.before.why], place.conflicts)
        if resumed:
            return prompt.resumed(launched.task.id, "it was stopped for a while", said)
        return prompt.prompt_of(
            launched.task,
            resume=launched.resume,
            context=launched.context,
            directives=self._directives(),
            conflicts=place.conflicts,
            notes=["An earlier worker began in this folder; look at what is there."] if place.reused else [],
        )

    def _directives(self) -> Sequence[tuple[str, str]]:
        """The project's own."""
        return [(name, self.parts.directives.read(name)) for name in self.parts.directives.own()]

    async def _judged(self, over: Over) -> End:
        """How the launch ends when nobody ended it: by what the store has, then by how the last turn ended."""
        parts, worker = self.parts, self.launched.worker
        await patiently(lambda: self.sink.flush(worker.worker_id))
        signal = None if over.stop is None else over.stop.signal
        failed = over.stop is None or over.stop.status is Status.FAILED

        async def work(tx: Transaction) -> End:
            task = await tx.tasks.get(worker.task_id)
            if not worker.holds(task):
                return End(Outcome.COMPLETED, "its task is settled")
            if not failed:
                return await self._answered(tx, task, over)
            if over.stop is not None and over.stop.limit is not None:
                return End(Outcome.KILLED, self._too_much(over.stop.limit), Act.FAIL)
            if signal is not None:
                parked = await parking.stopped_by_provider(tx, parts.providers, worker.worker_id, signal)
                if parked is not None:
                    return End(Outcome.LIMITED, parked)
            return End(Outcome.FAILED, last_words(over), Act.FAIL)

        return await patiently(lambda: parts.store.write(parts.caller, work))

    def _too_much(self, limit: str) -> str:
        if limit == "output":
            return f"it printed more than {self.parts.limits.output_bytes >> 20:,} MB (WVO_WORKER_OUTPUT_MB)"
        return f"it was ended by its {limit}"

    async def _answered(self, tx: Transaction, task: Task, over: Over) -> End:
        """Its turn came to a good end, and the task is still its own. The answer of those who only answer ends it: a review
        that found something is done as well, and what it found is the evidence."""
        if not self.launched.driver.answers or over.stop is None:
            return End(Outcome.FAILED, last_words(over), Act.FAIL)
        try:
            answer: Any = json.loads(over.stop.text)
            summary = str(answer["summary"])
        except (ValueError, KeyError, TypeError):
            return End(Outcome.FAILED, "its answer was not as asked for", Act.FAIL)
        await lifecycle.complete(tx, task, summary[:16_000], [], [json.dumps(answer, ensure_ascii=False)[:16_000]])
        return End(Outcome.COMPLETED, summary[:300])

    def _told(self, event: str, **more: object) -> None:
        worker = self.launched.worker
        known = {"task_id": worker.task_id, "worker_id": worker.worker_id, "provider": worker.provider}
        self.parts.news({"event": event, **known, "tier": worker.tier, "model": worker.model, **more})


def _why(error: Exception) -> str:
    if isinstance(error, PlaceFailed):
        return f"its workspace could not be prepared: {error}" + (f"\n{error.tail}" if error.tail else "")
    if isinstance(error, HomeFailed):
        return f"{error} {error.remedy}"
    if isinstance(error, AgentNotStarted):
        return f"its program could not be started: {error}"
    return error.message if isinstance(error, WvoError) else f"{type(error).__name__}: {error}"
