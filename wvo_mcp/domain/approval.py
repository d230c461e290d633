"""What people decide: a question that is bound to what it is about, decided once, used once (contract, section 12)."""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from wvo_mcp.domain.instant import Instant


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


def subject_hash(subject: Mapping[str, Any]) -> str:
    """SHA-256 of its canonical JSON."""
    return hashlib.sha256(json.dumps(subject, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
