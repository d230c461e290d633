"""Why a task is not running, for people: the first thing that keeps it, as whoever asks for work would meet it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.merging import OPEN
from wvo_mcp.domain.task import Status, Task
from wvo_mcp.orchestration.queue.planning import Circumstances, why_not_ready
from wvo_mcp.orchestration.routing import budgets
from wvo_mcp.orchestration.routing.router import Router
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Providers

_POOL = 200
_EVENTS = 200
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Explanation:
    """`reason` is a word for programs: a status, or what `plan_next` says of a task that is not ready, or `paused`,
    `wip_limit`, `budget`, `ready`. `until`: when that is over by itself, as far as it is known."""

    reason: str
    sentence: str
    waiting_for: tuple[str, ...] = ()
    until: datetime | None = None


async def explain(tx: Transaction, policy: Policy, task: Task, providers: Providers | None) -> Explanation:
    match task.status:
        case Status.PENDING:
            return await _pending(tx, policy, task, providers)
        case Status.IN_PROGRESS:
            return Explanation("in_progress", f"{task.assigned_to} works on it.", until=task.lease_expires_at)
        case Status.IN_REVIEW:
            return await _in_review(tx, task)
        case Status.AWAITING_APPROVAL:
            asked = [one.approval_id for one in await tx.approvals.open_of_task(task.id)]
            return Explanation(
                "awaiting_approval", "A person has to answer its question or approve its request.", tuple(asked)
            )
        case Status.BLOCKED:
            waits = tuple(await tx.tasks.waits(task.id))
            if waits:
                return Explanation("blocked", f"It waits for {_named(waits)}, then continues automatically.", waits)
            by = "" if task.block_author is None else f" by {task.block_author.value}"
            return Explanation("blocked", f"It is blocked{by}: {task.blocked_reason or 'no reason was given'}")
        case Status.FAILED:
            times = f"{task.attempts} of {task.max_attempts} attempt{'' if task.max_attempts == 1 else 's'}"
            return Explanation("failed", f"It failed after {times}: {task.last_error or 'no reason was given'}")
        case _:
            return Explanation(task.status.value, f"It is {task.status.value}.")


async def since(tx: Transaction, task: Task) -> datetime:
    """When it came into its status, as far back as is looked; else when it was written last."""
    for event in reversed(await tx.events.of_task(task.id, _EVENTS)):
        if event.kind == "task.created" or event.data.get("to") == task.status.value:
            return event.at
    return task.updated_at


async def _pending(tx: Transaction, policy: Policy, task: Task, providers: Providers | None) -> Explanation:
    pool = await tx.prefetch.capabilities(_POOL) if task.capabilities else []
    found = await why_not_ready(tx, task, Circumstances(tx, "", policy, pool))
    if found is not None:
        reason, waits = found
        shown = await _with_statuses(tx, waits) if reason in ("dependencies", "children") else waits
        return Explanation(reason, _SENTENCES[reason].format(_named(shown)), tuple(waits), _until(task, reason))
    halt: Any = await tx.state.get("paused")
    if halt:
        what = "stopped" if halt is not True and halt.get("stop") else "paused"
        why = await tx.state.get("paused_reason")
        return Explanation("paused", f"Work is {what}{f': {why}' if why else ''}.")
    router = Router(tx, providers, "")
    decision = await router.decide(task) if router.problem is None else None
    if router.problem is not None:
        return Explanation("budget", router.problem)
    if decision is not None and decision.withheld:
        until = await budgets.refused(tx, router, decision, alert=False)
        return Explanation("budget", decision.reason, until=until)
    working = (await tx.tasks.counts())["in_progress"]
    if working >= policy.wip_limit:
        return Explanation(
            "wip_limit", f"WIP limit reached: {working} of {policy.wip_limit} tasks in progress (store-wide)."
        )
    return Explanation("ready", "It is ready: an agent gets it when it is the best ready task.")


async def _in_review(tx: Transaction, task: Task) -> Explanation:
    reviews = [one.review_id for one in await tx.reviews.open_of_task(task.id)]
    if reviews:
        return Explanation("in_review", f"It waits for {_named(reviews)}.", tuple(reviews))
    for entry in await tx.submissions.of_task(task.id):
        if entry["state"] in OPEN:
            why = f": {entry['reason']}" if entry["reason"] else ""
            said = f"Its work {entry['entry_id']} is {entry['state']}{why}"
            return Explanation("in_review", said, (entry["entry_id"],))
    return Explanation("in_review", "A person has to say whether it is good: wvo-mcp review.")


async def _with_statuses(tx: Transaction, ids: list[str]) -> list[str]:
    """One that failed or was cancelled is not done by waiting."""
    known = [(one, await tx.tasks.find(one)) for one in ids[:_NAMED]]
    shown = [one if task is None else f"{one} ({task.status.value.replace('_', ' ')})" for one, task in known]
    return [*shown, *ids[_NAMED:]]


def _until(task: Task, reason: str) -> datetime | None:
    return {"not_before": task.not_before, "kept": task.kept_until}.get(reason)


def _named(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


_SENTENCES = {
    "dependencies": "It waits for {}.",
    "not_before": "It starts at {} at the earliest.",
    "approval": "A person has to approve it first.",
    "children": "Its parts come first: {}.",
    "kept": "It is kept for {}.",
    "capabilities": "No connected agent has the capabilities it needs: {}.",
    "files": "Its files are in use by {}.",
    "epic_wip_limit": "Epic {} is at its WIP limit.",
}
