"""Messages to agents (contract, section 12)."""

import json
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
PERSON = "person"
"""Who people are to agents, whichever of them it is; no agent may be called so."""
_SHOWN, _AGAIN = 1_000, 200


def as_notice(row: Mapping[str, Any], *, again: bool, reader: str) -> str:
    """A row of `messages` as a sentence for the agent that reads it; one that is shown again is cut short."""
    body = str(row["body"])
    most = _AGAIN if again else _SHOWN
    text = body if len(body) <= most else f"{body[:most]} [...]"
    about = f" on {row['task_id']}" if row["task_id"] else ""
    about += "" if row["to_agent"] == reader else f" for {row['to_agent']}"
    if row["kind"] in ABOUT_FILES:  # our own words
        return f"{row['message_id']}, {row['kind']}{about}: {text}"
    sender = "a person" if row["from_agent"] == PERSON else f"agent {row['from_agent']}"
    reply = f", the answer to {row['answers']}" if row["answers"] else ""
    known = row["message_id"]
    answer = f" It waits for your answer: message_send with answers={known}." if row["needs_answer"] else ""
    # As a quotation nothing in it can pass for another message, or for words of ours.
    return f"{known}, {row['kind']} from {sender}{about}{reply}: {json.dumps(text, ensure_ascii=False)}{answer}"
