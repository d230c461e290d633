"""Work that changes what only people change: it lands once a person has approved exactly this commit (contract, sections 12 and
13)."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from wvo_mcp.domain.approval import Approval, ApprovalKind, ApprovalState, subject_hash
from wvo_mcp.domain.task import Task
from wvo_mcp.domain.visible import visible
from wvo_mcp.orchestration.tasks import asked
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.workers import Violation

_DECIDED_WITHIN = timedelta(days=7)
_VIOLATIONS = "violations"
_NAMED, _ASKED = 3, 200
"""In a sentence in passing, and in what a person approves."""
_LOOKED_AT = 100


def findings_of(violations: Sequence[Mapping[str, str]]) -> str:
    """The `findings` of an entry whose work has them."""
    return json.dumps({_VIOLATIONS: list(violations)} if violations else {})


async def ask(tx: Transaction, task: Task, entry: Mapping[str, Any]) -> Approval | None:
    """Ask a person about what the entry changes, if it must be asked; what was asked of older work is void."""
    await void(tx, task.id)
    violations = _violations(entry)
    if not violations:
        return None
    for one in violations:
        await tx.violations.add(Violation("path", "ask", one["rule"], one["path"], task.id))
    until = tx.now + _DECIDED_WITHIN
    return await tx.approvals.add(
        {"kind": ApprovalKind.MERGE.value, "task_id": task.id, "subject": _subject(entry), "expires_at": until}
    )


async def held(tx: Transaction, entry: Mapping[str, Any], task: Task) -> str | None:
    """Why the entry must not land yet; None when nothing has to be decided, or a person has approved it."""
    violations = _violations(entry)
    if not violations:
        return None
    named = visible(_named(violations))
    known = await tx.approvals.of_task(task.id, _LOOKED_AT)
    newest = next((one for one in known if one.kind is ApprovalKind.MERGE and concerns(entry, one)), None)
    if newest is None:
        return f"a person must decide it: {named}"
    if newest.state is ApprovalState.APPROVED:
        return None
    if newest.state is ApprovalState.PENDING:
        return f"a person decides it: {named} (wvo-mcp approve {newest.approval_id}, or deny)"
    return f"{newest.approval_id} is {newest.state}: {named}"


def concerns(entry: Mapping[str, Any], approval: Approval) -> bool:
    """Was it asked about this entry?"""
    return bool(_violations(entry)) and subject_hash(_subject(entry)) == approval.subject_hash


async def void(tx: Transaction, task_id: str, *, of_reviews: bool = False) -> None:
    """What was asked about work of the task is no longer asked; `of_reviews`: only what its reviews asked."""
    for approval in await tx.approvals.open_of_task(task_id):
        if approval.kind is ApprovalKind.MERGE and ("review" in approval.subject or not of_reviews):
            await asked.void(tx, approval)


def _violations(entry: Mapping[str, Any]) -> list[dict[str, str]]:
    return json.loads(entry["findings"] or "{}").get(_VIOLATIONS, [])


def _subject(entry: Mapping[str, Any]) -> dict[str, Any]:
    violations = _violations(entry)
    return {
        "task_id": entry["task_id"],
        "commit": entry["commit_sha"],
        "paths": [one["path"] for one in violations],
        "question": f"land {entry['entry_id']} of {entry['task_id']}: {_named(violations, _ASKED)}",
    }


def _named(violations: Sequence[Mapping[str, str]], most: int = _NAMED) -> str:
    unseen = ", WHICH CANNOT BE SHOWN" if most == _ASKED else ""
    more = f" And {len(violations) - most:,} more{unseen}." if len(violations) > most else ""
    return " ".join(one["message"] for one in violations[:most]) + more
