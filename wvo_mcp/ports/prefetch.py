"""Ready work at hand, kept by the leader, within one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Prefetched:
    """A task that could be claimed when the leader last looked, for `agent_id` if anybody suits; `reason` says why."""

    task_id: str
    agent_id: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """An agent of the pool."""

    id: str
    capabilities: frozenset[str]
    idle: bool


class PrefetchRepository(Protocol):
    async def entries(self) -> list[Prefetched]:
        """The queue, best first."""
        ...

    async def current(self) -> list[Prefetched]:
        """The entries that still stand, whoever looked last: a leader that has ended takes nothing out any more."""
        ...

    async def since(self) -> datetime | None:
        """When the entry that waits longest came in."""
        ...

    async def replace(self, entries: Sequence[Prefetched]) -> None:
        """The queue is these from now on, in this order; what stays keeps its age."""
        ...

    async def pool(self, limit: int) -> list[Member]:
        """The agents that are there, those heard last."""
        ...
