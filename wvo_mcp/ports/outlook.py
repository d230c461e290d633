"""Open work and past durations, within one transaction."""

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
    """The whole plan, in parts of a bounded size, so that no caller waits behind a long transaction."""

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
        """(complexity, started_at, finished_at) of done tasks that an agent had claimed, newest tasks first."""
        ...

    async def titles(self, task_ids: list[str]) -> dict[str, str]: ...
