"""Shapes of JSON, as data: what the contract says of a result, compared with one."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Shape = Any
"""A type; a tuple of alternatives; {name: shape} (more names are free); [shape of every item]; `Left`; or a predicate."""

NONE = type(None)


@dataclass(frozen=True)
class Left:
    """A field that is left out when it is null or empty."""

    shape: Shape


@dataclass(frozen=True)
class Matching:
    """A text that matches a pattern as a whole."""

    pattern: str

    def __call__(self, value: Any) -> bool:
        return isinstance(value, str) and re.fullmatch(self.pattern, value) is not None


INSTANT = Matching(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
ID = Matching(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
STATUS = Matching("pending|in_progress|in_review|awaiting_approval|blocked|done|failed|cancelled")
PRIORITY = Matching("critical|high|medium|low")
TYPE = Matching("generation|parsing|validation|review|other")
ORIGIN = Matching("roadmap|agent|human")


def misfits(value: Any, shape: Shape, path: str = "result") -> Iterator[str]:
    """Where a value differs from its shape."""
    if isinstance(shape, tuple):
        if not any(not list(misfits(value, alternative, path)) for alternative in shape):
            yield f"{path} is {value!r}"
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            yield f"{path} is {value!r}, expected an object"
            return
        for name, part in shape.items():
            if isinstance(part, Left):
                if name in value:
                    yield from _filled(value[name], part.shape, f"{path}.{name}")
            elif name not in value:
                yield f"{path}.{name} is missing"
            else:
                yield from misfits(value[name], part, f"{path}.{name}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{path} is {value!r}, expected a list"
            return
        for place, item in enumerate(value):
            yield from misfits(item, shape[0], f"{path}[{place}]")
    elif not _fits(value, shape):
        yield f"{path} is {value!r}"


def _filled(value: Any, shape: Shape, path: str) -> Iterator[str]:
    if value is None or value in ("", [], {}):
        yield f"{path} is {value!r}, and should be left out"
    yield from misfits(value, shape, path)


def _fits(value: Any, shape: type | Callable[[Any], bool]) -> bool:
    if shape is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if shape is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(shape, type):
        return isinstance(value, shape)
    return shape(value)


LEASE = {"token": int, "expires_at": INSTANT}
LINE = {
    "id": ID,
    "title": str,
    "status": STATUS,
    "priority": PRIORITY,
    "score": float,
    "epic_id": Left(ID),
    "assigned_to": Left(str),
    "milestone_id": Left(ID),
    "labels": Left([str]),
    "complexity": int,
}
WORK = {
    **LINE,
    "parent_id": Left(ID),
    "description": Left(str),
    "type": TYPE,
    "business_value": Left(float),
    "files": Left([str]),
    "capabilities": Left([str]),
    "acceptance": Left([str]),
    "requires_approval": bool,
    "not_before": Left(INSTANT),
    "attempts": int,
    "expiries": int,
    "max_attempts": int,
    "origin": ORIGIN,
    "version": int,
    "created_at": INSTANT,
    "updated_at": INSTANT,
    "started_at": Left(INSTANT),
    "finished_at": Left(INSTANT),
}
TASK = {**WORK, "lease_token": int, "lease_expires_at": Left(INSTANT), "waiting_for": Left([str])}
CHECKPOINT = {
    "id": str,
    "seq": int,
    "parent_id": Left(str),
    "agent_id": Left(str),
    "summary": str,
    "next_steps": Left(str),
    "progress": Left(int),
    "files": Left([str]),
    "created_at": INSTANT,
}
ENTRY = {"topic": str, "version": int, "content": str, "tags": [str], "at": INSTANT, "rank": (float, NONE)}
EVENT = {"seq": int, "at": INSTANT, "kind": str, "agent_id": Left(str), "data": Left(dict)}
RELATED = {"id": ID, "status": STATUS}

RESULTS: dict[str, Shape] = {
    "plan_next": {
        "tasks": [
            {
                "id": ID,
                "title": str,
                "score": float,
                "why": {
                    "business_value": float,
                    "time_criticality": float,
                    "unlock_value": float,
                    "complexity": int,
                    "unlock_size": float,
                    "path_value": float,
                },
                "priority": PRIORITY,
                "epic_id": (ID, NONE),
            }
        ],
        "ready": int,
        "in_progress": int,
        "wip_limit": int,
        "paused": bool,
        "not_ready": [{"id": ID, "reason": str, "waiting_for": [str]}],
    },
    "claim_task": {
        "task": WORK,
        "lease": LEASE,
        "resume": (CHECKPOINT, NONE),
        "context": [ENTRY],
        "route": (dict, NONE),
    },
    "heartbeat": {"lease": LEASE},
    "checkpoint": {"checkpoint": {"id": str, "seq": int}, "lease": LEASE},
    "complete_task": {"task": LINE, "unlocked": [ID], "submission": NONE},
    "fail_task": {"task": LINE, "attempts": int, "retry_at": (INSTANT, NONE)},
    "release_task": {"task": LINE},
    "block_task": {"task": LINE},
    "create_tasks": {"created": [ID]},
    "update_task": {"task": LINE},
    "get_task": {
        "task": TASK,
        "dependencies": [RELATED],
        "dependents": [RELATED],
        "checkpoints": [CHECKPOINT],
        "events": [EVENT],
        "context": [ENTRY],
    },
    "list_tasks": {"tasks": [LINE], "next_cursor": (str, NONE), "total": int, "total_is_capped": bool},
    "context_write": {"topic": str, "version": int},
    "context_read": {"entries": [ENTRY]},
}
"""The core tools of the contract (section 6)."""
