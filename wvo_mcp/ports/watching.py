"""Watchers of workspaces: they notice what changes in a worktree while it happens."""

# pyright: reportReturnType=false

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """In one workspace since its last `mark`: so many different `files` changed. Only where it is `sure` does none mean that
    nothing has changed. `trouble`: why it is watched no more, in words; then it never is sure."""

    files: int = 0
    sure: bool = False
    trouble: str | None = None


class Watchers(Protocol):
    """Of worktrees on this host, one for each. They miss changes without knowing it where the system drops its own news:
    what matters must be looked at by itself from time to time."""

    async def follow(self, task_ids: Collection[str]) -> None:
        """Watch the worktrees of these tasks and no others. Returns before all of them are watched; what cannot be watched
        says so in `look`. Raises the store's typed errors."""

    def look(self, task_id: str) -> Noticed:
        """Cheap. Nothing, and not sure, where there is no watcher."""

    def mark(self, task_id: str) -> None:
        """A look at all files of the worktree begins: what was noticed before is part of it."""

    def distrust(self, task_id: str, why: str) -> None:
        """It has missed something: it is watched no more."""

    def delays(self) -> list[float]:
        """Milliseconds from a change until it was noticed, of some changes since the last call."""

    async def end(self) -> None:
        """Watch nothing any more."""
