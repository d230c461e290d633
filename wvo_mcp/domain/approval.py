"""What people decide: a question that is bound to what it is about, decided once, used once (contract, section 12)."""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from posixpath import normpath
from typing import Any

from pydantic import BaseModel

from wvo_mcp.domain.instant import Instant
from wvo_mcp.errors import Conflict, Forbidden

_SHOWN = 16_000


class ApprovalKind(StrEnum):
    TASK = "task"
    COMMAND = "command"
    MERGE = "merge"
    FLOW_STEP = "flow_step"
    BUDGET = "budget"


class ApprovalState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    USED = "used"
    VOID = "void"


class Approval(BaseModel, frozen=True, defer_build=True):
    """`subject` is what is approved; a decision holds for exactly what its hash is of."""

    approval_id: str
    seq: int
    kind: ApprovalKind
    task_id: str | None
    subject: dict[str, Any]
    subject_hash: str
    state: ApprovalState
    asked_by: str
    asked_session: str
    decided_by: str | None = None
    reason: str | None = None
    created_at: Instant
    decided_at: Instant | None = None
    expires_at: Instant | None = None

    def late(self, now: Instant) -> bool:
        """Has silence become a no?"""
        return self.state is ApprovalState.PENDING and self.expires_at is not None and self.expires_at <= now

    @property
    def gate(self) -> bool:
        """Is it what `requires_approval` made at creation: a gate on a pending task, that never expires?"""
        return self.kind is ApprovalKind.TASK and self.expires_at is None

    @property
    def about(self) -> str:
        """What is asked, in words for the person who decides."""
        if self.kind is ApprovalKind.COMMAND:
            where = self.subject.get("cwd", ".")
            return f"run `{self.subject.get('command')}`" + ("" if where == "." else f" in {where}")
        if self.gate:
            return f"begin {self.task_id}: {self.subject.get('title')}"
        return str(self.subject.get("question") or self.subject)


def check_open(approval: Approval, now: Instant) -> None:
    """Raises Conflict unless it can still be decided: the first decision counts, and expiry is one."""
    known = approval.approval_id
    if approval.late(now) or approval.state is ApprovalState.EXPIRED:
        raise Conflict(
            f"{known} has expired: nobody decided in time.",
            hint=f"Unblock {approval.task_id} (wvo-mcp unblock {approval.task_id}); its agent asks again.",
            state=ApprovalState.EXPIRED,
        )
    if approval.state is ApprovalState.VOID:
        raise Conflict(f"{known} is void: it is no longer asked.", hint="wvo-mcp approvals", state=approval.state)
    if approval.state is not ApprovalState.PENDING:
        decided = "denied" if approval.state is ApprovalState.DENIED else "approved"
        why = f" ({approval.reason})" if approval.reason else ""
        raise Conflict(
            f"{known} was already {decided} by {approval.decided_by}{why}.",
            hint="The first decision counts; wvo-mcp approvals lists what is open.",
            state=approval.state,
        )


def check_decider(approval: Approval, agent_id: str, session_id: str) -> None:
    """Raises Forbidden for who asked."""
    if agent_id == approval.asked_by or session_id == approval.asked_session:
        raise Forbidden(
            f"{approval.approval_id} was asked by {approval.asked_by}: who asks cannot decide.",
            hint="Ask somebody else to decide it.",
        )


def subject_of_command(task_id: str, command: str, cwd: str = ".") -> dict[str, Any]:
    """`cwd` is relative to the task's worktree. A command that is too long to show is bound by its digest."""
    subject = {"task_id": task_id, "command": command[:_SHOWN], "cwd": normpath(cwd or ".")}
    if len(command) > _SHOWN:
        subject["sha256"] = hashlib.sha256(command.encode(errors="replace")).hexdigest()
    return subject


def subject_hash(subject: Mapping[str, Any]) -> str:
    """SHA-256 of its canonical JSON."""
    return hashlib.sha256(json.dumps(subject, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
