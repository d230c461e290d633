"""What people look at first: what needs them, with what it rests on; who works; and what is asked, in full."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from wvo_mcp.domain.approval import Approval, ApprovalKind
from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.merging import EntryKind, EntryState
from wvo_mcp.domain.messages import PERSON
from wvo_mcp.domain.task import Status
from wvo_mcp.domain.text import Id
from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations import at_work
from wvo_mcp.operations.approvals import ApprovalLine, approval_line
from wvo_mcp.operations.inputs import Input, OrNull, Output, first
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.operations.ops import (
    HoldLine,
    LeaderLine,
    NextLine,
    ReadyTask,
    WaitingLine,
    leader_line,
    providers_now,
)
from wvo_mcp.operations.results import fitting
from wvo_mcp.orchestration import attention as looking
from wvo_mcp.orchestration.attention import Need
from wvo_mcp.orchestration.pool import facts
from wvo_mcp.orchestration.queue.planning import best_ready
from wvo_mcp.orchestration.routing.windows import all_windows
from wvo_mcp.orchestration.tasks import review
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.providers import Providers
from wvo_mcp.ports.reviews import Commits

_TEXT = 1_500
_ASKED = 50
_TAIL = 2_000
_DIFF = 14_000
_IDLE = 10


def _of(most: int) -> AfterValidator:
    return AfterValidator(lambda text: text and text[:most])


Short = Annotated[str | None, _of(300)]


class EntryShort(Output):
    """A submission that waits for a person, or came back."""

    entry_id: str
    kind: EntryKind
    state: EntryState
    target: str
    attempts: int
    reason: Short = None
    retries: bool = Field(default=False, description="merge_retry tries it again; else unblock sends the work back.")
    tail: Annotated[OrNull, _of(_TAIL)] = Field(default=None, description="End of what the verification printed.")
    files: Annotated[list[str], first(20)] = Field(default=[], description="Those in conflict.")


class AlertShort(Output):
    id: int
    kind: str
    task_id: str | None = None
    times: int
    evidence: dict[str, Any] = Field(default={})


class MessageShort(Output):
    message_id: str
    from_agent: str
    task_id: str | None = None


class NeedLine(WaitingLine):
    """With what it rests on, and what decides it."""

    detail: Annotated[str | None, _of(_TEXT)] = Field(default=None, validation_alias="text")
    task_id: str | None = None
    approval: ApprovalLine | None = None
    entry: EntryShort | None = None
    alert: AlertShort | None = None
    message: MessageShort | None = None
    waiting_for: str | None = Field(default=None, description="Cancelled or failed task that it is behind.")


class IdleAgent(Output):
    agent_id: str
    provider: str | None = None
    last_seen_at: Instant | None = None


class Attention(Output):
    at: Instant
    mode: Literal["running", "paused", "paused_gently", "stopped"]
    reason: str | None = Field(default=None, description="Of the pause.")
    counts: dict[str, int]
    wip_limit: int
    needs: list[NeedLine] = Field(description="What waits for a person, in the order in which it frees work.")
    needs_count: int
    running: list[at_work.RunningLine]
    merging: list[at_work.MergingLine] = Field(default=[], description="What waits to land, in its order.")
    idle: list[IdleAgent] = Field(default=[], description="Agents that are there and hold nothing.")
    ready: list[ReadyTask]
    holds: list[HoldLine] = Field(default=[], description="Why work is not begun.")
    next: NextLine
    leader: LeaderLine | None = Field(default=None, description="The server that does the background work.")


class AttentionAsk(Input):
    limit: int = Field(default=20, ge=1, le=100, description="Things that need a person, at most.")
    skip: int = Field(default=0, ge=0, le=10_000, description="How many of them were shown before.")


@operation(toolset="people", effect=Effect.READ, audience=Audience.PEOPLE)
async def attention(ctx: Context, params: AttentionAsk, providers: Providers) -> Attention:
    """Show what needs you, with what it rests on, who works on what, what is ready, and why work is not begun."""
    tx = ctx.tx
    counts = await tx.tasks.counts()
    counts["ready"] = await tx.health.claimable()
    wanted = await looking.needs(tx)
    halt, file = await facts.read(tx), await tx.state.get("roadmap")
    mode = "stopped" if halt.stop else "running" if halt.gives_out else "paused" if halt.interrupts else "paused_gently"
    return Attention(
        at=tx.now,
        mode=mode,
        reason=halt.reason,
        counts=counts,
        wip_limit=ctx.policy.wip_limit,
        needs=fitting(_need(tx, one) for one in wanted[params.skip :][: params.limit]),
        needs_count=len(wanted),
        running=await at_work.running(tx),
        merging=await at_work.merging(tx),
        idle=await _idle(tx),
        ready=[ReadyTask.of(task) for task in await best_ready(tx, 10)],
        holds=[
            HoldLine.of(one) for one in await looking.holds(tx, ctx.policy, counts, await providers_now(tx, providers))
        ],
        next=NextLine.of(looking.following(counts, wanted, paused=not halt.gives_out, roadmap=file)),
        leader=await leader_line(tx),
    )


def _need(tx: Transaction, need: Need) -> NeedLine:
    task, approval, entry = need.task, need.approval, need.entry
    about = None if need.alert is None else need.alert["task_id"]
    return NeedLine.of(
        {
            "id": need.id,
            "why": need.why,
            "run": need.run,
            "since": need.since,
            "title": None if task is None else task.title,
            # What is asked is in the approval.
            "text": need.text if approval is None else None,
            "task_id": task.id if task is not None else need.id if need.waiting_for else about,
            "approval_id": need.approval_id,
            "approval": None if approval is None else approval_line(tx, approval),
            "entry": None if entry is None else _entry(need, entry),
            "alert": need.alert,
            "message": need.message,
            "waiting_for": need.waiting_for,
        }
    )


def _entry(need: Need, entry: Mapping[str, Any]) -> EntryShort:
    parked = entry["state"] == EntryState.PARKED
    blocked = need.task is not None and need.task.status is Status.BLOCKED
    again = parked and not (blocked and need.task is not None and not review.lands_again(need.task))
    files = json.loads(entry["findings"] or "{}").get("paths", [])
    return EntryShort.of({**entry, "retries": again, "tail": need.tail, "files": files})


async def _idle(tx: Transaction) -> list[IdleAgent]:
    rows: Sequence[Mapping[str, Any]] = await tx.sessions.described("idle", _IDLE)
    return [IdleAgent.of(dict(row)) for row in rows if row["task_id"] is None and row["agent_id"] != PERSON]


class ShowApproval(Input):
    approval_id: Id = Field(description="Approval.")


class AskedBudget(Output):
    scope: str
    name: str
    period: str
    limit: int
    new_limit: int
    wanted: int = Field(description="Tokens, by the work that waits.")
    used: int | None = None
    reserved: int | None = None
    resets_at: Instant | None = None


class ReviewSaid(Output):
    reviewer: OrNull = None
    verdict: str | None = None
    summary: Annotated[str | None, _of(1_000)] = None


class ApprovalShown(Output):
    approval: ApprovalLine = Field(description="With all that is asked.")
    why: OrNull = Field(default=None, description="The reason that its agent gave.")
    entry_id: str | None = Field(default=None, description="Submission that waits for it.")
    commit: str | None = None
    files: Annotated[list[str], first(100)] = Field(default=[], description="That the commit changes.")
    diff: str | None = Field(default=None, description="Absent: this repository does not have the commit.")
    cut: bool = Field(default=False, description="The rest of the diff is left out.")
    reviews: list[ReviewSaid] = Field(default=[])
    budget: AskedBudget | None = None


@operation(toolset="people", effect=Effect.READ, audience=Audience.PEOPLE, manages_own_transactions=True)
async def approval_show(
    ctx: Context, params: ShowApproval, store: WatchedStore, commits: Commits, providers: Providers
) -> ApprovalShown:
    """Show an approval in full: all that is asked, the changes that it would let land, what reviewers said, the budget's
    use."""

    async def read(tx: Transaction) -> tuple[ApprovalShown, str | None]:
        approval = await tx.approvals.get(params.approval_id)
        line = approval_line(tx, approval, whole=True)
        if approval.kind is ApprovalKind.BUDGET:
            return ApprovalShown(approval=line, budget=await _budget(tx, approval, providers)), None
        if approval.kind is not ApprovalKind.MERGE or approval.task_id is None:
            return ApprovalShown(approval=line, why=await _why(tx, approval)), None
        return await _merge(tx, approval, line)

    shown, base = await store.read(ctx.caller, read)
    if shown.commit is None:
        return shown
    found = await commits.between(base, shown.commit, _DIFF)
    if found is None:
        return shown
    return shown.model_copy(update={"diff": found.text, "files": list(found.files)[:100], "cut": found.cut})


async def _why(tx: Transaction, approval: Approval) -> str | None:
    for event in await tx.events.of_kinds(("approval.asked",), _ASKED, approval.task_id):
        if event.data.get("approval_id") == approval.approval_id:
            return event.data.get("why")
    return None


async def _merge(tx: Transaction, approval: Approval, line: ApprovalLine) -> tuple[ApprovalShown, str | None]:
    """And the commit that its changes are counted from."""
    task_id, commit = approval.task_id or "", str(approval.subject.get("commit") or "") or None
    of_commit = [one for one in await tx.submissions.of_task(task_id) if one["commit_sha"] == commit]
    asked = approval.subject.get("review")
    reviews = [] if asked is None else await tx.reviews.of_round(task_id, int(asked))
    base = of_commit[0]["base_sha"] if of_commit else reviews[0].base_sha if reviews else None
    shown = ApprovalShown(
        approval=line,
        entry_id=of_commit[0]["entry_id"] if of_commit else None,
        commit=commit,
        reviews=[ReviewSaid.of(one) for one in reviews if one.verdict is not None],
    )
    return shown, base


async def _budget(tx: Transaction, approval: Approval, providers: Providers) -> AskedBudget:
    asked = approval.subject
    try:
        windows = await all_windows(tx, providers.current())
    except InvalidInput:  # there is an alert about their file
        windows = []
    key = (asked["scope"], asked["name"], asked["period"])
    now = next((window for window in windows if window.key == key), None)
    more = {} if now is None else {name: getattr(now, name) for name in ("used", "reserved", "resets_at")}
    return AskedBudget.model_validate({**asked, **more})
