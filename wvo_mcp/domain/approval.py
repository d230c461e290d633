"""What people decide: a question that is bound to what it is about, decided once, used once (contract, section 12)."""

import hashlib
import json
from collections.abc import Callable, Mapping
from enum import StrEnum
from posixpath import normpath
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.visible import cut, visible
from wvo_mcp.errors import Conflict, Forbidden

if TYPE_CHECKING:
    from wvo_mcp.domain.providers.state import Window

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
    topic: str | None = None
    """Of what belongs to no task: what it is about, of which one is open at a time."""

    def late(self, now: Instant) -> bool:
        """Has silence become a no?"""
        return self.state is ApprovalState.PENDING and self.expires_at is not None and self.expires_at <= now

    @property
    def gate(self) -> bool:
        """Is it what `requires_approval` made at creation: a gate on a pending task, that never expires?"""
        return self.kind is ApprovalKind.TASK and self.expires_at is None

    @property
    def question(self) -> bool:
        """Is it answered in words?"""
        return self.kind is ApprovalKind.TASK and not self.gate

    @property
    def about(self) -> str:
        """All that is asked, for the person who decides; nothing in it can hide. Only a question keeps its lines."""
        prose = self.kind in (ApprovalKind.TASK, ApprovalKind.MERGE)
        return visible(_ABOUT[self.kind](self), lines=prose)

    def glance(self, most: int, *, lines: bool = False) -> str:
        """The same on one line, or with its `lines`; what is longer lacks its middle, and says where all of it is."""
        text = self.about if lines else visible(self.about)
        return cut(text, most, f": wvo-mcp approval-status --approval-id {self.approval_id}")

    @property
    def decide(self) -> str:
        """The lines that decide it, to be pasted."""
        yes = (
            f'wvo-mcp answer {self.approval_id} "your answer"'
            if self.question
            else f"wvo-mcp approve {self.approval_id}"
        )
        return f'{yes}   or: wvo-mcp deny {self.approval_id} "reason"'


def _of_task(approval: Approval) -> str:
    return _task_as_a_whole(approval) if approval.gate else _question(approval)


def _task_as_a_whole(approval: Approval) -> str:
    """Each on a line of its own, the description last: no part can pass for another."""
    asked = approval.subject
    found = [f"begin {approval.task_id}: {visible(str(asked.get('title')))}"]
    found += [f"files: {visible(glob)}" for glob in asked.get("files", ())]
    found += [f"to be met: {visible(criterion)}" for criterion in asked.get("acceptance", ())]
    return "\n".join([*found, *([f"description: {asked['description']}"] if asked.get("description") else [])])


def _of_command(approval: Approval) -> str:
    where, hidden = approval.subject.get("cwd", "."), approval.subject.get("hidden", 0)
    more = f" and {hidden:,} more characters, WHICH CANNOT BE SHOWN" if hidden else ""
    return f"run `{approval.subject.get('command')}`{more}" + ("" if where == "." else f" in {where}")


def _of_budget(approval: Approval) -> str:
    asked = approval.subject
    whose, limit, new = f"{asked['scope']} {asked['name']}", asked["limit"], asked["new_limit"]
    lasts = f"until the end of {asked['day']}, UTC" if "day" in asked else "for 60 minutes from then on"
    wants = f"work that waits wants about {asked['wanted']:,}"
    return f"raise the budget of {whose} from {limit:,} to {new:,} tokens per {asked['period']}, {lasts}; {wants}"


def _of_step(approval: Approval) -> str:
    asked = approval.subject
    return f"let {asked['run_id']} do {asked['step_id']}: {asked['does']}"


def _question(approval: Approval) -> str:
    return str(approval.subject.get("question") or approval.subject)


_ABOUT: Mapping[ApprovalKind, Callable[[Approval], str]] = {
    ApprovalKind.TASK: _of_task,
    ApprovalKind.COMMAND: _of_command,
    ApprovalKind.MERGE: _question,
    ApprovalKind.FLOW_STEP: _of_step,
    ApprovalKind.BUDGET: _of_budget,
}
"""The line of each kind for people."""


def check_open(approval: Approval, now: Instant) -> None:
    """Raises Conflict unless it can still be decided: the first decision counts, and expiry is one."""
    known = approval.approval_id
    if approval.late(now) or approval.state is ApprovalState.EXPIRED:
        raise Conflict(
            f"{known} has expired: nobody decided in time.",
            hint="wvo-mcp approvals"
            if approval.task_id is None
            else f"Unblock {approval.task_id} (wvo-mcp unblock {approval.task_id}); its agent asks again.",
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
    if _same(agent_id, approval.asked_by) or session_id == approval.asked_session:
        raise Forbidden(
            f"{approval.approval_id} was asked by {approval.asked_by}: who asks cannot decide.",
            hint="Ask somebody else to decide it.",
        )


def _same(one: str, other: str) -> bool:
    """Is one the other, however it is spelt, or one that works for it (`ann.1`)?"""
    one, other = one.casefold(), other.casefold()
    return bool(other) and (one == other or one.startswith(f"{other}.") or other.startswith(f"{one}."))


def subject_of_command(task_id: str, command: str, cwd: str = ".") -> dict[str, Any]:
    """`cwd` is relative to the task's worktree. A command that is too long to show is bound by its digest."""
    subject: dict[str, Any] = {"task_id": task_id, "command": command[:_SHOWN], "cwd": normpath(cwd or ".")}
    if len(command) > _SHOWN:
        digest = hashlib.sha256(command.encode(errors="replace")).hexdigest()
        subject |= {"sha256": digest, "hidden": len(command) - _SHOWN}
    return subject


def subject_of_budget(window: "Window", new_limit: int, wanted: int, day: str | None = None) -> dict[str, Any]:
    """Tokens; `wanted` by the work that is kept back. `day`: of a limit per day, the one that it is raised for."""
    subject = {name: getattr(window, name) for name in ("scope", "name", "period", "limit")}
    return {**subject, "new_limit": new_limit, "wanted": wanted, **({} if day is None else {"day": day})}


def subject_of_step(run_id: str, step_id: str, does: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """`does` is for people; `given` is all that the step would do, as data."""
    return {"run_id": run_id, "step_id": step_id, "does": does, "given": dict(given)}


def subject_hash(subject: Mapping[str, Any]) -> str:
    """SHA-256 of its canonical JSON."""
    return hashlib.sha256(json.dumps(subject, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
