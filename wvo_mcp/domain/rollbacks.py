"""Rollbacks of the files of a workspace: how much of it, and what became of it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Extent(StrEnum):
    FULL = "full"
    """All files, exactly as the checkpoint has them."""
    PARTIAL = "partial"
    """The named files and folders."""
    SMART = "smart"
    """The files that violate the policy; the others stay."""


BASE = 0
"""In place of the number of a checkpoint: the commit that the workspace began with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackAsk:
    """`to` is the number of a checkpoint of the task, or BASE; None: the last one in which what is asked for was valid, of
    those that are not in `skipped`. `names`: files and folders, for PARTIAL."""

    task_id: str
    to: int | None
    extent: Extent
    names: Sequence[str] = ()
    skipped: Collection[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolled:
    """`to`: what the files are as now; `undo`: the checkpoint that was made before, to roll back to when it was a mistake;
    None where nothing differed, or nothing was done. `reverted` and `kept`: paths that differed from the checkpoint.
    `aside`: where copies of files with a secret are, which no checkpoint ever holds."""

    to: int
    undo: int | None
    reverted: Sequence[str]
    kept: Sequence[str]
    diff: str = ""
    aside: str | None = None
