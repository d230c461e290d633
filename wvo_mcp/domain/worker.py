"""A worker: one launch of a coding agent for one task (contract, section 10)."""

from enum import StrEnum

from pydantic import BaseModel

from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.task import Status, Task


class WorkerState(StrEnum):
    STARTING = "starting"
    WORKING = "working"
    IDLE = "idle"
    STUCK = "stuck"
    LIMITED = "limited"
    WAITING_APPROVAL = "waiting_approval"
    PAUSED = "paused"
    STOPPING = "stopping"
    ENDED = "ended"


RESTING = frozenset({WorkerState.LIMITED, WorkerState.WAITING_APPROVAL, WorkerState.PAUSED})
"""It has no process, lease or WIP; its session and workspace are kept, and the next launch of the task goes on there."""


class ExecutionMode(StrEnum):
    """How much of a worker's run others take part in."""

    INTERACTIVE = "interactive"
    """It is paused, told things, and its files go back while it works."""
    DETERMINISTIC = "deterministic"
    """It works alone; its files are kept meanwhile, and what it did is judged when it completes its task."""


ALONE = "; deterministic: "
"""In the reason of a worker's state, before why it works alone."""


class Outcome(StrEnum):
    COMPLETED = "completed"
    FAILED = "failed"
    RELEASED = "released"
    LIMITED = "limited"
    STOPPED = "stopped"
    KILLED = "killed"
    CRASHED = "crashed"


class Worker(BaseModel, frozen=True, defer_build=True):
    """As it is stored. `since` is of the state; `pid` is the warden's, and with `pid_started` never mistaken; tokens and
    US dollars are sums of all its sessions; `memory_mb` and `cpu_percent` are of its whole process tree, when it was last
    looked at; `log` is the path of the raw stream."""

    worker_id: str
    seq: int
    task_id: str
    lease_token: int
    agent_id: str
    run_id: str
    provider: str
    tier: str
    model: str
    host: str
    pid: int | None = None
    pid_started: str | None = None
    client_session: str | None = None
    workspace: str | None = None
    state: WorkerState
    reason: str | None = None
    since: Instant
    last_act: str | None = None
    resets_at: Instant | None = None
    started_at: Instant
    ended_at: Instant | None = None
    exit_code: int | None = None
    outcome: Outcome | None = None
    reserved_usd: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    memory_mb: int | None = None
    cpu_percent: float | None = None
    log: str | None = None
    review_id: str | None = None
    """It only answers, and holds no task: a review, or what else it was asked."""

    def holds(self, task: Task) -> bool:
        """Is the task in progress under the lease of this launch?"""
        return task.status is Status.IN_PROGRESS and task.lease_token == self.lease_token
