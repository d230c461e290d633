"""The task and its state machine (contract, section 3), as data."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from wvo_mcp.domain.instant import Instant
from wvo_mcp.errors import IllegalTransition


class Status(StrEnum):
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    IN_REVIEW = "in_review"
    AWAITING_APPROVAL = "awaiting_approval"
    BLOCKED = "blocked"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class TaskType(StrEnum):
    GENERATION = "generation"
    PARSING = "parsing"
    VALIDATION = "validation"
    REVIEW = "review"
    OTHER = "other"


class Origin(StrEnum):
    ROADMAP = "roadmap"
    AGENT = "agent"
    HUMAN = "human"


class BlockAuthor(StrEnum):
    """Who set a block. Agents lift only what holders set."""

    HOLDER = "holder"
    PERSON = "person"
    REVIEW = "review"
    MERGE = "merge"
    POLICY = "policy"
    APPROVAL = "approval"


class Gate(StrEnum):
    """What keeps a pending task with no unmet dependency from being claimed; also the `reason` of plan_next."""

    NOT_BEFORE = "not_before"
    APPROVAL = "approval"
    CHILDREN = "children"
    KEPT = "kept"
    """For the agent in `kept_for`, until `kept_until`."""


GATE_BITS = {Gate.NOT_BEFORE: 1, Gate.APPROVAL: 2, Gate.CHILDREN: 4, Gate.KEPT: 8}

MOVES: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.IN_PROGRESS, Status.IN_REVIEW, Status.BLOCKED, Status.CANCELLED}),
    Status.IN_PROGRESS: frozenset(Status) - {Status.IN_PROGRESS},
    Status.IN_REVIEW: frozenset({Status.DONE, Status.PENDING, Status.BLOCKED, Status.CANCELLED}),
    Status.AWAITING_APPROVAL: frozenset({Status.PENDING, Status.BLOCKED, Status.CANCELLED}),
    Status.BLOCKED: frozenset({Status.PENDING, Status.IN_REVIEW, Status.CANCELLED}),
    Status.FAILED: frozenset({Status.PENDING, Status.CANCELLED}),
    Status.DONE: frozenset({Status.PENDING}),
    Status.CANCELLED: frozenset({Status.PENDING}),
}
"""Every legal move; what is not here is refused."""

SETTLED = frozenset({Status.DONE, Status.CANCELLED})
"""Statuses that no longer wait for anything: they belong to no bundle."""

MAX_EXPIRIES = 10
"""The expired lease that blocks the task."""


def check_move(task_id: str, origin: Status, target: Status) -> None:
    """Raises IllegalTransition unless the state machine has the move."""
    if target not in MOVES[origin]:
        may = ", ".join(sorted(MOVES[origin]))
        raise IllegalTransition(task_id, origin, target, hint=f"From {origin} it may move to: {may}.")


def retry_delay_seconds(attempts: int) -> int:
    """Backoff before failed attempt number `attempts` (from 1) is tried again: 30 s x 2^(attempts-1), at most 1 h."""
    return min(3600, 30 * 2 ** min(attempts - 1, 10))


class Task(BaseModel, frozen=True, defer_build=True):
    """One task as it is stored. Times are UTC; `lease_seconds` is the length that a renewal gives."""

    id: str
    seq: int
    epic_id: str | None
    milestone_id: str | None
    parent_id: str | None
    title: str
    description: str
    type: TaskType
    status: Status
    priority: Priority
    complexity: int
    business_value: float | None
    score: float
    bundle_value: float
    bundle_size: float
    heard_value: float
    heard_size: float
    tail: int
    unmet_deps: int
    open_children: int
    gates: int
    lane_id: int
    labels: tuple[str, ...]
    files: tuple[str, ...]
    capabilities: tuple[str, ...]
    acceptance: tuple[str, ...]
    requires_approval: bool
    approved_at: Instant | None
    not_before: Instant | None
    kept_for: str | None
    kept_until: Instant | None
    assigned_to: str | None
    session_id: str | None
    lease_token: int
    lease_expires_at: Instant | None
    lease_seconds: int | None
    progress: int | None
    attempts: int
    expiries: int
    max_attempts: int
    origin: Origin
    blocked_reason: str | None
    block_author: BlockAuthor | None
    last_error: str | None
    metadata: dict[str, Any]
    version: int
    event_head: str
    created_at: Instant
    updated_at: Instant
    started_at: Instant | None
    finished_at: Instant | None


class Checkpoint(BaseModel, frozen=True, defer_build=True):
    """One link of a task's chain; `seq` counts from 1, `parent_id` is the link before."""

    id: str
    seq: int
    parent_id: str | None = None
    agent_id: str | None = None
    summary: str
    next_steps: str | None = None
    progress: int | None = None
    files: tuple[str, ...] = ()
    created_at: Instant
