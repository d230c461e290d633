"""The last step: raise and resolve alerts, apply remedies. Every write is fenced by the leader's token, every remedy recorded
before and after."""

import logging

from wvo_mcp.domain.health import AnomalyKind, Remediation, Thresholds
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Policy
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.health.decide import Decision, Remedy
from wvo_mcp.orchestration.health.observe import READY_SINCE
from wvo_mcp.orchestration.health.orient import Orientation
from wvo_mcp.orchestration.leader import LeaderTerm, Overtaken
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Transaction

logger = logging.getLogger(__name__)

BLIND = "health_look_failed"
"""The alert that says that a part of the cycle does not work."""
BEGUN, REMEDIED, FAILED = "health.remedy_begun", "health.remedied", "health.remedy_failed"
_PATIENCE = 2
"""This many failed remedies make an alert critical."""


async def act(
    term: LeaderTerm, meant: Orientation, decision: Decision, limits: Thresholds, policy: Policy
) -> tuple[Remediation, ...]:
    """Raises Overtaken when another leads by now, and WvoError when nothing can be written. A remedy that fails is
    counted and recorded, and the next one is tried."""
    await term.write(term.caller, lambda tx: _record(tx, meant, decision))
    return tuple([await _remedy(term, remedy, limits, policy) for remedy in decision.remedies])


async def _record(tx: Transaction, meant: Orientation, decision: Decision) -> None:
    for anomaly in meant.anomalies:
        await tx.alerts.raise_alert(anomaly.kind.value, anomaly.severity.value, None, anomaly.message, anomaly.evidence)
    for kind in decision.resolve:
        await tx.alerts.resolve_alert(kind.value, None)
    seen = meant.observation
    if seen.failed:
        what = "; ".join(f"{reading}: {why}" for reading, why in sorted(seen.failed.items()))
        await tx.alerts.raise_alert(BLIND, "warning", None, f"A part of the health cycle failed: {what}"[:2_000])
    else:
        await tx.alerts.resolve_alert(BLIND, None)
    if seen.flow is not None and meant.metrics is not None:
        await tx.health.add_sample(meant.metrics)
        await tx.health.note_hour(working=seen.flow.working)
        since = None if seen.flow.paused or not seen.flow.claimable else iso(seen.flow.ready_since or seen.at)
        if await tx.state.get(READY_SINCE) != since:
            await tx.state.put(READY_SINCE, since)


async def _remedy(term: LeaderTerm, remedy: Remedy, limits: Thresholds, policy: Policy) -> Remediation:
    about = {"anomaly": remedy.anomaly.value, "action": remedy.action, "subject": remedy.subject}
    task_id = remedy.subject if remedy.anomaly is AnomalyKind.STALE_TASKS else None

    async def recorded(tx: Transaction, kind: str, result: str, message: str) -> Remediation:
        await tx.events.append(kind, task_id, {**about, "result": result, "message": message})
        return Remediation(iso(tx.now), **about, result=result, message=message)

    async def apply(tx: Transaction) -> Remediation:
        done, message = await _apply(tx, remedy, limits, policy)
        return await recorded(tx, REMEDIED, "remedied" if done else "skipped", message)

    async def fail(tx: Transaction) -> Remediation:
        times = await tx.alerts.remedy_failed(remedy.anomaly.value, None)
        if times >= _PATIENCE:
            await tx.alerts.escalate(remedy.anomaly.value, None, f"{remedy.action} of {remedy.subject}: {why}")
        return await recorded(tx, FAILED, "failed", why)

    await term.write(term.caller, lambda tx: tx.events.append(BEGUN, task_id, about))
    try:
        return await term.write(term.caller, apply)
    except Overtaken:
        raise
    except WvoError as error:
        why = error.message[:500]
    except Exception as error:  # the remedy of one task must not stand in the way of the others
        logger.exception("%s of %s failed", remedy.action, remedy.subject)
        why = f"{type(error).__name__}: {error}"[:500]
    return await term.write(term.caller, fail)


async def _apply(tx: Transaction, remedy: Remedy, limits: Thresholds, policy: Policy) -> tuple[bool, str]:
    """Whether there was still anything to remedy, judged again within the transaction that changes it; and what was done."""
    if remedy.anomaly is AnomalyKind.ZOMBIE_AGENTS:
        if await tx.health.put_offline(remedy.subject):
            return True, f"{remedy.subject} is offline until it calls again"
        return False, f"{remedy.subject} works again, or has left already"
    held = await tx.health.held_one(remedy.subject)
    if held is None or held.token != remedy.token:
        return False, "the silent agent no longer holds it"
    age = held.stale_seconds(tx.now, limits)
    if age is None or age < limits.stale_seconds or not held.returnable(tx.now, limits):
        return False, "its holder called again"
    await lifecycle.ended(tx, policy, held.session_id)
    moved = await lifecycle.expire(tx, await tx.tasks.get(remedy.subject))
    return True, f"{remedy.subject} is {moved.task.status.value} after {age / 60:.0f} min without a sign of life"
