"""The place in which a worker works on one task: its own worktree, prepared; and what it leaves there."""

# pyright: reportReturnType=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from pathlib import Path
from typing import Protocol


class PlaceMode(StrEnum):
    """What is made where the task has no place yet; one that it has is used as it is."""

    AUTO = "auto"
    """A worktree where there is git, else a copy."""
    WORKTREE = "worktree"
    SHADOW = "shadow"
    """A copy of the project's folder with the person's uncommitted files, promoted into that folder at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceAsk:
    """`bases`: pinned commits of dependencies, which the place begins with. `landed`: commits that the target has, here or
    elsewhere; the place begins with those that are in this repository. `slot` counts from 0 and gives its ports. `onto`: the
    work came back, and is to be brought onto this commit of the target. `attached`: for an agent that a person started. It
    gets a worktree or nothing, and runs the project's setup itself."""

    task_id: str
    lease_token: int
    slot: int
    bases: Sequence[str] = ()
    landed: Sequence[str] = ()
    onto: str | None = None
    attached: bool = False
    mode: PlaceMode = PlaceMode.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`env` is what its programs get besides (WVO_PORT_BASE). `conflicts`: paths that the dependencies disagree about, as
    conflict markers in the worktree. `unprotected`: there is no git, and nothing keeps workers apart. `reused`: it is the
    one that an earlier worker of the task left. `path` is where the worker starts: the folder of the project in the
    worktree, whose top is `top`. `note`: for the person who looks, such as where setup's log is. `setup`: the command that
    was not run in it. `mode`: worktree, shadow or folder."""

    workspace_id: str
    path: Path
    branch: str | None
    base: str | None
    mode: str = "worktree"
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    conflicts: Sequence[str] = ()
    unprotected: bool = False
    reused: bool = False
    top: Path | None = None
    note: str | None = None
    setup: str | None = None


class Problem(Enum):
    """Why there is no place."""

    TAMPERED = "tampered"
    """A person must look at the repository's own files first."""
    FULL = "full"
    NO_GIT = "no git"
    FOREIGN = "foreign"
    """The repository is not the one that the store's work belongs to."""
    BUSY = "busy"
    """Another process makes or removes it."""
    OVERTAKEN = "overtaken"
    """A later lease has it."""
    OTHER = "other"


class PlaceFailed(Exception):
    """The place could not be made; the text says why in a sentence, `tail` is the end of the log of what was run."""

    def __init__(self, message: str, tail: str = "", *, problem: Problem = Problem.OTHER) -> None:
        super().__init__(message)
        self.tail = tail
        self.problem = problem

    @property
    def tampered(self) -> bool:
        return self.problem is Problem.TAMPERED


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is in a place: `bytes` of its files; `unsubmitted`: they hold what neither its base nor the last submission of its
    task has; None where that cannot be known. `problem`: what is wrong with it, in words."""

    bytes: int | None = None
    unsubmitted: bool | None = None
    problem: str | None = None


class Places(Protocol):
    """Making and removing is journaled in `workspaces`; nothing with unsubmitted work is ever removed. None of it within a
    transaction."""

    async def open(self, ask: PlaceAsk) -> Place:
        """Make the task's place, or take over the one that it has, and prepare it (included files, setup). Raises
        PlaceFailed; cancelled or failed, nothing half-made is used later. `PlaceFailed.tampered`: no place can be opened
        before a person has looked."""

    def full(self) -> str | None:
        """Why no place should be opened now: the disk is all but full, in words for a person."""

    async def changes(self, task_id: str) -> str:
        """What the tasks that this one builds on have changed, as a diff of at most 200,000 characters; empty without a
        place. For those who judge and cannot look."""

    async def tampered(self, task_id: str) -> str | None:
        """What somebody has changed of the repository's own files (config, hooks, info) since the worker was launched, as
        lines for a person; None: nothing that matters. Cheap: called before and after each turn of a worker."""

    async def suspected(self) -> list[str]:
        """What `tampered` says of all places, each line once."""

    async def accept(self) -> list[str]:
        """A person's word that the repository's own files are as they should be: what `tampered` says from now on is
        measured from here. What was accepted, as `suspected` had it."""

    async def look(self) -> Mapping[str, Sight]:
        """Into all places of this host, by their ids; takes a while for large ones."""

    async def recover(self) -> list[str]:
        """After a crash: finish or undo what is half-made; remove places of settled tasks whose work is submitted, and pins
        without an entry after a day. A line for each place that was left as it is."""

    async def close(self, task_id: str) -> str | None:
        """The task is settled: remove its place, if all that it holds is submitted; else leave it and say why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A commit that holds the work of a task, pinned under `refs/wvo/submit/TASK/number`. `files`: the paths that it changes.
    Without any nothing was pinned, `commit` is the base and `number` is 0. `path` is the repository's folder on `host`.
    `violations`: what only a person may let land, as {severity, rule, path, message}."""

    workspace_id: str
    number: int
    commit: str
    base: str
    target: str
    repository: str
    host: str
    path: str
    files: Sequence[str] = ()
    violations: Sequence[Mapping[str, str]] = ()


class Submissions(Protocol):
    """Makes what completes a task: a snapshot, pinned before the task moves."""

    async def prepare(self, task_id: str, lease_token: int) -> Prepared | None:
        """None where the lease has no open worktree of its own; the caller's transaction then says what is wrong with it.
        Not within a transaction. Raises Forbidden where the repository was tampered with, Conflict for what cannot be
        submitted (large new files, secrets, unresolved conflicts, what the policy forbids), StoreUnavailable for a full
        disk."""
