"""Who works on what (contract, section 5): one winner per task, liveness by sessions, fencing by tokens."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Lease, Policy
from wvo_mcp.domain.memory import ContextEntry, newest, within
from wvo_mcp.domain.messages import ABOUT_FILES
from wvo_mcp.domain.providers.routing import RouteDecision, Why
from wvo_mcp.domain.task import Checkpoint, Status, Task
from wvo_mcp.errors import (
    AlreadyClaimed,
    BudgetExhausted,
    Forbidden,
    NotReady,
    Paused,
    ReservationConflict,
    WipLimit,
    WvoError,
)
from wvo_mcp.orchestration.queue.planning import Circumstances, InTheWay, why_not_ready
from wvo_mcp.orchestration.routing import budgets
from wvo_mcp.orchestration.routing.router import Route, Router
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import ClaimState, Transaction
from wvo_mcp.ports.providers import Providers

_RETRY_SECONDS = (2, 60)
_BUDGET_SECONDS = 3_600
"""Who waits for a budget asks again within the hour: a person may raise it."""
LOOK_AT, _STEP = 2_500, 500
"""How many of the best tasks are looked at for one that has means: a claim stays short in a queue of any length."""
CONTEXT_TOKENS = 1_500
_CONTEXT_ENTRIES = 8


@dataclass(frozen=True, slots=True)
class Claim:
    """A task with its lease and what the new holder should know; or, without a task, why there is none."""

    task: Task | None
    lease: Lease | None = None
    resume: Checkpoint | None = None
    context: list[ContextEntry] = field(default_factory=list[ContextEntry])
    route: Route | None = None
    reason: str | None = None
    explanation: str | None = None
    """More about the reason, in a sentence."""
    retry_after: int | None = None
    free_at: datetime | None = None
    """When the first obstacle to a provider is over, as far as that is known."""
    holding: list[Task] = field(default_factory=list[Task])


async def reap(tx: Transaction, policy: Policy) -> None:
    """Cut the leases of servers that are gone, return what expired to the queue, open gates whose time has come."""
    await _cut_leases_of_the_dead(tx, policy)
    await _let_time_pass(tx)


async def _cut_leases_of_the_dead(tx: Transaction, policy: Policy) -> bool:
    """Were there any?"""
    others = [session_id for session_id in await tx.queue.held_sessions() if session_id != tx.caller.session_id]
    return any([await lifecycle.ended(tx, policy, session_id) for session_id in others])


async def _let_time_pass(tx: Transaction) -> None:
    for task in await tx.queue.expired(lock=True):
        await lifecycle.expire(tx, task)
    await tx.queue.open_gates()


async def claim(
    tx: Transaction,
    policy: Policy,
    agent_id: str,
    task_id: str | None,
    lease_seconds: int | None,
    providers: Providers | None = None,
    unaffordable: Mapping[tuple[str, str], str] | None = None,
) -> Claim:
    """Give the agent one task, or say why not. A task given here is given to no one else until its lease ends.
    `unaffordable`: providers and tiers that a pool has no money for, and why.

    Raises, for a named task only: NotFound, NotReady, AlreadyClaimed, WipLimit, ReservationConflict, Paused,
    BudgetExhausted.
    """
    await tx.sessions.ensure(but_agent=agent_id == tx.caller.agent_id)
    router = Router(tx, providers, agent_id, unaffordable)
    router.asks_within = timedelta(seconds=policy.approval_seconds)
    await router.prefetch_reads()
    if task_id is None and policy.epics is None:
        await tx.queue.prefetch_reads(agent_id)
    state = await tx.queue.claim_state(agent_id)
    cut = state.in_progress and await _cut_leases_of_the_dead(tx, policy)
    if cut or state.overdue:
        await _let_time_pass(tx)
        state = await tx.queue.claim_state(agent_id)
    length = lease_seconds or policy.lease_seconds
    if task_id is not None:
        try:
            return await _claim_named(tx, policy, agent_id, task_id, length, state, router)
        except WvoError as error:
            if cut and error.follow_up is None:  # a refusal undoes what was written, and the lease would never end
                error.follow_up = partial(_cut_leases_of_the_dead, policy=policy)
            raise
    if state.paused:
        return await _nothing(tx, "paused", agent_id)
    orphan = await tx.queue.orphan_of(agent_id) if state.holding else None
    if orphan is not None:
        decision = await router.decide(orphan)
        if decision is None or not decision.withheld:
            return await _grant(tx, orphan, agent_id, length, router, decision, state)
        if state.holding >= policy.agent_wip_limit:  # which comes before the budget; when to ask again is known
            refusal = await _withheld(tx, router, decision, agent_id)
            holding = await tx.queue.held_by_agent(agent_id)
            return replace(refusal, reason="agent_wip_limit", holding=holding)
    if state.holding >= policy.agent_wip_limit:
        return await _nothing(tx, "agent_wip_limit", agent_id)
    if state.in_progress >= policy.wip_limit:
        return await _nothing(tx, "wip_limit", agent_id)
    circumstances = Circumstances(tx, agent_id, policy)
    held_back: RouteDecision | None = None
    if state.kept and (kept := await _kept(tx, policy, router, circumstances, agent_id)) is not None:
        if kept[1] is None or not kept[1].withheld:
            return await _grant(tx, kept[0], agent_id, length, router, kept[1], state)
        held_back = kept[1]
    best = await tx.queue.pick(circumstances.admit, policy.epics)
    if best is None and held_back is not None:
        return await _withheld(tx, router, held_back, agent_id)
    if best is None:
        return await _nothing(tx, "epic_wip_limit" if circumstances.full_epic else "no_ready_tasks", agent_id)
    if router.problem is not None:
        return await _withheld(tx, router, None, agent_id)
    decision = await router.decide(best)
    if decision is not None and decision.withheld:
        other = await _best_routable(tx, policy, router, circumstances)
        if other is None:
            return await _withheld(tx, router, decision, agent_id)
        best, decision = other
    return await _grant(tx, best, agent_id, length, router, decision, state)


async def _kept(
    tx: Transaction, policy: Policy, router: Router, circumstances: Circumstances, agent_id: str
) -> tuple[Task, RouteDecision | None] | None:
    """The best of what is kept for the agent, with its route, that nothing but the queue holds back; if there is none, the
    best that only lacks means."""
    lacking: tuple[Task, RouteDecision | None] | None = None
    for task in await tx.queue.kept(agent_id) if router.problem is None else ():
        if not policy.serves(task.epic_id) or await circumstances.refusal(task.capabilities, task.files, task.epic_id):
            continue
        decision = await router.decide(task)
        if decision is None or not decision.withheld:
            return task, decision
        lacking = lacking or (task, decision)
    return lacking


async def _claim_named(
    tx: Transaction, policy: Policy, agent_id: str, task_id: str, length: int, state: ClaimState, router: Router
) -> Claim:
    task = await tx.tasks.get(task_id)
    if state.paused:
        why = await tx.state.get("paused_reason")
        raise Paused(f"Work is paused{': ' + why if why else ''}.")
    if task.status is Status.IN_PROGRESS:
        if task.assigned_to == agent_id and await lifecycle.ended(tx, policy, task.session_id):
            return await _grant(tx, task, agent_id, length, router, await _means(tx, router, task), state)
        until = None if task.lease_expires_at is None else iso(task.lease_expires_at)
        held = {"task_id": task.id, "by": task.assigned_to, "until": until}
        raise AlreadyClaimed(f"Task {task.id} is held by {task.assigned_to} until {until}.", **held)
    if not policy.serves(task.epic_id):
        raise Forbidden(
            f"Task {task.id} is not in an epic that this server serves (WVO_EPICS).",
            hint="Claim other work, or claim this task through a server that serves its epic.",
        )
    circumstances = Circumstances(tx, agent_id, policy)
    refusal = await why_not_ready(tx, task, circumstances)
    if refusal is not None and refusal[0] not in ("files", "epic_wip_limit"):
        raise NotReady(task.id, refusal[0], refusal[1])
    if state.holding >= policy.agent_wip_limit:
        raise WipLimit("agent", policy.agent_wip_limit, [t.id for t in await tx.queue.held_by_agent(agent_id)])
    if state.in_progress >= policy.wip_limit:
        raise WipLimit("store", policy.wip_limit)
    limit = await circumstances.epic_limit(task.epic_id)
    if limit is not None:
        raise WipLimit("epic", limit)
    conflict = await circumstances.conflict(task.files)
    if conflict is not None:
        raise _in_the_way(task, conflict)
    return await _grant(tx, task, agent_id, length, router, await _means(tx, router, task), state)


def _in_the_way(task: Task, found: InTheWay) -> ReservationConflict:
    details: dict[str, Any] = {"task_id": task.id, "files": found.files, "with": found.id}
    if found.reservation is None:
        said = f"The files of {task.id} overlap with those of {found.id}, which is in progress."
        return ReservationConflict(said, **details)
    pattern, by, until = (found.reservation[name] for name in ("pattern", "agent_id", "expires_at"))
    said = f"The files of {task.id} overlap with {pattern}, which {by} has reserved until {until} ({found.id})."
    return ReservationConflict(said, **details, by=by, until=until)


async def _means(tx: Transaction, router: Router, task: Task) -> RouteDecision | None:
    """Raises BudgetExhausted."""
    if router.problem is not None:
        hint = "Ask a person to fix state/providers.yaml; then claim again."
        raise BudgetExhausted(router.problem, hint=hint, until=None)
    decision = await router.decide(task)
    if decision is not None and decision.withheld:
        until = await budgets.refused(tx, router, decision, alert=False)
        spent = any(one.why is Why.BUDGET for one in decision.rejected)
        hint = None if spent else "Wait until then, or claim other work; route_task shows the reasons."
        error = BudgetExhausted(decision.reason, hint=hint, until=None if until is None else iso(until))
        error.follow_up = partial(budgets.alert_for, router.providers, router.agent_id, task.id, router.asks_within)
        raise error
    return decision


async def _grant(
    tx: Transaction,
    task: Task,
    agent_id: str,
    length: int,
    router: Router,
    decision: RouteDecision | None,
    state: ClaimState,
) -> Claim:
    lease = Lease(token=task.lease_token + 1, expires_at=tx.now + timedelta(seconds=length))
    fields = {
        "status": Status.IN_PROGRESS,
        "assigned_to": agent_id,
        "session_id": tx.caller.session_id,
        "lease_token": lease.token,
        "lease_expires_at": lease.expires_at,
        "lease_seconds": length,
        "started_at": task.started_at or tx.now,
    }
    data: dict[str, Any] = {"lease_token": lease.token, "agent": agent_id}
    if task.status is Status.IN_PROGRESS and task.session_id:
        data["resumed_from"] = task.session_id
    route = await router.take(task, lease.token, decision)
    if route is not None:
        data["route"] = asdict(route)
    granted = await tx.tasks.change(task, "task.claimed", fields, data)
    await tx.sessions.touch_agent(agent_id, task.id)
    resume = None
    if task.lease_token > 0:  # somebody has held it before
        resume = await tx.memory.last_checkpoint(task.id)
    if state.addressed or task.lease_token > 0:
        await tx.messages.hand_over(task.id, ABOUT_FILES, agent_id)
    explanation = None
    if tx.caller.worker:
        explanation = decision.reason if decision is not None and decision.chosen is None else None
    elif route is not None:
        explanation = f"You may not do this with your own model: hand it to {route.provider}, or release_task."
    return Claim(granted, lease, resume, await _remembered(tx, granted), route, explanation=explanation)


async def _remembered(tx: Transaction, task: Task) -> list[ContextEntry]:
    """What is known of the errors that it met, what was written for the task and its epic, then what reads like it, newest
    version of each topic, within the budget."""
    known: list[ContextEntry] = []
    if task.last_error is not None:
        from wvo_mcp.orchestration import patterns  # most tasks never failed

        known = await patterns.entries(tx, task.id)
    if not await tx.memory.anything():
        return within(known, CONTEXT_TOKENS)
    own = newest(await tx.memory.for_task(task, _CONTEXT_ENTRIES))
    alike = await tx.memory.search(" ".join((task.title, *task.labels)), None, _CONTEXT_ENTRIES, recent_only=True)
    topics = {entry.topic for entry in own}  # a note of the task itself is not displaced by another's of that name
    others = [entry for entry in newest(alike) if entry.topic not in topics]
    return within([*known, *own, *others][:_CONTEXT_ENTRIES], CONTEXT_TOKENS)


async def _withheld(tx: Transaction, router: Router, decision: RouteDecision | None, agent_id: str) -> Claim:
    """There is work, and nothing that may do it: the file of providers is broken, or all that could is stopped."""
    await tx.sessions.touch_agent(agent_id)
    why = router.problem if decision is None else decision.reason
    until = None if decision is None else await budgets.refused(tx, router, decision, alert=True)
    wait = _RETRY_SECONDS[1] if until is None else int((until - tx.now).total_seconds()) + 1
    retry_after = max(_RETRY_SECONDS[0], min(_BUDGET_SECONDS, wait))
    return Claim(None, reason="budget", explanation=why, retry_after=retry_after, free_at=until)


async def _nothing(tx: Transaction, reason: str, agent_id: str) -> Claim:
    await tx.sessions.touch_agent(agent_id)
    change = await tx.queue.next_change()
    shortest, longest = _RETRY_SECONDS
    wait = longest // 2 if change is None else int((change - tx.now).total_seconds()) + 1
    holding = await tx.queue.held_by_agent(agent_id) if reason == "agent_wip_limit" else []
    return Claim(None, reason=reason, retry_after=max(shortest, min(longest, wait)), holding=holding)


async def _best_routable(
    tx: Transaction, policy: Policy, router: Router, circumstances: Circumstances
) -> tuple[Task, RouteDecision | None] | None:
    """The best task for which there are means, with its route, when there are none for the best of all."""
    lanes: dict[int, bool] = {}
    cursor = None
    for _ in range(0, LOOK_AT, _STEP):
        step = await tx.queue.outlines(policy.epics, _STEP, cursor)
        for one in step:
            if one.gates or not await router.may(one):
                continue
            lane = one.lane["id"]
            if lane not in lanes:
                lanes[lane] = await circumstances.admit(one.lane)
            if not lanes[lane]:
                continue
            task = await tx.tasks.get(one.id)
            decision = await router.decide(task)
            if decision is None or not decision.withheld:
                return task, decision
        if len(step) < _STEP:
            return None
        cursor = step[-1].cursor
    return None
