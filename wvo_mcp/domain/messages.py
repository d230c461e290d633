"""Messages to agents (contract, section 12)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class MessageKind(StrEnum):
    NOTE = "note"
    QUESTION = "question"
    VIOLATION = "violation"
    """The policy does not allow what it did to files."""
    PAUSE = "pause"
    """It must write nothing until `resume`."""
    RESUME = "resume"
    ROLLBACK = "rollback"
    """Files of its workspace are as they were before."""


ABOUT_FILES = frozenset({MessageKind.VIOLATION, MessageKind.PAUSE, MessageKind.RESUME, MessageKind.ROLLBACK})
"""Of the workspace of a task: they are for whoever holds it, and for nobody else."""
_SHOWN, _AGAIN = 1_000, 200


def as_notice(row: Mapping[str, Any]) -> str:
    """A row of `messages` as a sentence for the agent that it waits for; one that was shown before is cut short."""
    body = str(row["body"])
    most = _AGAIN if row["delivered_at"] else _SHOWN
    text = body if len(body) <= most else f"{body[:most]} [...]"
    about = f" on {row['task_id']}" if row["task_id"] else ""
    sender = "" if row["kind"] in ABOUT_FILES else f" from {row['from_agent']}"
    answer = " It waits for your answer." if row["needs_answer"] else ""
    return f"{row['message_id']}, {row['kind']}{sender}{about}: {text}{answer}"
