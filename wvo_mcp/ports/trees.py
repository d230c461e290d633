"""Trees of processes: a worker's program with all that it started."""

# pyright: reportReturnType=false

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TreeUse:
    """`memory_mb` of all processes, shared pages counted once where that is asked for; `cpu_percent` of one core since the
    look before, 0 at the first."""

    memory_mb: int
    cpu_percent: float
    processes: int


class Trees(Protocol):
    """Roots are pids of the wardens of workers, children of this process. Nothing here raises for a process that has ended."""

    def started(self, pid: int) -> str | None:
        """A mark of its start, with which a pid is never mistaken; None when there is no such process."""

    def look(self, roots: Mapping[str, int]) -> dict[str, TreeUse]:
        """One walk for all, by worker id; those that have ended are left out. Blocks for a few milliseconds."""

    def over(self, worker_id: str) -> str | None:
        """Why its tree must end by what the last look saw; None when it may run on."""

    def share(self, worker_id: str, pid: int) -> str:
        """Give a tree that has just begun its share of the processors; in words, how."""

    def forget(self, worker_id: str) -> None:
        """It has ended: end what was seen of it and runs on, and remove what `share` made."""

    async def end(self, pid: int, started: str | None) -> bool:
        """End what is left of a tree: SIGTERM, two seconds later SIGKILL. False, and nothing is touched, when the pid is no
        longer that process."""
