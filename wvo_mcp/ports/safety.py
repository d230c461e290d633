"""The policy that judges what agents want to do."""

# pyright: reportReturnType=false

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from wvo_mcp.domain.policy import Judgement, SafetyPolicy


class Judge(Protocol):
    """By the accepted `state/policy.yaml` of ROOT and what ships with the program. Only `refresh` reads the file."""

    async def refresh(self) -> None:
        """Read it when it has changed; it looks at most once a second."""

    def policy(self) -> SafetyPolicy:
        """As it holds now."""

    def problem(self) -> str | None:
        """What is wrong with the file, with its line; the last good version holds meanwhile."""

    def unaccepted(self) -> str | None:
        """What of it waits for a person (`wvo-mcp trust`), in one line."""

    def around(self, cwd: str | None) -> tuple[Path, Path]:
        """The folder, made absolute, and the workspace that it is in: the worktree around it, else ROOT."""

    def command(self, command: str, cwd: Path, workspace: Path, *, attended: bool) -> Judgement:
        """Of a text for a shell, run in `cwd` by whoever may write in `workspace`. `attended`: a person sees it."""

    def paths(self, paths: Sequence[str], cwd: Path, workspace: Path, *, writes: bool) -> Judgement:
        """Of a tool that reads or writes files."""

    def tool(self, name: str) -> Judgement:
        """Of a tool that is neither a shell nor works on files, by its name."""
