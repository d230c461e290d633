"""The audit trail: append-only events, hash-chained per task so that an edit is detected."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from wvo_mcp.domain.instant import Instant

_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode

GENESIS = ""
"""`prev_hash` of the first event of a chain."""

HEARTBEAT = "task.heartbeat"
PRUNED = "chain.pruned"
"""Replaces the events that were removed from a chain."""


class Event(BaseModel, frozen=True, defer_build=True):
    """What happened: `data` holds before and after; events without a task form one chain of their own."""

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


def chain_hash(prev_hash: str, *columns: str | int | None) -> str:
    """SHA-256 (hex) over the previous hash and every column of the event, as canonical JSON: seq, at, kind, task_id,
    agent_id, session_id, data."""
    # Of texts, whole numbers and null this makes the same JSON as `canonical`, in a quarter of the time.
    return hashlib.sha256(to_json([prev_hash, *columns])).hexdigest()


def joined(prev_hash: str, gaps: Mapping[str, str]) -> str:
    """The hash that precedes a hash once what was pruned between them is left out."""
    while prev_hash in gaps:
        prev_hash = gaps[prev_hash]
    return prev_hash


def pruned(removed: Sequence[tuple[int, str, str]], gaps: Mapping[str, str]) -> dict[str, Any]:
    """The data of `chain.pruned` for events removed from one chain: {count, first, last, digest, gaps}.

    `removed` are (seq, prev_hash, hash) in order; `gaps` are those that were known before. Each new gap is (hash before its
    first event, hash of its last); `digest` is the SHA-256 of all removed hashes, one after the other.
    """
    stretches: list[tuple[str, str]] = []
    for _, before, last in removed:
        start = joined(before, gaps)
        if stretches and stretches[-1][1] in (before, start):
            stretches[-1] = (stretches[-1][0], last)
        else:
            stretches.append((start, last))
    digest = hashlib.sha256("".join(one for _, _, one in removed).encode()).hexdigest()
    ends = {"first": removed[0][0], "last": removed[-1][0]}
    return {"count": len(removed), **ends, "digest": digest, "gaps": stretches}
