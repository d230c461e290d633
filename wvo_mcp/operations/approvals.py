"""What only a person may allow: agents ask (toolset `approvals`), people decide with commands, never with a tool."""

from typing import Literal

from pydantic import AliasChoices, Field

from wvo_mcp.domain.approval import Approval, ApprovalKind, ApprovalState, subject_of_command
from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.task import BlockAuthor, Status, Task
from wvo_mcp.domain.text import Id, Prose, Text
from wvo_mcp.errors import Conflict, IllegalTransition, InvalidInput
from wvo_mcp.operations.core.planning import NotReadyTask, TaskLine
from wvo_mcp.operations.inputs import Input, LeaseWrite, OrNull, Output
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.operations.results import fitting, position
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.orchestration.queue.planning import Circumstances, why_not_ready
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Providers


class ApprovalLine(Output):
    approval_id: str
    kind: ApprovalKind
    state: ApprovalState
    task_id: str | None = None
    about: str = Field(description="What is asked.")
    asked_by: OrNull = Field(default=None, description="Absent: a person set the gate.")
    created_at: Instant
    expires_at: Instant | None = Field(default=None, description="When silence becomes a no; absent: never.")
    decided_by: str | None = None
    decided_at: Instant | None = None
    reason: str | None = None
    decide: str | None = Field(default=None, description="The command that a person decides it with.")
    question: bool = Field(default=False, description="It is answered in words.")


_SHOWN = 1_000


def approval_line(tx: Transaction, approval: Approval, *, whole: bool = False) -> ApprovalLine:
    late = approval.late(tx.now)
    is_open = approval.state is ApprovalState.PENDING and not late
    return ApprovalLine.of(
        approval,
        about=approval.about if whole else approval.glance(_SHOWN, lines=True),
        state=ApprovalState.EXPIRED if late else approval.state,
        expires_at=approval.expires_at if is_open else None,
        decide=approval.decide.partition("   ")[0] if is_open else None,
        question=is_open and approval.question,
    )


class ApprovalRequest(LeaseWrite):
    command: Prose | None = Field(default=None, description="Shell command to run, exactly.")
    cwd: str = Field(default=".", max_length=1_000, description="Its folder, relative to your workspace.")
    question: Prose | None = Field(default=None, description="Instead of a command: what to allow, yes or no.")
    reason: Text | None = Field(default=None, description="Why, for the person.")


class ApprovalAsked(Output):
    approval: ApprovalLine
    task: TaskLine

    @property
    def answers_repeats(self) -> bool:
        return self.approval.state is ApprovalState.PENDING


@operation(toolset="approvals", effect=Effect.WRITE)
async def approval_request(ctx: Context, params: ApprovalRequest) -> ApprovalAsked:
    """Ask a person to allow a command, or to decide about your task. State approved: you may run exactly this command, once.
    Else your task waits and your lease ends: stop working on it; it is kept for you once decided, and the answer is in
    resume when you claim it."""
    tx = ctx.tx
    await tx.sessions.ensure()
    if (params.command is None) == (params.question is None):
        raise InvalidInput("command", "give either a command or a question")
    task = await lifecycle.held(tx, ctx.policy, params.task_id, params.lease_token, Status.AWAITING_APPROVAL)
    if params.command is not None:
        kind, subject = ApprovalKind.COMMAND, subject_of_command(task.id, params.command, params.cwd)
        # A worker runs it next, and its request to do so is what uses the approval.
        allowed = await (deciding.use if tx.caller.admitted is None else deciding.usable)(tx, kind, subject)
        if allowed is not None:
            line = approval_line(tx, allowed).model_copy(update={"state": ApprovalState.APPROVED})
            return ApprovalAsked(approval=line, task=TaskLine.of(task))
    else:
        kind, subject = ApprovalKind.TASK, {"task_id": task.id, "question": params.question}
    approval = await deciding.ask(tx, ctx.policy, task, kind, subject, params.reason)
    return ApprovalAsked.of({"approval": approval_line(tx, approval), "task": await tx.tasks.get(task.id)})


class ApprovalStatus(Input):
    approval_id: Id | None = Field(default=None, description="One approval.")
    task_id: Id | None = Field(default=None, description="Those of a task, newest first.")


class ApprovalList(Output):
    approvals: list[ApprovalLine]
    next_cursor: str | None = Field(default=None, description="There are more.")
    open: int = Field(description="How many wait for a person.")


@operation(toolset="approvals", effect=Effect.READ)
async def approval_status(ctx: Context, params: ApprovalStatus) -> ApprovalList:
    """Show what people decided, or that they have not yet: of one approval, or of all of a task."""
    tx = ctx.tx
    if (params.approval_id is None) == (params.task_id is None):
        raise InvalidInput("approval_id", "give either an approval_id or a task_id")
    if params.approval_id is not None:
        found = [await tx.approvals.get(params.approval_id)]
    else:
        found = await tx.approvals.of_task((await tx.tasks.get(str(params.task_id))).id, 20)
    lines = [approval_line(tx, approval, whole=params.task_id is None) for approval in found]
    waiting = sum(line.state is ApprovalState.PENDING for line in lines)
    return ApprovalList(approvals=fitting(lines), open=waiting)


_OPEN = "open-"
"""What the cursor of a page begins with that ends among the open ones."""


class ApprovalsAsk(Input):
    state: Literal["open", "all"] = Field(default="all", description="Only open ones, or decided ones too.")
    limit: int = Field(default=20, ge=1, le=100, description="How many at most.")
    cursor: str | None = Field(default=None, max_length=40, description="next_cursor of the previous page.")


@operation(toolset="people", effect=Effect.READ, audience=Audience.PEOPLE)
async def approvals(ctx: Context, params: ApprovalsAsk) -> ApprovalList:
    """List what agents ask of people: open approvals first, what expires first at the top, then the latest decisions."""
    tx, wanted = ctx.tx, params.limit + 1
    text = params.cursor or ""
    place = position(text.removeprefix(_OPEN))
    among_open = place is None or text.startswith(_OPEN)
    found = await tx.approvals.waiting(wanted, place) if among_open else []
    if params.state == "all" and len(found) < wanted:
        found += await tx.approvals.decided(wanted - len(found), None if among_open else place)
    page = fitting(approval_line(tx, approval) for approval in found[: params.limit])
    last = found[len(page) - 1] if page and len(page) < len(found) else None
    waits = last is not None and last.state is ApprovalState.PENDING and not last.late(tx.now)
    return ApprovalList(
        approvals=page,
        next_cursor=None if last is None else f"{_OPEN if waits else ''}{last.seq}",
        open=await tx.approvals.count_waiting(),
    )


_ID = Field(validation_alias=AliasChoices("id", "task_id"), description="Approval, or task with one open approval.")


class Approve(Input):
    id: Id = _ID
    reason: Text | None = Field(default=None, description="Reason, kept in the history.")


class Deny(Input):
    id: Id = _ID
    reason: Prose = Field(description="Reason; the agent is told.")


class Approved(Output):
    approval: ApprovalLine | None = None
    task: TaskLine | None = None
    not_ready: NotReadyTask | None = Field(default=None, description="What else it waits for; absent when it is ready.")


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.OPERATOR)
async def approve(ctx: Context, params: Approve, providers: Providers) -> Approved:
    """Approve what an agent asked, a task that requires approval, or a larger budget."""
    return await _decide(ctx, params.id, True, params.reason, providers)


@operation(toolset="people", effect=Effect.WRITE, audience=Audience.PEOPLE, role=Role.OPERATOR)
async def deny(ctx: Context, params: Deny, providers: Providers) -> Approved:
    """Deny what an agent asked: a command is not run and its task goes on; a task is blocked with the reason."""
    return await _decide(ctx, params.id, False, params.reason, providers)


async def _decide(ctx: Context, known: str, approved: bool, reason: str | None, providers: Providers) -> Approved:
    tx = ctx.tx
    await tx.sessions.ensure()
    approval, task = await _named(tx, known)
    if approval is not None:
        decided = await deciding.decide(tx, approval, approved, reason, providers)
        return await _result(ctx, decided.approval, decided.task)
    assert task is not None  # noqa: S101 - it is one of them
    return await _result(ctx, None, await _whole(tx, task, approved, reason))


async def _named(tx: Transaction, known: str) -> tuple[Approval | None, Task | None]:
    """The approval with this id, or the one that is open of the task with this id; else the task. Raises NotFound, Conflict."""
    approval, task = await tx.approvals.find(known), await tx.tasks.find(known)
    if task is None:
        return (approval or await _missing(tx, known)), None
    asked = await tx.approvals.open_of_task(task.id)
    waiting = [one for one in asked if not one.late(tx.now)]
    if approval is None and len(waiting) < 2:
        found = waiting or asked  # silence was a no, though the leader has not written it down yet
        return (found[0] if found else None), task
    ids = [one.approval_id for one in ([approval] if approval else []) + waiting]
    if approval is not None and not waiting:
        return approval, task
    raise Conflict(
        f"{known} is "
        + ("both an approval and a task" if approval else f"a task with {len(waiting)} open approvals")
        + ".",
        hint=f"Name one of {', '.join(sorted(set(ids) - {task.id}))}.",
        approvals=ids,
    )


async def _missing(tx: Transaction, known: str) -> Approval:
    """Raises NotFound: of an approval where the id looks like one."""
    if known.upper().startswith("A-"):
        return await tx.approvals.get(known)
    await tx.tasks.get(known, "id")
    raise AssertionError(known)


async def _whole(tx: Transaction, task: Task, approved: bool, reason: str | None) -> Task:
    """A task with no open approval, decided as it is: it is in progress, say, or what it asked is void."""
    data = {"reason": reason} if reason else {}
    waits = task.status is Status.AWAITING_APPROVAL
    if not waits and (not task.requires_approval or (approved and task.status in (Status.DONE, Status.CANCELLED))):
        verdict = "approved" if approved else "denied"
        raise IllegalTransition(task.id, task.status, verdict, "It does not wait for an approval.")
    if not approved:
        fields = {"blocked_reason": reason, "block_author": BlockAuthor.APPROVAL}
        fields |= {"requires_approval": True, "approved_at": None}
        return (await lifecycle.move(tx, task, Status.BLOCKED, "task.denied", fields, data)).task
    if waits:
        return (await lifecycle.move(tx, task, Status.PENDING, "task.approved", {"approved_at": tx.now}, data)).task
    return await tx.tasks.change(task, "task.approved", {"approved_at": task.approved_at or tx.now}, data)


async def _result(ctx: Context, approval: Approval | None, task: Task | None) -> Approved:
    waits = None
    if task is not None and task.status is not Status.BLOCKED:
        why = await why_not_ready(ctx.tx, task, Circumstances(ctx.tx, ctx.caller.agent_id, ctx.policy))
        waits = None if why is None else NotReadyTask(id=task.id, reason=why[0], waiting_for=why[1])
    line = None if approval is None else approval_line(ctx.tx, approval)
    return Approved.of({"approval": line, "task": task, "not_ready": waits})
