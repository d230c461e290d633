"""The rules of the project: what prepares a worktree, where work lands, what proves it."""

from typing import Protocol

from wvo_mcp.domain.rules import Rules


class ProjectRules(Protocol):
    """Of the roadmap in ROOT, never of a copy in a task's worktree. Only `refresh` touches the file."""

    async def refresh(self) -> None:
        """Read the file when it, or what was accepted, has changed."""
        ...

    def current(self) -> Rules:
        """What people accepted, and what the file forbids beyond that; defaults before the first `refresh`."""
        ...

    def aim(self, target: str) -> None:
        """Work of this process starts from this branch and lands there, whatever the file says."""

    def unaccepted(self) -> str | None:
        """What of the file waits for a person (`wvo-mcp trust`), in one line."""
        ...

    def problem(self) -> str | None:
        """What is wrong with the file, with its line; what was accepted holds meanwhile."""
        ...
