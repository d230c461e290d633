"""What people ask of a task and of the whole: why is it not running, what was set right, what was refused."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from wvo_mcp.domain import mended
from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.task import Status
from wvo_mcp.domain.text import Id
from wvo_mcp.domain.wsjf import Why
from wvo_mcp.operations.inputs import Input, OrNull, Output, TaskId, first
from wvo_mcp.operations.operation import Audience, Context, Effect, operation
from wvo_mcp.operations.results import fitting, position
from wvo_mcp.orchestration.queue import explaining, planning
from wvo_mcp.ports.providers import Providers


class AskWhy(Input):
    task_id: TaskId


class EpicLimit(Output):
    id: str
    in_progress: int
    wip_limit: int | None


class RouteView(Output):
    """Where the last attempt was routed."""

    provider: str
    tier: str
    model: str
    reason: str
    tokens: int = Field(validation_alias="reported", description="Reported so far.")


class PlaceView(Output):
    """Where its files are."""

    workspace_id: str
    mode: str = Field(description="worktree, shadow (a copy), or folder (nothing is kept of it).")
    state: str
    host: str
    path: str
    branch: OrNull = None


class TaskExplained(Output):
    task_id: str
    title: str
    status: Status
    since: Instant
    reason: str = Field(description="A word for programs.")
    sentence: Annotated[str, first(2_000)]
    waiting_for: Annotated[list[str], first(50)] = Field(default=[])
    until: Instant | None = Field(default=None, description="Then it is over by itself.")
    score: float
    parts: Why = Field(description="(value + time + unlock) / (complexity + unlock size) + path.")
    in_progress: int
    wip_limit: int
    epic: EpicLimit | None = None
    kept_for: OrNull = None
    kept_until: Instant | None = None
    holder: OrNull = Field(default=None, description="Who works on it.")
    server_gone: bool = Field(default=False, description="Its server is gone; the task soon returns.")
    route: RouteView | None = None
    workspace: PlaceView | None = None
    version: int


@operation(toolset="people", effect=Effect.READ, audience=Audience.PEOPLE)
async def why(ctx: Context, params: AskWhy, providers: Providers) -> TaskExplained:
    """Explain why a task is not running, what its score is made of, and who holds it."""
    tx = ctx.tx
    task = await tx.tasks.get(params.task_id)
    found = await explaining.explain(tx, ctx.policy, task, providers)
    epic = None if task.epic_id is None else await tx.tasks.epic(task.epic_id)
    session = None if task.session_id is None else await tx.sessions.get(task.session_id)
    gone = session is not None and not session["durable"] and not tx.liveness.alive(session["session_id"])
    route = await tx.routing.route(task.id)
    kept = task.kept_until is not None and task.kept_until > tx.now
    return TaskExplained.of(
        {
            **{name: getattr(found, name) for name in ("reason", "sentence", "waiting_for", "until")},
            "task_id": task.id,
            "title": task.title,
            "status": task.status,
            "since": await explaining.since(tx, task),
            "score": task.score,
            "parts": await planning.why(tx, task),
            "in_progress": (await tx.tasks.counts())["in_progress"],
            "wip_limit": ctx.policy.wip_limit,
            "epic": epic,
            "kept_for": task.kept_for if kept else None,
            "kept_until": task.kept_until if kept else None,
            "holder": task.assigned_to if task.status is Status.IN_PROGRESS else None,
            "server_gone": gone,
            "route": route,
            "workspace": await tx.workspaces.open_of(task.id),
            "version": task.version,
        }
    )


class OlderOf(Input):
    task_id: Id | None = Field(default=None, description="Only this task.")
    limit: int = Field(default=20, ge=1, le=100, description="How many at most.")
    cursor: str | None = Field(default=None, max_length=40, description="next_cursor of the previous page.")


class Recovered(Output):
    seq: int
    at: Instant
    task_id: OrNull = None
    kind: str
    said: Annotated[str, first(500)]
    data: dict[str, Any] = Field(default={})


class Recoveries(Output):
    recoveries: list[Recovered]
    next_cursor: str | None = None


@operation(toolset="people", effect=Effect.READ, audience=Audience.PEOPLE)
async def recoveries(ctx: Context, params: OlderOf) -> Recoveries:
    """List what was set right without a person, newest first: remedies of health, relaunches with corrected permissions,
    attempts that failed, lost workers and reviews, files that went back, providers that were left alone."""
    before = position(params.cursor)
    found = await ctx.tx.events.of_kinds(mended.KINDS, params.limit + 1, params.task_id, before)
    page = fitting(Recovered.of(one, said=mended.sentence(one.kind, one.data)) for one in found[: params.limit])
    return Recoveries(recoveries=page, next_cursor=str(page[-1].seq) if len(page) < len(found) else None)


class Violated(Output):
    seq: int
    at: Instant
    task_id: OrNull = None
    worker_id: OrNull = None
    agent_id: str
    kind: str = Field(description="command, path, tool or repository.")
    verdict: str = Field(description="deny, ask, watch or block.")
    rule: str
    subject: Annotated[str, first(1_000)]


class Violations(Output):
    violations: list[Violated]
    next_cursor: str | None = None


@operation(toolset="people", effect=Effect.READ, audience=Audience.PEOPLE)
async def violations(ctx: Context, params: OlderOf) -> Violations:
    """List what the safety policy refused, asked or watched, newest first."""
    before = position(params.cursor)
    found = await ctx.tx.violations.page(params.task_id, params.limit + 1, before)
    page = fitting(Violated.of(one) for one in found[: params.limit])
    return Violations(violations=page, next_cursor=str(page[-1].seq) if len(page) < len(found) else None)


class TaskMessages(Input):
    task_id: TaskId
    limit: int = Field(default=20, ge=1, le=100, description="How many at most.")
    cursor: str | None = Field(default=None, max_length=40, description="next_cursor of the previous page.")


class MessageAbout(Output):
    message_id: str
    kind: str
    from_agent: str
    to_agent: OrNull = Field(default=None, description="Absent: whoever holds the task next.")
    body: Annotated[str, first(2_000)]
    needs_answer: bool = False
    answers: OrNull = None
    created_at: Instant
    delivered_at: Instant | None = None
    acked_at: Instant | None = None
    deadline: Instant | None = None


class MessagesListed(Output):
    messages: list[MessageAbout]
    next_cursor: str | None = None


@operation(toolset="people", effect=Effect.READ, audience=Audience.PEOPLE)
async def messages(ctx: Context, params: TaskMessages) -> MessagesListed:
    """List what was said about a task, newest first: notes, questions and answers, and what its agent was told of its files."""
    tx = ctx.tx
    task = await tx.tasks.get(params.task_id)
    sent = await tx.events.of_kinds(("message.sent",), params.limit + 1, task.id, position(params.cursor))
    rows: list[Mapping[str, Any]] = []
    for event in sent[: params.limit]:
        row = await tx.messages.get(str(event.data.get("message")))
        rows += [row] if row is not None else []
    more = len(sent) > params.limit
    page = fitting(MessageAbout.of(row) for row in rows)
    return MessagesListed(messages=page, next_cursor=str(sent[params.limit - 1].seq) if more else None)
