"""What the health loop needs of the store and of the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a first call needs nothing of these
    from wvo_mcp.domain.health import Condition, Held, Hour, Provider


Row = dict[str, Any]


class HealthRepository(Protocol):
    """Measurements and what they are made of, within one transaction. Nothing here takes longer in a larger store."""

    async def roll_up(self, limit: int) -> bool:
        """Count completions that were not counted yet, at most `limit`, by minute and hour; True when none is left."""
        ...

    async def rolled_up(self) -> bool:
        """Were all completions counted, but for those of the last moments?"""
        ...

    async def completed(self, since: datetime) -> int:
        """Tasks completed after `since`, exactly, as soon as those before the last minutes were rolled up."""
        ...

    async def per_minute(self, since: datetime) -> list[Row]:
        """{minute (`2026-11-20T10:00`), completed} by time; minutes with none are left out."""
        ...

    async def hours(self, since: datetime) -> list[Hour]:
        """By time; hours in which nothing was completed nor looked at are left out."""
        ...

    async def note_hour(self, *, working: bool) -> None:
        """A cycle looked, and saw work or none."""
        ...

    async def add_sample(self, entry: Mapping[str, Any]) -> None:
        """Keep one entry of the metrics' history; only the last 100 stay."""
        ...

    async def samples(self, limit: int) -> list[Row]:
        """The last `limit` entries, oldest first."""
        ...

    async def held(self, limit: int) -> list[Held]:
        """Tasks in progress, those first whose leases end first."""
        ...

    async def held_one(self, task_id: str) -> Held | None:
        """None when it is not in progress."""
        ...

    async def claimable(self) -> int:
        """How many tasks are ready: what the view `ready_tasks` holds, from kept counters."""
        ...

    async def agents(self) -> dict[str, int]:
        """How many agents there are by status."""
        ...

    async def vacant(self, limit: int) -> list[str]:
        """Agents that are shown with a task, or busy, and hold none."""
        ...

    async def departed(self, seen_before: datetime, limit: int) -> list[str]:
        """Idle agents that were seen last before then and have no session of their own that lives."""
        ...

    async def put_offline(self, agent_id: str) -> bool:
        """Was it still idle, or busy with nothing?"""
        ...

    async def edges(self) -> tuple[int, int]:
        """How many dependencies there are, and how often any changed, ever."""
        ...

    async def edges_behind(self, last: tuple[str, str], limit: int) -> list[tuple[str, str, int, int]]:
        """(task, what it waits for, seq of either) in the order of the ids, behind `last`."""
        ...

    async def ids(self, seqs: Sequence[int]) -> dict[int, str]: ...

    async def written_links(self, after: str, limit: int) -> tuple[str | None, int, int]:
        """The roadmap's entries behind the task `after`: (last task looked at or None at the end, dependencies that they
        write, those of them that the table has)."""
        ...

    async def stranded(self, limit: int) -> list[tuple[str, str]]:
        """(open task, cancelled or failed one that it waits for), of the latest such."""
        ...

    async def providers(self) -> list[Provider]: ...


class Probe(Protocol):
    """Looks at the database from outside."""

    async def look(self) -> Condition:
        """Bounded at any size of store. Raises nothing for what is wrong: `damage` says it."""
        ...


class Reports(Protocol):
    """The report file, for programs that watch without calling a tool."""

    async def write(self, report: Mapping[str, Any]) -> None:
        """Put it in place whole. Raises StoreUnavailable."""
        ...
