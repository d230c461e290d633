"""Ready work at hand, kept by the leader, within one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Prefetched:
    """A task that could be claimed when the leader last looked, and since when it is in the queue."""

    task_id: str
    queued_at: datetime


class PrefetchRepository(Protocol):
    async def entries(self) -> list[str]:
        """The ids of the queue, best first."""
        ...

    async def current(self) -> list[Prefetched]:
        """The entries that are still ready, best first: a leader that has ended takes nothing out any more."""
        ...

    async def replace(self, task_ids: Sequence[str]) -> None:
        """The queue is these from now on, in this order; what stays keeps its age."""
        ...

    async def capabilities(self, limit: int) -> list[frozenset[str]]:
        """What each agent that is there can do, those heard last."""
        ...
