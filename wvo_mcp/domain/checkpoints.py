"""Checkpoints of the files of a workspace: what makes one, and which of them are kept."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


class Trigger(StrEnum):
    CALL = "call"
    INTERVAL = "interval"
    CHANGES = "changes"
    PAUSE = "pause"
    COMPLETE = "complete"


KEPT_FOR = timedelta(days=7)
KEPT = 200
"""Of one task, the newest ones."""


def surplus(rows: Sequence[Mapping[str, Any]], now: datetime) -> list[int]:
    """The numbers of those that may go: older than a week, or beyond the newest 200. `rows` newest first, with `number` and
    `created_at` (aware). The newest one stays whatever its age."""
    late = [row["number"] for row in rows[1:KEPT] if now - row["created_at"] > KEPT_FOR]
    return [*late, *(row["number"] for row in rows[KEPT:])]
