"""What follows when a checkpoint of files does not keep to the policy (WS-4): by severity, and once for each finding."""

from collections.abc import Sequence

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.messages import MessageKind
from wvo_mcp.domain.validation import Finding, Severity, Validation, key_of, shown
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration import messages
from wvo_mcp.orchestration.tasks import breaches
from wvo_mcp.orchestration.workspaces import reverting
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.checkpoints import NoRollback, Rollbacks, Taken

_NAMED = 5
_SEVERE = {one.name.lower() for one in Severity if one >= Severity.ERROR}


async def follow(store: WatchedStore, caller: Caller, rollbacks: Rollbacks | None, task_id: str, taken: Taken) -> None:
    """Whoever holds the task hears of warnings and errors that are new; errors raise an alert for people; what is critical
    is rolled back. What is left no more ends its alert."""
    if taken.validation is None:
        return
    found = taken.validation
    known = {key_of(one) for one in taken.known}
    new = [one for one in found.at_least(Severity.WARNING) if key_of(one.as_json()) not in known]
    if new:
        await store.write(caller, lambda tx: _told(tx, task_id, taken, found, new))
    if any(one["severity"] in _SEVERE for one in taken.known) and _clean(found):
        await store.write(caller, lambda tx: breaches.over(tx, task_id))
    if found.critical and rollbacks is not None:
        await _back(store, caller, rollbacks, task_id, taken.number, found.critical)


def _clean(found: Validation) -> bool:
    """Is it certain that nothing is left for people?"""
    unknown = any(one.rule == "unknown" for one in found.findings)
    return not unknown and found.sampled is None and not found.at_least(Severity.ERROR)


async def _told(tx: Transaction, task_id: str, taken: Taken, found: Validation, new: Sequence[Finding]) -> None:
    lines = [{**one.as_json(), "told": True} for one in found.findings]
    await tx.snapshots.judged(taken.workspace_id, taken.seq, found.violations, lines)
    severe = [one for one in new if one.severity >= Severity.ERROR]
    rules = sorted({one.rule for one in new})
    data = {"checkpoint": taken.number, "rules": rules, "files": [shown(one.path) for one in new][:100]}
    await tx.events.append(
        "workspace.violation", task_id, {**data, "worst": max(new, key=_severity).severity.name.lower()}
    )
    said = " ".join(one.message for one in new[:_NAMED])
    more = f" {len(new) - _NAMED} more: workspace_validate shows them." if len(new) > _NAMED else ""
    held = " What is not undone waits for a person before it lands." if severe else ""
    await messages.about_files(tx, task_id, MessageKind.VIOLATION, f"{said}{more}{held}")
    if severe:
        text = f"{task_id}: {' '.join(one.message for one in severe[:_NAMED])}"
        worst = "critical" if any(one.severity is Severity.CRITICAL for one in severe) else "warning"
        await breaches.found(tx, task_id, worst, text, taken.number, severe)


def _severity(one: Finding) -> Severity:
    return one.severity


async def _back(
    store: WatchedStore, caller: Caller, rollbacks: Rollbacks, task_id: str, number: int, critical: Sequence[Finding]
) -> None:
    try:
        await reverting.critical(store, caller, rollbacks, task_id, number, critical)
    except (NoRollback, WvoError) as error:
        text = f"What the policy forbids is still in the workspace of {task_id}: {error}"
        await store.write(caller, lambda tx: breaches.found(tx, task_id, "critical", text, number, critical))
