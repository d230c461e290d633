"""Changes of files in a workspace, as they are noticed while it is worked in."""

from dataclasses import dataclass
from enum import StrEnum

ENOUGH = 50
"""So many changed files since the last checkpoint make one."""


class ChangeKind(StrEnum):
    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class FileChange:
    """`path` below the worktree; a folder that went ends with a slash."""

    kind: ChangeKind
    path: str
