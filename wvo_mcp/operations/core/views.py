"""How tasks, leases and entries are shown."""

from pydantic import Field

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.task import Origin, Priority, Status, Task, TaskType
from wvo_mcp.operations.operation import Output


class TaskLine(Output):
    """A task in a list, or after a write."""

    id: str
    title: str
    status: Status
    priority: Priority
    complexity: int
    score: float
    epic_id: str | None
    milestone_id: str | None
    assigned_to: str | None
    unmet_deps: int
    labels: tuple[str, ...]
    version: int
    updated_at: Instant


class TaskView(TaskLine):
    """A task with all that a worker needs."""

    parent_id: str | None
    description: str
    type: TaskType
    business_value: float | None
    acceptance: tuple[str, ...]
    files: tuple[str, ...]
    capabilities: tuple[str, ...]
    requires_approval: bool
    approved_at: Instant | None
    not_before: Instant | None
    lease_token: int
    lease_expires_at: Instant | None
    progress: int | None
    attempts: int
    expiries: int
    max_attempts: int
    origin: Origin
    blocked_reason: str | None
    last_error: str | None
    waiting_for: list[str] = Field(default_factory=list)
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None


def line(task: Task) -> TaskLine:
    return TaskLine.model_validate(task, from_attributes=True)


def view(task: Task, waiting_for: list[str] | None = None) -> TaskView:
    shown = TaskView.model_validate(task, from_attributes=True)
    return shown.model_copy(update={"waiting_for": waiting_for}) if waiting_for else shown
