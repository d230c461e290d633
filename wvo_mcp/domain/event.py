"""The audit trail: append-only events, hash-chained per task so that an edit is detected."""

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

from wvo_mcp.domain.instant import Instant

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode

GENESIS = ""
"""`prev_hash` of the first event of a chain."""


class Event(BaseModel):
    """What happened: `data` holds before and after; events without a task form one chain of their own."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    seq: int
    at: Instant
    kind: str
    task_id: str | None = None
    agent_id: str | None = None
    session_id: str | None = None
    data: dict[str, Any] = {}


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return _encode(value)


def chain_hash(
    prev_hash: str,
    seq: int,
    at: str,
    kind: str,
    task_id: str | None,
    agent_id: str | None,
    session_id: str | None,
    data: str,
) -> str:
    """SHA-256 (hex) over the previous hash and every column of the event, as canonical JSON."""
    # Of texts, whole numbers and null this makes the same JSON as `canonical`, in a quarter of the time.
    return hashlib.sha256(to_json([prev_hash, seq, at, kind, task_id, agent_id, session_id, data])).hexdigest()
