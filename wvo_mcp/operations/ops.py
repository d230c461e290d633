"""The toolset `ops`: what is going on, and what happened."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from wvo_mcp.domain.event import Event
from wvo_mcp.domain.instant import Instant, instant, iso
from wvo_mcp.domain.task import Priority, Status
from wvo_mcp.domain.text import Id, Label
from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations.inputs import Input, Output
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.operations.paging import fitting
from wvo_mcp.orchestration.figures import flow
from wvo_mcp.orchestration.leader.leading import ROLE
from wvo_mcp.orchestration.queue.planning import best_ready
from wvo_mcp.orchestration.routing.overview import overview
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Providers

_NEEDS = 20
"""How many of each kind that waits for a person are shown."""


class HeldTask(Output):
    id: str
    title: str
    agent_id: str | None = Field(validation_alias="assigned_to")
    progress: int | None
    lease_expires_at: Instant | None
    started_at: Instant | None
    server_gone: bool = Field(default=False, description="True: its server is gone; the task soon returns.")


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= 200 else text[:200] + " [...]"


class WaitingTask(Output):
    id: str
    title: str
    why: Literal["approval", "failed", "blocked"]
    detail: Annotated[str | None, AfterValidator(_short)] = None


class ReadyTask(Output):
    id: str
    title: str
    score: float
    priority: Priority
    epic_id: str | None = None


class LeaderLine(Output):
    session_id: str
    agent_id: str | None = Field(description="Null for a server that no agent has worked with yet.")
    token: int = Field(description="Grows with each change of leader.")
    until: Instant = Field(description="End of its lease, renewed every few seconds.")
    alive: bool = Field(description="False for a moment after its death, until another follows.")


class FlowLine(Output):
    created_last_hour: int = Field(description="At most 5,000 are counted.")
    completed_last_hour: int
    completed_per_5_min: list[int] = Field(description="The last two hours, oldest first.")


class KeptTask(Output):
    task_id: str


class PrefetchReport(Output):
    queue: list[KeptTask] = Field(description="Ready work at hand, best first.")
    oldest_seconds: float | None = Field(description="How long the oldest entry waits.")
    wip_utilisation: float = Field(description="Tasks in progress over the limit.")


class ProviderShort(Output):
    name: str
    state: str = Field(description="closed: it can be used.")
    breakers: list[dict[str, Any]] = Field(description="{tier, kind, until} of those that are not closed.")
    windows: list[dict[str, Any]] = Field(description="Token budgets, with what is left and resets_at.")


class ProvidersShort(Output):
    mode: str
    providers: list[ProviderShort] = Field(description="Those that are turned on.")


class StatusReport(Output):
    at: Instant
    paused: bool
    paused_reason: str | None
    counts: dict[str, int]
    wip_limit: int
    held_back: int = Field(
        description="Tasks with every dependency done that wait for children, approval, a time or a free WIP slot."
    )
    needs_you: list[WaitingTask] = Field(description="Tasks that wait for a person.")
    in_progress: list[HeldTask]
    flow: FlowLine
    ready: list[ReadyTask]
    agents: list[dict[str, Any]]
    pool: dict[str, int] = Field(description="How many agents, by status.")
    prefetch: PrefetchReport
    providers: ProvidersShort | None = Field(description="Null: the file cannot be read.")
    alerts: list[dict[str, Any]]
    stranded: list[dict[str, Any]] = Field(description="Open tasks behind a cancelled or failed one.")
    leader: LeaderLine | None = Field(description="The server that does the background work.")
    roadmap: dict[str, Any] | None
    last_event: int


@operation(toolset="ops", effect=Effect.READ)
async def status(ctx: Context, providers: Providers) -> StatusReport:
    """Show the state of work: task counts, tasks in progress, ready tasks, agents, alerts."""
    tx = ctx.tx
    moved = await flow(tx)
    held = await tx.tasks.page({"status": Status.IN_PROGRESS.value}, 0, 50)
    counts = await tx.tasks.counts()
    unblocked, counts["ready"] = counts["ready"], await tx.health.claimable()
    return StatusReport(
        at=tx.now,
        paused=bool(await tx.state.get("paused")),
        paused_reason=await tx.state.get("paused_reason"),
        counts=counts,
        wip_limit=ctx.policy.wip_limit,
        held_back=max(0, unblocked - counts["ready"]),
        needs_you=await _needs_you(tx),
        in_progress=[
            HeldTask.of(task).model_copy(update={"server_gone": await _is_gone(tx, task.session_id)}) for task in held
        ],
        flow=FlowLine(
            created_last_hour=moved.created,
            completed_last_hour=moved.completed,
            completed_per_5_min=list(moved.series),
        ),
        ready=[ReadyTask.of(task) for task in await best_ready(tx, 10)],
        agents=[dict(row) for row in await tx.sessions.agents(20)],
        pool=await tx.health.agents(),
        prefetch=await _prefetch(ctx),
        providers=await _providers(tx, providers),
        alerts=[dict(row) for row in await tx.alerts.open_alerts(20)],
        stranded=[{"id": one, "waiting_for": other} for one, other in await tx.health.stranded(20)],
        leader=await _leader(tx),
        roadmap=await tx.state.get("roadmap"),
        last_event=await tx.events.last_seq(),
    )


async def _is_gone(tx: Transaction, session_id: str | None) -> bool:
    session = None if session_id is None else await tx.sessions.get(session_id)
    return session is not None and not session["durable"] and not tx.liveness.alive(session["session_id"])


async def _needs_you(tx: Transaction) -> list[WaitingTask]:
    """The first of each kind, in the order in which people free the most work."""
    found: list[WaitingTask] = []
    for where in ({"status": Status.AWAITING_APPROVAL.value}, {"unapproved": True}):
        tasks = await tx.tasks.page(where, 0, _NEEDS)
        found += [WaitingTask(id=task.id, title=task.title, why="approval") for task in tasks]
    for task in await tx.tasks.page({"status": Status.FAILED.value}, 0, _NEEDS):
        found.append(WaitingTask(id=task.id, title=task.title, why="failed", detail=task.last_error))
    for task in await tx.tasks.page({"status": Status.BLOCKED.value}, 0, _NEEDS):
        if not await tx.tasks.waits(task.id):  # else it returns by itself
            found.append(WaitingTask(id=task.id, title=task.title, why="blocked", detail=task.blocked_reason))
    return found


async def _prefetch(ctx: Context) -> PrefetchReport:
    tx = ctx.tx
    kept = await tx.prefetch.current()
    since = min((one.queued_at for one in kept), default=None)
    counts = await tx.tasks.counts()
    return PrefetchReport(
        queue=[KeptTask.of(one) for one in kept],
        oldest_seconds=None if since is None else (tx.now - since).total_seconds(),
        wip_utilisation=round(counts["in_progress"] / ctx.policy.wip_limit, 3),
    )


async def _providers(tx: Transaction, known: Providers) -> ProvidersShort | None:
    try:
        catalogue = known.current()
    except InvalidInput:  # there is an alert about it
        return None
    seen = await overview(tx, catalogue, known.presence())
    return ProvidersShort(
        mode=seen.mode,
        providers=[
            ProviderShort(
                name=one.provider.name,
                state="closed" if one.stopped is None else one.stopped.state,
                breakers=[
                    {
                        "tier": breaker.tier or None,
                        "kind": breaker.kind,
                        "until": None if breaker.free_at is None else iso(breaker.free_at),
                    }
                    for breaker in one.breakers
                ],
                windows=[window.shown() for window in one.windows],
            )
            for one in seen.providers
            if one.provider.enabled
        ],
    )


async def _leader(tx: Transaction) -> LeaderLine | None:
    row = await tx.state.leader(ROLE)
    if row is None or row["session_id"] is None:
        return None
    session = await tx.sessions.get(row["session_id"])
    until = instant(row["expires_at"])
    return LeaderLine(
        session_id=row["session_id"],
        agent_id=None if session is None else session["agent_id"],
        token=row["token"],
        until=until,
        alive=until > tx.now and tx.liveness.alive(row["session_id"]),
    )


class EventsAsk(Input):
    after: int = Field(default=0, ge=0, le=2**62, description="Only events after this seq.")
    task_id: Id | None = Field(default=None, description="Only this task.")
    kind: Label | None = Field(default=None, description="Only this kind, e.g. task.completed.")
    limit: int = Field(default=50, ge=1, le=500, description="Page size.")
    last: bool = Field(default=False, description="Newest page instead of the oldest.")


class EventPage(Output):
    events: list[Event]
    next_after: int = Field(description="Give it as `after` to read on.")
    more: bool


@operation(toolset="ops", effect=Effect.READ)
async def events(ctx: Context, params: EventsAsk) -> EventPage:
    """Read the audit trail: who did what, when, from which session. Append-only, hash-chained per task."""
    trail = ctx.tx.events
    after = params.after
    if params.last:
        after = max(after, await trail.before_last(params.limit, params.task_id, params.kind))
    found = await trail.after(after, params.limit + 1, params.task_id, params.kind)
    page = fitting(found[: params.limit])
    return EventPage(events=page, next_after=page[-1].seq if page else after, more=len(page) < len(found))
