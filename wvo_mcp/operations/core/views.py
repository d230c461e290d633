"""How tasks and events are shown. What has a default here is left out of a result when it has it (`dump`)."""

from typing import Any

from pydantic import Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.task import BlockAuthor, Origin, Priority, Status, TaskType
from wvo_mcp.operations.inputs import Output


class TaskLine(Output):
    """A task in a list, or after a write."""

    id: str
    title: str
    status: Status
    priority: Priority
    complexity: int
    score: float
    epic_id: str | None = None
    milestone_id: str | None = None
    assigned_to: str | None = None
    unmet_deps: int
    labels: tuple[str, ...] = ()
    version: int
    updated_at: Instant


class WorkView(TaskLine):
    """A task with all that a worker needs; its lease is beside it."""

    parent_id: str | None = None
    description: str = ""
    type: TaskType
    business_value: float | None = None
    acceptance: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    requires_approval: bool
    approved_at: Instant | None = None
    not_before: Instant | None = None
    progress: int | None = None
    attempts: int
    expiries: int
    max_attempts: int
    origin: Origin
    blocked_reason: str | None = None
    last_error: str | None = None
    created_at: Instant
    started_at: Instant | None = None
    finished_at: Instant | None = None


class TaskView(WorkView):
    """A task with all there is to know."""

    lease_token: int
    lease_expires_at: Instant | None = None
    block_author: BlockAuthor | None = None
    waiting_for: list[str] = Field(default=[])


class EventLine(Output):
    """An event beside its task; the tool `events` has the session too."""

    seq: int
    at: Instant
    kind: str
    agent_id: str | None = None
    data: dict[str, Any] = Field(default={})
