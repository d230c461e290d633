"""The roadmap that people write (contract, section 9), as frozen data.

Dataclasses and not pydantic models: the reader has checked every value with its line, and checking 10,000
tasks a second time would only cost time and lose the lines.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from enum import Enum
from typing import Any, cast

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.task import Priority, Status, TaskType

Entry = dict[str, Any]
"""What the file says of one thing, JSON-ready: field names of the contract's tools, times as `iso` writes them, only
the fields that the file states. Equal entries mean that the file says the same."""

TASK_KEYS = {
    key: {"milestone": "milestone_id", "parent": "parent_id"}.get(key, key)
    for key in (
        "id", "title", "description", "type", "priority", "complexity", "business_value", "depends_on", "milestone",
        "parent", "labels", "files", "capabilities", "acceptance", "requires_approval", "not_before", "max_attempts",
        "status",
    )
}  # fmt: skip
"""Key in the file -> field of the task, in the order in which a new task is written."""

ROADMAP_STATUSES = (Status.PENDING, Status.BLOCKED, Status.CANCELLED)
"""What people may ask for in the file: reopen, block, cancel. Progress belongs to the database."""


def end_of_day(day: date) -> datetime:
    """The last millisecond of the day, UTC: a due date means the end of its day (contract, section 4)."""
    return datetime.combine(day, time(23, 59, 59, 999_000), UTC)


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, tuple):
        return list(cast("tuple[str, ...]", value))
    return value.value if isinstance(value, Enum) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadmapTask:
    """One task of the file. `line` counts from 1; `given` names the fields that the file states, the others hold their
    defaults. Times are UTC."""

    id: str
    title: str
    epic_id: str
    description: str = ""
    milestone_id: str | None = None
    parent_id: str | None = None
    type: TaskType = TaskType.OTHER
    priority: Priority = Priority.MEDIUM
    complexity: int = 5
    business_value: float | None = None
    depends_on: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    acceptance: tuple[str, ...] = ()
    requires_approval: bool = False
    not_before: datetime | None = None
    max_attempts: int = 3
    status: Status | None = None
    given: frozenset[str] = frozenset()
    line: int = field(default=0, compare=False)

    def entry(self) -> Entry:
        """{id, title, epic_id} and every field in `given`; without the line."""
        stated: Entry = {"id": self.id, "title": self.title, "epic_id": self.epic_id}
        for name in self.given:
            stated[name] = _json(getattr(self, name))
        return stated


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadmapMilestone:
    """`due_at` is the end of the day that the file names, UTC; None when it names none."""

    id: str
    title: str
    epic_id: str
    due_at: datetime | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoadmapEpic:
    """`wip_limit`: tasks of the epic in progress at once, None without a limit."""

    id: str
    title: str
    wip_limit: int | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Roadmap:
    """The whole file in its own order. `digest` is the SHA-256, in hex, of its bytes; `warnings` name what is valid and
    probably not meant, with its line."""

    epics: tuple[RoadmapEpic, ...]
    milestones: tuple[RoadmapMilestone, ...]
    tasks: tuple[RoadmapTask, ...]
    digest: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoadmapChanges:
    """What an export writes into the file, in the vocabulary of `entry()`.

    tasks: id of something in the file -> the fields to set; None removes a field from the file. A task with `epic_id`
    moves to that epic. added: whole entries of new tasks (`id`, `title`, `epic_id` and any other field). An epic that the
    file lacks is made; epics: id -> its title, else the id.
    """

    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    epics: Mapping[str, str] = field(default_factory=dict[str, str])
    added: tuple[Mapping[str, Any], ...] = ()


def digest_of(entry: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of canonical JSON: sorted keys, no spaces, UTF-8."""
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
