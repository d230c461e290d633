"""What lies ahead: open work and past durations, and the jobs that compute with them, within one transaction."""

from datetime import datetime
from typing import Any, NamedTuple, Protocol

Row = dict[str, Any]


class OpenRow(NamedTuple):
    """A task that is neither done nor cancelled, as its columns have it; times as ISO text."""

    id: str
    parent_id: str | None
    epic_id: str | None
    milestone_id: str | None
    status: str
    priority: str
    complexity: int
    business_value: float | None
    not_before: str | None
    started_at: str | None
    score: float
    seq: int


class OutlookRepository(Protocol):
    """The whole plan, in parts of a bounded size, so that nobody has to wait behind a long transaction."""

    async def last_seq(self) -> int: ...

    async def open_tasks(self, after: int, until: int) -> list[OpenRow]:
        """Those with a `seq` behind `after` and up to `until`."""
        ...

    async def edges(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """(task, what it depends on), in this order, behind `after`."""
        ...

    async def waits(self) -> list[tuple[str, str]]:
        """(blocked task, what it waits for)."""
        ...

    async def cancelled(self) -> set[str]: ...

    async def finished(self, limit: int) -> list[tuple[int, str, str]]:
        """(complexity, started_at, finished_at) of done tasks that somebody had claimed, newest tasks first."""
        ...

    async def titles(self, task_ids: list[str]) -> dict[str, str]: ...


class JobRepository(Protocol):
    """Long work: its handle, how far it is, what came of it.

    A row is {id, tool, agent_id, session_id, state (running, succeeded, failed), progress (0-1), note, input, result, error,
    created_at, updated_at, finished_at}; result and error are JSON.
    """

    async def begin(self, job_id: str, tool: str, agent_id: str, request: str) -> None:
        """It runs in the caller's session from now on."""
        ...

    async def get(self, job_id: str) -> Row | None: ...

    async def latest(self, tool: str, agent_id: str, request: str) -> Row | None:
        """The newest job of this agent that was asked for the same."""
        ...

    async def tell(self, job_id: str, progress: float, note: str) -> None: ...

    async def end(self, job_id: str, *, result: str | None = None, error: str | None = None) -> bool:
        """False when it had ended already: what stands is kept."""
        ...

    async def forget(self, before: datetime) -> None:
        """Remove what nothing was heard of since."""
        ...
