"""Checkpoints of the files of a workspace, as commits that no branch knows; the rows are `tx.snapshots`."""

# pyright: reportReturnType=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from wvo_mcp.domain.checkpoints import Trigger
from wvo_mcp.domain.rollbacks import RollbackAsk, Rolled
from wvo_mcp.domain.validation import Validation


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Checkpoint `number` of the task (`refs/wvo/checkpoint/TASK/number`), `seq` of its workspace. `files_changed` since the
    one before. `fresh` is False when nothing had changed since, and no other was made; then it is `pending` if what it
    violates was not followed yet. `left_out`: new files that are too large, and files with a known secret. `validation`: None
    where nothing was judged; `known`: findings of which somebody was told already, as {severity, rule, path, message,
    told}."""

    workspace_id: str
    seq: int
    number: int
    commit: str
    files_changed: int
    took_ms: int
    fresh: bool = True
    pending: bool = False
    left_out: Sequence[str] = ()
    validation: Validation | None = None
    known: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`text` is a diff of at most so many characters as were asked for, `cut` when there is more; `files` are all paths."""

    text: str
    files: Sequence[str]
    cut: bool = False


class NoCheckpoint(Exception):
    """None could be made; the text says why in a sentence."""


class Checkpoints(Protocol):
    """Of the workspaces on this host. One at a time is made of each. None of it within a transaction."""

    async def take(
        self, task_id: str, trigger: Trigger, task_checkpoint: int | None = None, *, anew: bool = False
    ) -> Taken | None:
        """Of the files as they are now, untracked ones too; then they are validated, unless nothing has changed since they were
        and all that was found is known; with `anew` always. None where the task has no worktree here. Raises NoCheckpoint."""

    async def diff(
        self, task_id: str, number: int | None, *, whole: bool, most: int, since: int | None = None
    ) -> Difference | None:
        """What checkpoint `number` (None: the files as they are now) changed of the one before, or of checkpoint `since`; with
        `whole`, or since 0, of what the workspace began with. Checkpoints are there as long as they are listed, also when
        their worktree is removed. None where there is no such checkpoint, or no worktree. Raises NoCheckpoint."""

    async def prune(self, task_id: str) -> int:
        """Remove those that are old or too many; how many. Raises NoCheckpoint."""


class NoRollback(Exception):
    """Nothing was changed; the text says why in sentences. With `again` the same may be possible in a moment."""

    def __init__(self, why: str, *, again: bool = False) -> None:
        super().__init__(why)
        self.again = again


class Rollbacks(Protocol):
    """Of the workspaces on this host. Whoever works in one must be kept from writing meanwhile. None of it within a
    transaction."""

    async def roll_back(self, ask: RollbackAsk, *, dry_run: bool = False, diff: int = 0) -> Rolled | None:
        """Make files what a checkpoint has; what is here now is kept as a checkpoint first. With `dry_run` nothing is done,
        and `diff` characters of what would be done are shown. Cut off half-way it is finished by whoever touches the
        workspace next. None where the task has no worktree here, or no such checkpoint. Raises NoRollback."""

    async def finish(self) -> list[str]:
        """Those that a crash has cut off; a line for each that could not be."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a copy holds, and what it began with: commits of the copy's own repository."""

    commit: str
    base: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """`files`: the paths that the project's folder has as the copy has them now, or would have after a dry run; `diff` of
    them. `held`: a review has to pass this first, and nothing was written."""

    files: Sequence[str]
    diff: str = ""
    held: Content | None = None


class NoPromotion(Exception):
    """Nothing was promoted; the text says why in sentences. `violations`: what a person may promote all the same. With `full`
    the disk is."""

    def __init__(self, why: str, *, violations: bool = False, full: bool = False) -> None:
        super().__init__(why)
        self.violations = violations
        self.full = full


class Promotions(Protocol):
    """Of the workspaces on this host that are copies of a folder without git. None of it within a transaction."""

    async def promote(
        self,
        task_id: str,
        lease_token: int | None = None,
        *,
        dry_run: bool = False,
        diff: int = 0,
        reviews: bool = False,
        passed: Content | None = None,
    ) -> Promoted | None:
        """Put what the copy changed into the project's folder, all or nothing. With `reviews` only the same change as that of
        `passed`, which a review let go on; of another what the copy holds is kept until the copy is gone. Without
        `lease_token` it is a person who asks, and decides what violates the policy, but for what it forbids. Where the
        project went on in the same files, the copy is brought onto that, for whoever works there to look at. With `dry_run`
        nothing is done, and `diff` characters are shown. None where the task has no copy here. Raises NoPromotion."""
