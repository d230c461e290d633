"""The merge queue in people's hands: what waits to land and why, and what they do about it. Never a tool."""

import difflib
import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.merging import OPEN, SENT_BACK, EntryKind, EntryState, in_order
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.domain.text import Id, Text
from wvo_mcp.errors import NotFound
from wvo_mcp.operations.inputs import Input, OrNull, Output, first
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.operations.results import fitting
from wvo_mcp.orchestration.checking import asking, people
from wvo_mcp.orchestration.merging.unattended import waiting
from wvo_mcp.orchestration.tasks import review
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Providers

Row = Mapping[str, Any]
_LOOKED_AT = 200
_ENDED = tuple(state for state in EntryState if state not in OPEN)
_NEAR = 100
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


class MergeQueueShown(Output):
    at: Instant
    waiting: int
    unattended: bool = Field(default=False, description="No runner lands it: wvo-mcp run does.")
    entries: list[EntryLine] = Field(description="What waits, in its order.")
    ended: list[EntryLine] = Field(default=[], description="What landed or came back last.")


class ShowQueue(Input):
    ended: int = Field(default=5, ge=0, le=100, description="Entries at most that landed or came back.")


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
    ended = await tx.submissions.changed_last(_ENDED, params.ended) if params.ended else []
    return MergeQueueShown(
        at=tx.now,
        waiting=len(rows),
        unattended=await waiting(tx) > 0,
        entries=fitting(lines),
        ended=fitting([await _line(tx, row) for row in ended]),
    )


class OneEntry(Input):
    entry_id: Id = Field(description="Entry; or a task, whose newest entry it is.")


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
