"""The merge queue: one entry after the other is built on the target, verified and landed (contract, section 11).

Each step is a row before git does it, in a transaction that checks the token of the slot. After a crash the row is compared
with the target and gone on from there.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import anyio

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.merging import (
    AT_WORK,
    MOST_MOVED,
    OPEN,
    UNVERIFIED,
    WAITS,
    Entry,
    EntryKind,
    EntryState,
    in_order,
)
from wvo_mcp.domain.rules import MergeMode, Rules
from wvo_mcp.domain.task import Task
from wvo_mcp.domain.text import as_id
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.leader import Candidate as Slot
from wvo_mcp.orchestration.leader import LeaderTerm, Overtaken
from wvo_mcp.orchestration.merging.foresight import Foresight
from wvo_mcp.orchestration.merging.landings import landing_of, told_of_checks, told_of_conflict, told_of_red
from wvo_mcp.orchestration.merging.remote import RemoteRefs
from wvo_mcp.orchestration.merging.roles import role_of
from wvo_mcp.orchestration.merging.verification import verified
from wvo_mcp.orchestration.tasks import review
from wvo_mcp.ports import SILENT, Clock, Store, Tracer, Transaction
from wvo_mcp.ports.merging import Conflicting, Failing, Landed, Landing, Moved, NotNow, Repository, Verdict
from wvo_mcp.ports.rules import ProjectRules

logger = logging.getLogger(__name__)
T = TypeVar("T")
Row = dict[str, Any]

_LOOK_SECONDS = 2.0
_LEAST_PAUSE = 0.5
_FIRST_AGAIN, _LAST_AGAIN = 1.0, 60.0
"""Seconds until what is parked for a cause that may pass is tried again: twice as long each time."""
_LONGEST = 3_600.0
"""Nobody's word makes it wait longer."""
_SOON = 10.0
_LOOKED_AT = 200
_HOST = 48
"""Characters of a host's name that a worker's row has."""

Hold = Callable[[Transaction, Entry, Task], Awaitable[str | None]]
"""Why an entry must not land yet, such as a review that it needs; None: it may."""


async def _never(tx: Transaction, entry: Entry, task: Task) -> str | None:
    return None


class _Gone(Exception):
    """Somebody took the entry out of the queue: nothing of it may land."""


@dataclass(kw_only=True)
class MergeQueue:
    """One of a runner process. `news` gets {event: landed, conflict, red or waiting, task_id, entry_id, reason, commit};
    `clear` is called with the id of a task that is done."""

    store: Store
    caller: Callable[[], Caller]
    repository: Repository
    rules: ProjectRules
    clock: Clock
    host: str
    tracer: Tracer = SILENT
    news: Callable[[Mapping[str, Any]], None] = field(default=lambda _: None)
    clear: Callable[[str], Awaitable[None]] | None = None
    hold: Hold = _never
    changed: Callable[[], None] = field(default=lambda: None)
    """Called when a task may have become ready."""
    landed: dict[str, str] = field(default_factory=dict[str, str])
    """What this run has landed: {task: commit}."""
    _foresight: Foresight = field(init=False)
    _remote_refs: RemoteRefs = field(init=False)
    _news: anyio.Event = field(default_factory=anyio.Event)
    _busy: bool = False

    def __post_init__(self) -> None:
        self._foresight = Foresight(self.repository)
        self._remote_refs = RemoteRefs(
            store=self.store, caller=self.caller, repository=self.repository, rules=self.rules, clock=self.clock
        )

    def wake(self) -> None:
        """Something may be there to be landed."""
        self._news.set()

    async def waits(self) -> bool:
        """Is anything being landed here, or could be in a moment?"""
        return self._busy or await self._next(None, _SOON) is not None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._news = anyio.Event()
            worked = False
            try:
                worked = await self.turn()
                if not worked:
                    await self._remote_refs.look()
            except Overtaken as error:
                logger.info("the merge queue: %s", error)
            except WvoError as error:
                logger.warning("the merge queue: %s", error.message)
            except Exception:  # an edge: the queue must outlive a defect of one step
                logger.exception("the merge queue failed")
            if not worked:
                with anyio.move_on_after(_LOOK_SECONDS):
                    await self._news.wait()

    async def turn(self) -> bool:
        """Land what can be landed for the target of the next entry, as long as the slot is ours. False when nothing was done.
        Raises what the store raises, and Overtaken."""
        found = await self._next(None)
        if found is None:
            return False
        self._busy = True
        try:
            return await self._turn(found)
        finally:
            self._busy = False
            self.changed()

    async def _turn(self, found: Row) -> bool:
        slot = Slot(self.store, self.caller, self.clock, role_of(found))
        if await slot.seek() is None:
            return False
        worked = await _beside(lambda: self._work(slot, role_of(found)), lambda: self._beside(slot, role_of(found)))
        if slot.term is None:
            raise Overtaken("the merge slot was lost")
        await slot.resign()
        return worked

    async def _beside(self, slot: Slot, role: str) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._foresee, slot, role)
            await self._keep(slot)
            tasks.cancel_scope.cancel()

    async def _foresee(self, slot: Slot, role: str) -> None:
        """Conflicts among what waits; a quarter of the time at most, so that landing is not slowed."""

        async def look(tx: Transaction) -> list[tuple[Row, Task]]:
            rows = await tx.submissions.in_states(AT_WORK, _LOOKED_AT)
            return [(row, await tx.tasks.get(row["task_id"])) for row in rows if role_of(row) == role]

        while (term := slot.term) is not None:
            began = self.clock.steady()
            try:
                rows = await term.read(term.caller, look)
                rules = self.rules.current()
                waiting = [landing_of(row, task, rules) for row, task in rows if self._is_ours(row)]
                if len(waiting) > 1:
                    await self._foresight.look(term, waiting)
            except (NotNow, Overtaken, WvoError) as error:
                logger.info("conflicts were not predicted: %s", error)
            await anyio.sleep(_LEAST_PAUSE + 3 * (self.clock.steady() - began))

    async def _keep(self, slot: Slot) -> None:
        """Renew the slot until it is lost."""
        while slot.term is not None:
            await anyio.sleep(slot.pause)
            try:
                await slot.seek()
            except WvoError as error:
                logger.warning("the merge slot was not renewed: %s", error.message)

    async def _work(self, slot: Slot, role: str) -> bool:
        worked = False
        while (term := slot.term) is not None and (entry := await self._next(role)) is not None:
            worked = True
            try:
                with self.tracer.span("merge", {"wvo.task.id": entry["task_id"], "wvo.merge.entry": entry["entry_id"]}):
                    await self._land(term, entry)
            except _Gone:
                logger.info("%s was taken out of the queue", entry["entry_id"])
        return worked

    async def _next(self, role: str | None, seconds: float = 0.0) -> Row | None:
        """What is to be done next here within so many seconds, of the slot or of any."""

        async def look(tx: Transaction) -> list[tuple[Entry, str, float]]:
            found: list[tuple[Entry, str, float]] = []
            for entry in await tx.submissions.in_states(OPEN, _LOOKED_AT):
                parked = entry["state"] == EntryState.PARKED
                if parked and (entry["retry_at"] is None or instant(entry["retry_at"]) > tx.now + soon):
                    continue
                if entry["review"] == WAITS:
                    continue
                task = await tx.tasks.get(entry["task_id"])
                found.append((entry, task.priority.value, task.score))
            return found

        soon = timedelta(seconds=seconds)
        await self.rules.refresh()
        waiting = await self.store.read(self.caller(), look)
        ours = [one for one in waiting if self._is_ours(one[0]) and role in (None, role_of(one[0]))]
        return dict(in_order(ours)[0]) if ours else None

    def _is_ours(self, entry: Entry) -> bool:
        """A branch of another host can only be moved there. Of a remote's, what another host submitted can be landed here
        once it was built there, for then the remote has it."""
        merge = self.rules.current().merge
        shared = merge is not None and merge.mode is not MergeMode.LOCAL
        at_remote = entry["candidate_sha"] is not None or entry["kind"] == EntryKind.REVERT
        return entry["host"] == self.host or (shared and at_remote)

    async def _land(self, term: LeaderTerm, entry: Row) -> None:
        rules = self.rules.current()
        task = await term.read(term.caller, lambda tx: tx.tasks.get(entry["task_id"]))
        try:
            landing = landing_of(entry, task, rules)
            if (why := await term.read(term.caller, lambda tx: self._held(tx, entry, task, landing.mode))) is not None:
                raise NotNow(why)
            if entry["candidate_sha"] and entry["state"] in (EntryState.LANDING, EntryState.PARKED):
                landed = await self.repository.landed(landing, entry["candidate_sha"])
                if landed is not None:
                    return await self._done(term, entry, landed, {})
            for _ in range(MOST_MOVED):
                try:
                    return await self._once(term, entry, landing, rules, task)
                except Moved:
                    continue
            raise NotNow(f"{entry['target']} moved {MOST_MOVED} times while it was verified")
        except Conflicting as conflict:
            await self._back(term, entry, EntryState.CONFLICT, *told_of_conflict(entry, conflict))
        except Failing as failing:
            await self._back(term, entry, EntryState.RED, *told_of_checks(entry, failing))
        except NotNow as error:
            await self._park(term, entry, error)

    async def _held(self, tx: Transaction, entry: Row, task: Task, mode: MergeMode) -> str | None:
        """Why it must not land yet."""
        if mode is MergeMode.LOCAL:
            others = sorted({worker.host for worker in await tx.workers.open()} - {as_id(self.host)[:_HOST]})
            if others:
                return (
                    f"work lands in the branch of this machine (merge mode local), but workers run on {', '.join(others)} too:"
                    " set merge.mode to push or pull_request"
                )
        return await self.hold(tx, entry, task)

    async def _once(self, term: LeaderTerm, entry: Row, landing: Landing, rules: Rules, task: Task) -> None:
        """Raises Moved, Conflicting, NotNow."""
        tip = await self.repository.tip(landing.target, landing.mode)
        await self._moved(term, entry, EntryState.BUILDING, tip_sha=tip, attempts=1)
        candidate = await self.repository.build(landing, tip)
        said, verdict = UNVERIFIED, Verdict(passed=True, took_ms=0)
        if candidate.files:
            commands = rules.verify_of(task.id, task.epic_id)
            await self._moved(term, entry, EntryState.VERIFYING, candidate_sha=candidate.commit)
            said, verdict = await verified(term, self.repository, candidate, rules, commands)
        if not verdict.passed:
            return await self._back(term, entry, EntryState.RED, *told_of_red(entry, verdict))
        log = {} if verdict.log is None else {"log": verdict.log}
        await self._moved(term, entry, EntryState.LANDING, found=log, candidate_sha=candidate.commit, verified=said)
        if not candidate.files:
            return await self._done(term, entry, Landed(commit=tip, note="all of it was there already"), {})
        await term.check()
        done = await self.repository.land(landing, candidate)
        return await self._done(term, entry, done, {"verified": said})

    # What is written

    async def _write(self, term: LeaderTerm, entry: Row, work: Callable[[Transaction, Row], Awaitable[T]]) -> T:
        """Raises _Gone, Overtaken."""

        async def checked(tx: Transaction) -> T:
            row = await tx.submissions.get(entry["entry_id"])
            if row is None or not (row["state"] in AT_WORK or _due_still(row, entry)):
                raise _Gone
            if row["review"] == WAITS:  # somebody asked for a review meanwhile
                raise _Gone
            return await work(tx, row)

        return await term.write(term.caller, checked)

    async def _moved(
        self,
        term: LeaderTerm,
        entry: Row,
        state: EntryState,
        attempts: int = 0,
        found: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        async def work(tx: Transaction, row: Row) -> None:
            tried: Row = {"attempts": row["attempts"] + attempts} if attempts else {}
            if found:
                tried["findings"] = json.dumps(json.loads(row["findings"]) | dict(found))
            await tx.submissions.change(row["entry_id"], {**fields, **tried, "state": state, "retry_at": None})

        await self._write(term, entry, work)

    async def _back(
        self, term: LeaderTerm, entry: Row, state: EntryState, told: str, findings: Mapping[str, Any]
    ) -> None:
        task = await self._write(term, entry, lambda tx, row: review.sent_back(tx, row, state, told, findings))
        self._tell(state.value, entry, reason=told, task=task.status.value)

    async def _park(self, term: LeaderTerm, entry: Row, why: NotNow) -> None:
        async def work(tx: Transaction, row: Row) -> None:
            wait = min(_LAST_AGAIN, _FIRST_AGAIN * 2 ** min(review.times_parked(row), 10))
            again = tx.now + timedelta(seconds=max(wait, min(why.seconds, _LONGEST))) if why.passing else None
            if why.pull_request is not None:
                await tx.submissions.change(row["entry_id"], {"pull_request": why.pull_request})
            await review.parked(tx, row, why.reason, again)

        await self._write(term, entry, work)
        if entry["reason"] != why.reason:
            self._tell("waiting", entry, reason=why.reason)

    async def _done(self, term: LeaderTerm, entry: Row, done: Landed, fields: Mapping[str, Any]) -> None:
        """The target has it: whatever became of the entry meanwhile, that is on record."""
        more = {"pull_request": done.pull_request, "tip_sha": done.onto}
        said = {
            **fields,
            **{name: value for name, value in more.items() if value is not None},
            "landed_sha": done.commit,
            "reason": done.note,
        }

        async def work(tx: Transaction) -> Task:
            row = await tx.submissions.get(entry["entry_id"])
            assert row is not None  # noqa: S101 - entries are never removed
            return await review.landed(tx, row, said)

        task = await term.write(term.caller, work)
        self.landed[entry["task_id"]] = done.commit
        self._tell("landed", entry, commit=done.commit, reason=done.note)
        if self.clear is not None and task.status.value == "done":
            await self.clear(task.id)

    def _tell(self, event: str, entry: Row, **more: Any) -> None:
        self.news({"event": event, "task_id": entry["task_id"], "entry_id": entry["entry_id"], **more})


async def _beside(work: Callable[[], Awaitable[T]], other: Callable[[], Awaitable[None]]) -> T:
    """What `work` returns or raises; `other` runs meanwhile, and its end cancels the work. Raises Overtaken then."""
    ended: list[T] = []
    failed: list[Exception] = []

    async def beside() -> None:
        await other()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(beside)
        try:
            ended.append(await work())
        except Exception as error:  # raised below, outside of the group, which would wrap it
            failed.append(error)
        tasks.cancel_scope.cancel()
    if failed:
        raise failed[0]
    if not ended:
        raise Overtaken("the merge slot was lost")
    return ended[0]


def _due_still(row: Row, entry: Entry) -> bool:
    """Is it parked as it was when it was found to be due? A person may have parked it since."""
    parked = row["state"] == entry["state"] == EntryState.PARKED
    return parked and row["retry_at"] is not None and row["retry_at"] == entry["retry_at"]
