"""What a run leaves undone and never began, and why: nobody has to look for it in the morning."""

from collections.abc import Collection, MutableMapping
from typing import Any

from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.merging import SENT_BACK
from wvo_mcp.domain.task import Status
from wvo_mcp.orchestration.queue.planning import Waiting, plan_next
from wvo_mcp.ports import Transaction

SHOWN = 20
_WHICH = {Status.FAILED: "which failed", Status.BLOCKED: "which is blocked", Status.CANCELLED: "which was cancelled"}


async def remaining(
    tx: Transaction, policy: Policy, agent_id: str, known: Collection[str], ended: str
) -> list[dict[str, Any]]:
    """Pending tasks but for the known, the best first: {task_id, reason}; at most `SHOWN`, and then one entry that counts the
    others. `ended`: why the run gave out no more."""
    plan = await plan_next(tx, policy, agent_id, None, SHOWN)
    found = {one.task.id: await _why(tx, one) for one in plan.not_ready}
    found = {task.id: ended for task, _ in plan.tasks if task.id not in found} | found
    listed = [{"task_id": one, "reason": reason} for one, reason in found.items() if one not in known][:SHOWN]
    pending = (await tx.tasks.counts())["pending"] - len(listed)
    for one in known:
        pending -= (await tx.tasks.get(one)).status is Status.PENDING
    return [*listed, {"task_id": f"{pending} more", "reason": "see wvo-mcp status"}] if pending > 0 else listed


async def reviewed(tx: Transaction, tally: MutableMapping[str, dict[str, dict[str, Any]]]) -> None:
    """What was done and submitted stands in the tally where it is now: done with its commit, waiting to land, or back."""
    for task_id in [*tally["done"]]:
        if (await tx.tasks.get(task_id)).status is Status.IN_REVIEW:
            entry = next(iter(await tx.submissions.of_task(task_id)), None)
            if entry is None:
                del tally["done"][task_id]
                tally["waiting"][task_id] = {"task_id": task_id, "reason": "waits for its review"}
    for task_id, commit in (await tx.submissions.commits([*tally["done"]])).items():
        task = await tx.tasks.get(task_id)
        entry = next(iter(await tx.submissions.of_task(task_id)), None)
        if entry is None or task.status is Status.DONE:
            tally["done"][task_id]["commit"] = commit
            continue
        del tally["done"][task_id]
        if task.status in (Status.BLOCKED, Status.CANCELLED, Status.FAILED):
            why = task.blocked_reason or task.last_error or entry["reason"] or task.status.value
            tally["failed"][task_id] = {"task_id": task_id, "reason": why}
            tally["failed"][task_id] |= {"cancelled": True} if task.status is Status.CANCELLED else {}
        elif entry["state"] in SENT_BACK:
            tally["waiting"][task_id] = {"task_id": task_id, "reason": f"came back: {entry['reason']}"}
        else:
            why = entry["reason"] or "its turn has not come"
            tally["waiting"][task_id] = {"task_id": task_id, "commit": commit, "reason": f"waits to land: {why}"}


async def _why(tx: Transaction, one: Waiting) -> str:
    named = ", ".join(one.waiting_for[:3])
    if one.reason in ("dependencies", "children"):
        first = (await tx.tasks.get(one.waiting_for[0])) if one.waiting_for else None
        which = "" if first is None or first.status not in _WHICH else f", {_WHICH[first.status]}"
        return f"depends on {named}{which}"
    return f"{one.reason.replace('_', ' ')}: {named}" if named else one.reason.replace("_", " ")
