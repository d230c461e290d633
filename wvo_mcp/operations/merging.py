"""The merge queue in people's hands: what waits to land and why, and what they do about it. Never a tool."""

import difflib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.merging import OPEN, SENT_BACK, EntryKind, EntryState, in_order
from wvo_mcp.domain.redaction import redact
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.domain.text import Id, Text
from wvo_mcp.errors import Forbidden, NotFound, StoreUnavailable
from wvo_mcp.operations.inputs import Input, OrNull, Output, TaskId, first
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.operations.results import fitting, position
from wvo_mcp.orchestration.checking import asking, people
from wvo_mcp.orchestration.merging.unattended import waiting
from wvo_mcp.orchestration.tasks import review
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.providers import Providers
from wvo_mcp.ports.reviews import Commits
from wvo_mcp.ports.workers import WorkerLogs

Row = Mapping[str, Any]
_LOOKED_AT = 200
_ENDED = tuple(state for state in EntryState if state not in OPEN)
_NEAR = 100
_DIFF = 10_000
_LOG = 4_000
"""Characters that are shown."""
_SHOWN = 20
_ALL = "all"
BY_A_PERSON = "parked by a person"
Short = Annotated[str | None, AfterValidator(lambda text: text and text[:500])]


class Predicted(Output):
    other: str = Field(description="Entry, or the target, that it would conflict with.")
    paths: list[str]


class EntryLine(Output):
    entry_id: str
    kind: EntryKind
    task_id: str
    title: Annotated[str, first(200)]
    task_status: Status
    state: EntryState
    place: int | None = Field(default=None, description="Its turn in the line, from 1.")
    target: str
    commit: str
    landed: OrNull = Field(default=None, description="Commit of the target.")
    verified: OrNull = None
    files: Annotated[list[str], first(20)] = Field(default=[], description="Those in conflict.")
    predicted: list[Predicted] = Field(default=[], description="Conflicts that it would meet.")
    drift: int = Field(default=0, description="Changed files that its task did not name.")
    attempts: int
    reason: Short = None
    pull_request: OrNull = None
    log: OrNull = Field(default=None, description="What the verification printed.")
    retry_at: Instant | None = None
    created_at: Instant
    since: Instant
    next: OrNull = Field(default=None, description="What a person can do.")
    can: list[str] = Field(default=[], description="Controls that its state allows: retry, park, revert.")


class MergeQueueShown(Output):
    at: Instant
    waiting: int
    unattended: bool = Field(default=False, description="No runner lands it: wvo-mcp run does.")
    entries: list[EntryLine] = Field(description="What waits, in its order.")
    ended: list[EntryLine] = Field(default=[], description="What landed or came back last.")
    next_cursor: str | None = Field(default=None, description="There are older ones.")


class ShowQueue(Input):
    ended: int = Field(default=5, ge=0, le=100, description="Entries at most that landed or came back.")
    cursor: str | None = Field(
        default=None, max_length=40, description="next_cursor of the previous page, or all: ended entries by number."
    )


@operation(toolset="merge", effect=Effect.READ, audience=Audience.PEOPLE)
async def merge_queue(ctx: Context, params: ShowQueue) -> MergeQueueShown:
    """Show the merge queue: what waits to land, in its order, why it waits, and what landed or came back last."""
    tx = ctx.tx
    rows = await tx.submissions.in_states(OPEN, _LOOKED_AT)
    tasks = {row["task_id"]: await tx.tasks.get(row["task_id"]) for row in rows}
    order = in_order((row, tasks[row["task_id"]].priority.value, tasks[row["task_id"]].score) for row in rows)
    line = [row for row in order if row["state"] != EntryState.PARKED]
    parked = [row for row in order if row["state"] == EntryState.PARKED]
    lines = [await _line(tx, row, place) for place, row in enumerate(line, 1)]
    lines += [await _line(tx, row) for row in parked]
    ended, following = await _ended(tx, params)
    return MergeQueueShown(
        at=tx.now,
        waiting=len(rows),
        unattended=await waiting(tx) > 0,
        entries=fitting(lines),
        ended=ended,
        next_cursor=following,
    )


async def _ended(tx: Transaction, params: ShowQueue) -> tuple[list[EntryLine], str | None]:
    """And the cursor of the next page: after what changed last come all by their numbers, so that none is missing."""
    if not params.ended:
        return [], None
    if params.cursor is None:
        rows = await tx.submissions.changed_last(_ENDED, params.ended + 1)
    else:
        before = None if params.cursor == _ALL else position(params.cursor)
        rows = await tx.submissions.below(_ENDED, params.ended + 1, before)
    lines = fitting([await _line(tx, row) for row in rows[: params.ended]])
    if len(lines) == len(rows):
        return lines, None
    return lines, _ALL if params.cursor is None else str(rows[len(lines) - 1]["seq"])


class OfTask(Input):
    task_id: TaskId


class Submissions(Output):
    entries: list[EntryLine] = Field(description="Newest first.")


@operation(toolset="merge", effect=Effect.READ, audience=Audience.PEOPLE)
async def submissions(ctx: Context, params: OfTask) -> Submissions:
    """Show what a task submitted: each entry of the merge queue, what became of it, and why."""
    task = await ctx.tx.tasks.get(params.task_id)
    rows = await ctx.tx.submissions.of_task(task.id)
    return Submissions(entries=fitting([await _line(ctx.tx, row) for row in rows[:_SHOWN]]))


class OneEntry(Input):
    entry_id: Id = Field(description="Entry; or a task, whose newest entry it is.")


class EntryShown(Output):
    at: Instant
    entry: EntryLine
    base: OrNull = Field(default=None, description="The diff is from this commit to `shown`.")
    shown: OrNull = Field(
        default=None, description="The candidate on its target; or what was submitted, before it is built."
    )
    diff: str | None = Field(default=None, description="Null: this repository does not have the commits.")
    diff_cut: bool = False
    changed: Annotated[list[str], first(200)] = Field(default=[], description="Paths.")
    changed_count: int = 0
    failed_command: OrNull = Field(default=None, description="Of the verification.")
    exit_code: int | None = None
    tail: OrNull = Field(default=None, description="What matters of what it printed.")
    log_lines: list[str] = Field(default=[], description="The end of the verification's log.")
    log_cut: bool = Field(default=False, description="Its beginning is left out.")


@operation(toolset="merge", effect=Effect.READ, audience=Audience.PEOPLE, manages_own_transactions=True)
async def merge_show(
    ctx: Context, params: OneEntry, store: WatchedStore, commits: Commits, logs: WorkerLogs
) -> EntryShown:
    """Show an entry of the merge queue: the diff of its candidate, and what its verification printed."""

    async def look(tx: Transaction) -> tuple[Row, EntryLine, Instant]:
        row = await _named(tx, params.entry_id, lambda row: row["state"] in OPEN)
        return row, await _line(tx, row), tx.now

    row, entry, now = await store.read(ctx.caller, look)
    findings = json.loads(row["findings"])
    base, shown, diff = None, None, None
    for base, shown in _stretches(row):
        if (diff := await commits.between(base, shown, _DIFF)) is not None:
            break
    lines: list[str] = []
    if entry.log is not None:
        with suppress(NotFound, Forbidden, StoreUnavailable):  # it is on another host, or was removed
            lines = list((await logs.read(entry.log, None, raw=True)).lines)
    kept = _last(lines, _LOG)
    return EntryShown(
        at=now,
        entry=entry,
        base=base,
        shown=shown,
        diff=None if diff is None else redact(diff.text),
        diff_cut=diff is not None and diff.cut,
        changed=[] if diff is None else list(diff.files),
        changed_count=0 if diff is None else len(diff.files),
        failed_command=findings.get("command"),
        exit_code=findings.get("exit_code"),
        tail=None if kept else findings.get("tail"),
        log_lines=kept,
        log_cut=len(kept) < len(lines),
    )


def _stretches(row: Row) -> list[tuple[str, str]]:
    """From where to where the work of an entry goes: what would land or has landed, else what was submitted. A revert goes
    back."""
    submitted = (row["base_sha"], row["commit_sha"])
    if row["kind"] == EntryKind.REVERT:
        submitted = (row["commit_sha"], row["base_sha"])
    built = [(row["tip_sha"], row["candidate_sha"])] if row["tip_sha"] and row["candidate_sha"] else []
    return [*built, submitted]


def _last(lines: list[str], most: int) -> list[str]:
    """The last ones that have so many characters together."""
    kept: list[str] = []
    for line in reversed(lines):
        most -= len(line) + 4
        if most < 0:
            break
        kept.append(line)
    return kept[::-1]


class ParkEntry(OneEntry):
    reason: Text | None = Field(default=None, description="Reason, kept in the history.")


class EntryChanged(Output):
    entry: EntryLine
    task_id: str
    status: Status


@operation(toolset="merge", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.OPERATOR)
async def merge_retry(ctx: Context, params: OneEntry, providers: Providers) -> EntryChanged:
    """Try a parked submission again now. A task that was blocked with it is in review again."""
    await ctx.tx.sessions.ensure()
    entry = await _named(ctx.tx, params.entry_id, lambda row: row["state"] == EntryState.PARKED)
    await review.retry(ctx.tx, entry)
    await people.tried_again(ctx.tx, entry, asking.candidates(providers))
    return await _changed(ctx.tx, entry["entry_id"])


@operation(toolset="merge", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.OPERATOR)
async def merge_park(ctx: Context, params: ParkEntry) -> EntryChanged:
    """Take a submission out of the line. Its task is blocked until you try it again, or unblock it, which sends the
    work back to an agent."""
    await ctx.tx.sessions.ensure()
    entry = await _named(ctx.tx, params.entry_id, lambda row: row["state"] in OPEN)
    await review.park(ctx.tx, entry, params.reason or BY_A_PERSON)
    return await _changed(ctx.tx, entry["entry_id"])


@operation(toolset="merge", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.OPERATOR)
async def merge_revert(ctx: Context, params: OneEntry) -> EntryChanged:
    """Take back what a submission has landed, by a new commit that the queue verifies and lands. Its task is reopened
    then."""
    await ctx.tx.sessions.ensure()
    entry = await _named(ctx.tx, params.entry_id, _landed)
    added = await review.revert(ctx.tx, entry)
    return await _changed(ctx.tx, added["entry_id"])


def _landed(row: Row) -> bool:
    return row["state"] == EntryState.MERGED and row["kind"] == EntryKind.SUBMISSION


async def _named(tx: Transaction, name: str, fits: Callable[[Row], bool]) -> dict[str, Any]:
    """The entry, or of the task of this name the newest that fits, else its newest. Raises NotFound."""
    if (entry := await tx.submissions.get(name)) is not None:
        return entry
    entries = await tx.submissions.of_task(name)
    if entries:
        return next((row for row in entries if fits(row)), entries[0])
    known = [row["entry_id"] for row in await tx.submissions.changed_last(tuple(EntryState), _NEAR)]
    near = difflib.get_close_matches(name, known, 3, 0.6) or (await tx.tasks.near(name))[:3]
    hint = "wvo-mcp merge queue lists them."
    raise NotFound("entry", name, near, field="entry_id", hint=hint)


async def _changed(tx: Transaction, entry_id: str) -> EntryChanged:
    row = await tx.submissions.get(entry_id)
    assert row is not None  # noqa: S101 - entries are never removed
    line = await _line(tx, row)
    return EntryChanged(entry=line, task_id=line.task_id, status=line.task_status)


async def _line(tx: Transaction, row: Row, place: int | None = None) -> EntryLine:
    task = await tx.tasks.get(row["task_id"])
    findings = json.loads(row["findings"])
    predicted = [
        Predicted(other=one["with"] or row["target"], paths=one["paths"][:5]) for one in findings.get("predicted", ())
    ]
    return EntryLine.of(
        {
            **row,
            "title": task.title,
            "task_status": task.status,
            "place": place,
            "commit": row["commit_sha"],
            "landed": row["landed_sha"],
            "files": findings.get("paths", []),
            "predicted": predicted if row["state"] in OPEN else [],
            "drift": len(json.loads(row["drift"])),
            "log": findings.get("log"),
            "since": row["updated_at"],
            "next": _next(row, task),
            "can": await review.possible(tx, row, task),
        }
    )


def _next(row: Row, task: Task) -> str | None:
    entry, unblocked = row["entry_id"], f"wvo-mcp unblock {task.id}"
    if row["state"] == EntryState.PARKED:
        if row["kind"] == EntryKind.SUBMISSION and task.status is Status.BLOCKED:
            return f"wvo-mcp merge retry {entry}, or {unblocked}" if review.lands_again(task) else unblocked
        return None if row["retry_at"] else f"wvo-mcp merge retry {entry}"
    if row["state"] in SENT_BACK and task.status is Status.BLOCKED:
        return unblocked
    return None
