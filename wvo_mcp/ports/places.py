"""The place in which a worker works on one task: its own worktree, prepared; and what it leaves there."""

# pyright: reportReturnType=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceAsk:
    """`bases`: pinned commits of dependencies, which the place begins with. `slot` counts from 0 and gives its ports."""

    task_id: str
    lease_token: int
    slot: int
    bases: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`env` is what its programs get besides (WVO_PORT_BASE). `conflicts`: paths that the dependencies disagree about, as
    conflict markers in the worktree. `unprotected`: there is no git, and nothing keeps workers apart. `reused`: it is the
    one that an earlier worker of the task left. `note`: for the person who looks, such as where setup's log is."""

    workspace_id: str
    path: Path
    branch: str | None
    base: str | None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    conflicts: Sequence[str] = ()
    unprotected: bool = False
    reused: bool = False
    note: str | None = None


class PlaceFailed(Exception):
    """The place could not be made; the text says why in a sentence, `tail` is the end of the log of what was run."""

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(message)
        self.tail = tail


class Places(Protocol):
    """Making and removing is journaled in `workspaces`; nothing with unsubmitted work is ever removed."""

    async def open(self, ask: PlaceAsk) -> Place:
        """Make the task's place, or take over the one that it has, and prepare it (included files, setup). Raises
        PlaceFailed; cancelled or failed, nothing half-made is used later."""

    async def changed(self, task_id: str) -> bool:
        """Does the tree differ from the place's base?"""

    async def tampered(self, task_id: str) -> str | None:
        """What a worker has changed of the repository's own files (config, hooks, info), as text; None: nothing."""

    async def recover(self) -> None:
        """After a crash: finish or undo what is half-made; remove places of settled tasks whose work is submitted."""

    async def close(self, task_id: str) -> None:
        """The task is settled: remove its place, if all that it holds is submitted; else leave it and note why."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A commit that holds the work of a task, pinned under `refs/wvo/submit/TASK/number`."""

    workspace_id: str
    number: int
    commit: str
    base: str
    target: str
    repository: str
    path: str


class Submissions(Protocol):
    """Makes what completes a task: a snapshot, pinned before the task moves."""

    async def prepare(self, task_id: str, lease_token: int) -> Prepared | None:
        """None where the lease has no open place of its own, or nothing in it differs from its base. Not within a
        transaction. Raises Forbidden where the repository was tampered with, StoreUnavailable for a full disk."""
