"""The toolset `ops`: what is going on, what happened, backups and snapshots."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from wvo_mcp.domain.backup import Kind
from wvo_mcp.domain.event import Event
from wvo_mcp.domain.instant import Instant, instant
from wvo_mcp.domain.task import Priority, Status, Task
from wvo_mcp.domain.text import Id, Label
from wvo_mcp.domain.worker import Worker, WorkerState
from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations import at_work
from wvo_mcp.operations.inputs import Dollars, Input, OrNull, Output
from wvo_mcp.operations.operation import Context, Effect, operation
from wvo_mcp.operations.providers import Budget
from wvo_mcp.operations.results import fitting
from wvo_mcp.orchestration import attention, hourly
from wvo_mcp.orchestration.attention import Why
from wvo_mcp.orchestration.figures import flow, measure
from wvo_mcp.orchestration.leader import ROLE
from wvo_mcp.orchestration.queue.planning import best_ready
from wvo_mcp.orchestration.routing.overview import Overview, overview
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.backend import Backups, Snapshots
from wvo_mcp.ports.providers import Providers


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= 200 else text[:200] + " [...]"


class HeldTask(Output):
    id: str
    title: str
    agent_id: str | None = Field(validation_alias="assigned_to")
    progress: int | None
    lease_expires_at: Instant | None
    started_at: Instant | None
    server_gone: bool = Field(default=False, description="True: its server is gone; the task soon returns.")
    worker_id: str | None = None
    does: Annotated[str | None, AfterValidator(_short)] = Field(
        default=None, description="What its worker does, or why it waits."
    )


class WaitingLine(Output):
    """Something that waits for a person."""

    id: str = Field(description="Task, submission, approval or message; or `alert N`.")
    title: str | None = None
    why: Why
    detail: Annotated[str | None, AfterValidator(_short)] = Field(default=None, validation_alias="text")
    approval_id: str | None = Field(default=None, description="What to approve, deny or answer.")
    since: Instant | None = None
    run: str = Field(description="Command that ends it, after wvo-mcp.")


class HoldLine(Output):
    """Why work is not begun."""

    kind: str
    text: str
    run: str | None = Field(default=None, description="Command that helps, after wvo-mcp.")
    until: Instant | None = None


class NextLine(Output):
    command: str = Field(description="After wvo-mcp.")
    why: OrNull = None


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
    created_last_hour: int = Field(validation_alias="created", description="At most 5,000 are counted.")
    completed_last_hour: int = Field(validation_alias="completed")
    completed_per_5_min: list[int] = Field(validation_alias="series", description="The last two hours, oldest first.")


class KeptTask(Output):
    task_id: str


class PrefetchReport(Output):
    queue: list[KeptTask] = Field(description="Ready work at hand, best first.")
    oldest_seconds: float | None = Field(description="How long the oldest entry waits.")
    wip_utilisation: float = Field(description="Tasks in progress over the limit.")


class BreakerShort(Output):
    tier: OrNull
    kind: str
    until: Instant | None = Field(validation_alias="free_at")


class ProviderShort(Output):
    name: str
    state: str = Field(description="closed: it can be used.")
    breakers: list[BreakerShort] = Field(description="Those that are not closed.")
    windows: list[Budget] = Field(description="Token budgets, with what is left and resets_at.")


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
    needs_you: list[WaitingLine] = Field(description="What waits for a person, in the order in which it frees work.")
    holds: list[HoldLine] = Field(default=[], description="Why work is not begun.")
    next: NextLine
    in_progress: list[HeldTask]
    running: list[at_work.RunningLine] = Field(default=[], description="Workers, then agents with what they hold.")
    merging: list[at_work.MergingLine] = Field(default=[], description="What waits to land, in its order.")
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
    tx, limit = ctx.tx, ctx.policy.wip_limit
    counts = await tx.tasks.counts()
    unblocked, counts["ready"] = counts["ready"], await tx.health.claimable()
    held = await tx.tasks.page({"status": Status.IN_PROGRESS.value}, 0, 50)
    workers = {worker.task_id: worker for worker in await tx.workers.open() if worker.review_id is None}
    kept = await tx.prefetch.current()
    since = min((one.queued_at for one in kept), default=None)
    wanted, seen = await attention.needs(tx), await providers_now(tx, providers)
    paused, file = bool(await tx.state.get("paused")), await tx.state.get("roadmap")
    return StatusReport(
        at=tx.now,
        paused=paused,
        paused_reason=await tx.state.get("paused_reason"),
        counts=counts,
        wip_limit=limit,
        held_back=max(0, unblocked - counts["ready"]),
        needs_you=[waiting_line(one) for one in wanted],
        holds=[HoldLine.of(one) for one in await attention.holds(tx, ctx.policy, counts, seen)],
        next=NextLine.of(attention.following(counts, wanted, paused=paused, roadmap=file)),
        in_progress=[await _held(tx, task, workers.get(task.id)) for task in held],
        running=await at_work.running(tx, 20),
        merging=await at_work.merging(tx),
        flow=FlowLine.of(await flow(tx)),
        ready=[ReadyTask.of(task) for task in await best_ready(tx, 10)],
        agents=[dict(row) for row in await tx.sessions.agents(20)],
        pool=await tx.health.agents(),
        prefetch=PrefetchReport(
            queue=[KeptTask.of(one) for one in kept],
            oldest_seconds=None if since is None else (tx.now - since).total_seconds(),
            wip_utilisation=round(counts["in_progress"] / limit, 3),
        ),
        providers=None if seen is None else _providers(seen),
        alerts=[dict(row) for row in await tx.alerts.open_alerts(20)],
        stranded=[{"id": one, "waiting_for": other} for one, other in await tx.health.stranded(20)],
        leader=await leader_line(tx),
        roadmap=file,
        last_event=await tx.events.last_seq(),
    )


async def _held(tx: Transaction, task: Task, worker: Worker | None) -> HeldTask:
    gone = await at_work.server_is_gone(tx, task.session_id)
    if worker is None:
        return HeldTask.of(task, server_gone=gone)
    does = worker.last_act if worker.state is WorkerState.WORKING else worker.reason
    return HeldTask.of(task, server_gone=gone, worker_id=worker.worker_id, does=does or worker.state.value)


def waiting_line(need: attention.Need) -> WaitingLine:
    return WaitingLine.of(need, title=None if need.task is None else need.task.title)


async def providers_now(tx: Transaction, known: Providers) -> Overview | None:
    """None where their file cannot be read."""
    try:
        catalogue = known.current()
    except InvalidInput:  # there is an alert about it
        return None
    return await overview(tx, catalogue, known.presence())


def _providers(seen: Overview) -> ProvidersShort:
    return ProvidersShort(
        mode=seen.mode,
        providers=[
            ProviderShort.of(
                one,
                name=one.provider.name,
                state="closed" if one.stopped is None else one.stopped.state,
                windows=[Budget.of(window) for window in one.windows],
            )
            for one in seen.providers
            if one.provider.enabled
        ],
    )


async def leader_line(tx: Transaction) -> LeaderLine | None:
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
    before: int | None = Field(default=None, ge=1, le=2**62, description="With last: only events before this seq.")


class EventPage(Output):
    events: list[Event]
    next_after: int = Field(description="Give it as `after` to read on.")
    more: bool
    older: int | None = Field(default=None, description="With last: give it as `before` to read back.")


@operation(toolset="ops", effect=Effect.READ)
async def events(ctx: Context, params: EventsAsk) -> EventPage:
    """Read the audit trail: who did what, when, from which session. Append-only, hash-chained per task."""
    trail = ctx.tx.events
    after = params.after
    if params.last:
        after = max(after, await trail.before_last(params.limit, params.task_id, params.kind, params.before))
    found = await trail.after(after, params.limit + 1, params.task_id, params.kind)
    if params.last and params.before is not None:
        found = [event for event in found if event.seq < params.before]
    if not params.last:
        page = fitting(found[: params.limit])
        return EventPage(events=page, next_after=page[-1].seq if page else after, more=len(page) < len(found))
    # The newest are never what is left out.
    page = fitting(found[: -params.limit - 1 : -1])[::-1]
    older = page[0].seq if page and (len(page) < len(found) or len(page) == params.limit) else None
    return EventPage(events=page, next_after=page[-1].seq if page else after, more=False, older=older)


class ModelUse(Output):
    provider: str
    tier: OrNull
    tokens_hour: int = Field(validation_alias="hour")
    tokens_day: int = Field(validation_alias="day")
    cost_day: Dollars = Field(validation_alias="cost")
    attempts_day: int = Field(validation_alias="attempts")
    reserved: int


class MetricsReport(FlowLine):
    at: Instant
    tasks: dict[str, int] = Field(description="By status.")
    ready: int = Field(validation_alias="claimable", description="Tasks that may be claimed now, as in ready_tasks.")
    wip_limit: int
    wip_utilisation: float = Field(description="Tasks in progress over the limit.")
    agents: dict[str, int] = Field(description="By status.")
    alerts: list[dict[str, Any]] = Field(description="Open ones: kind, severity, n.")
    stale_tasks: int | None = Field(
        validation_alias="stale", description="As the last health cycle saw it; null when there was none."
    )
    lease_expiries: int = Field(validation_alias="expiries", description="Ever.")
    models: list[ModelUse] = Field(
        description="Tokens within the last hour and of the day (UTC), by provider and tier."
    )
    breakers: list[dict[str, Any]] = Field(description="provider, tier, state of those that are not closed.")


@operation(toolset="ops", effect=Effect.READ)
async def metrics(ctx: Context) -> MetricsReport:
    """Show metrics: tasks, queue, agents, throughput, alerts."""
    figures, limit = await measure(ctx.tx), ctx.policy.wip_limit
    return MetricsReport.of(
        figures,
        figures.flow,
        at=ctx.tx.now,
        tasks={name: n for name, n in figures.counts.items() if name != "ready"},
        wip_limit=limit,
        wip_utilisation=round(figures.counts["in_progress"] / limit, 4),
        models=[
            ModelUse.of(use, provider=provider, tier=tier)
            for (provider, tier), use in sorted(figures.routing.uses.items())
        ],
        breakers=[
            {"provider": one.provider, "tier": one.tier or None, "state": one.state}
            for _, one in sorted(figures.routing.breakers.items())
        ],
    )


class BackupCreated(Output):
    name: str
    bytes: int
    verified: bool
    seconds: float


@operation(toolset="ops", effect=Effect.WRITE, manages_own_transactions=True, idempotent=True)
async def backup_create(ctx: Context, store: WatchedStore, copies: Backups) -> BackupCreated:
    """Back up the store now and verify the backup. The server also does this every hour; a second backup in the same hour
    replaces the first."""
    made = await hourly.take(store, copies, ctx.caller)
    # `create` gives nothing that did not pass.
    return BackupCreated(name=made.backup.name, bytes=made.backup.bytes, verified=True, seconds=round(made.seconds, 3))


class ListedBackup(Output):
    name: str
    at: Instant
    bytes: int
    kind: Kind = Field(description="The rule that keeps it; safety: the store before a restore.")


class BackupsListed(Output):
    backups: list[ListedBackup]


@operation(toolset="ops", effect=Effect.READ, manages_own_transactions=True)
async def backup_list(ctx: Context, copies: Backups) -> BackupsListed:
    """List backups of the store, newest first. To restore one, a person runs wvo-mcp backup restore."""
    return BackupsListed(backups=[ListedBackup.of(found) for found in await copies.all()])


class ContextSnapshotted(Output):
    name: str
    bytes: int
    text: str


@operation(toolset="ops", effect=Effect.WRITE, manages_own_transactions=True, idempotent=True)
async def context_snapshot(ctx: Context, store: WatchedStore, snapshots: Snapshots) -> ContextSnapshotted:
    """Write a summary of current work as markdown: tasks in progress with their last checkpoints, ready tasks, alerts and
    recent notes. Ten versions are kept."""
    made = await hourly.snapshot(store, snapshots, ctx.caller)
    return ContextSnapshotted(name=made.name, bytes=len(made.text.encode()), text=made.text)
