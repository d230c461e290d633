"""What a coding agent does while it works, in one model for all programs (WORK-2)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from wvo_mcp.domain.providers.signals.reading import Signal


class EventKind(StrEnum):
    STARTED = "started"
    """The session is there: `session` is what it is resumed by."""
    MESSAGE = "message"
    THOUGHT = "thought"
    TOOL_CALL = "tool_call"
    """A call began, or ended (`status`)."""
    PERMISSION_REQUEST = "permission_request"
    PLAN = "plan"
    USAGE = "usage"
    FINDING = "finding"
    MILESTONE = "milestone"
    BLOCKER = "blocker"
    LIMIT = "limit"
    CAPACITY = "capacity"
    AUTH = "auth"
    REFUSAL = "refusal"
    STOP = "stop"
    """The turn is over. `text` are its last words, `status` how it ended."""
    NOISE = "noise"
    """A line that is no event: broken, too long, or of a kind that is not known."""


class Status(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Use:
    """Tokens and US dollars of the session so far, or since the last such event (`sums` False)."""

    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    cost: float | None = None
    model: str | None = None
    sums: bool = True


@dataclass(frozen=True, slots=True)
class PermissionRequest:
    """What the agent wants to do. `command` for a shell, `paths` for files that are written; neither for another tool."""

    request_id: str
    tool: str
    call_id: str | None = None
    command: str | None = None
    cwd: str | None = None
    paths: tuple[str, ...] = ()
    input: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class AgentEvent:
    kind: EventKind
    text: str = ""
    session: str | None = None
    call_id: str | None = None
    tool: str | None = None
    status: Status | None = None
    use: Use | None = None
    request: PermissionRequest | None = None
    signal: Signal | None = None
    """Of a limit, a lack of capacity, a login, a refusal, and of a stop that failed."""
    exit_code: int | None = None
    """Of a stop because the program has ended by itself."""
    limit: str | None = None
    """Of a stop because the program was ended: by which limit (deadline, output)."""
