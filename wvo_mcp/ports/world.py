"""What the core needs of the machine, of files, and of ways to people; and what the parts of a process owe to their runner."""

# pyright: reportReturnType=false

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # a first call needs nothing of these
    from anyio.abc import TaskGroup

    from wvo_mcp.domain.health import Condition
    from wvo_mcp.domain.news import Message
    from wvo_mcp.domain.roadmap import Roadmap, RoadmapChanges


class Clock(Protocol):
    """Two readings of time, injected everywhere. `now` may jump; `steady` never runs backwards within one `boot`."""

    def now(self) -> datetime:
        """The wall clock: aware, UTC, whole milliseconds."""

    def steady(self) -> float:
        """Seconds that the machine was awake since it started: to leases, sleep is a wall clock that was set forward."""

    def boot(self) -> str:
        """Names the machine's present run: steady readings of different boots cannot be compared."""


class Liveness(Protocol):
    """Knows whether the server of a session lives. A lock dies with its process, however that ends."""

    def alive(self, session_id: str) -> bool:
        """False only when no process holds the session's lock. Never blocks."""


class RoadmapFiles(Protocol):
    """The roadmap as a file that people write."""

    @property
    def location(self) -> str | None:
        """Which of several files of one store this is, by host and path; None where a store has one file only."""

    def fingerprint(self) -> str | None:
        """Changes whenever the file may have changed; None while there is no file. Cheap: no reading."""

    async def digest(self) -> str | None:
        """SHA-256 of the file, as `Roadmap.digest` has it; None when it cannot be read."""

    async def read(self, known: Callable[[Iterable[str]], Awaitable[set[str]]]) -> Roadmap:
        """Parse and check the file; `known` gives the ids that exist in the store. Raises InvalidInput with line numbers,
        NotFound when there is no file."""

    async def write(self, changes: RoadmapChanges, expected_digest: str) -> str:
        """Apply the changes, keeping comments and order; the new digest. Raises Conflict when the file is another by now."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """`commit` names what was kept; `note` says why nothing was. Both None: there was nothing to do."""

    commit: str | None = None
    note: str | None = None


class RoadmapHistory(Protocol):
    """Keeps what exports changed in the roadmap, beside whatever people do in the same repository."""

    async def record(self, changes: RoadmapChanges, message: str) -> Recorded:
        """Keep the changes, which are in the file by now. Never raises for what is in the way: `note` says it.

        Must not be awaited within a transaction.
        """


class NoHistory:
    """A `RoadmapHistory` for those who keep the file's history themselves."""

    async def record(self, changes: RoadmapChanges, message: str) -> Recorded:
        return Recorded()


class Directives(Protocol):
    """Standing advice for agents, one markdown text per name."""

    def names(self) -> list[str]:
        """Sorted."""

    def own(self) -> list[str]:
        """Those of the names that not every workspace has."""

    def read(self, name: str) -> str:
        """At most 256 KiB. Raises NotFound with near matches, and InvalidInput for a text that cannot be shown."""


class Exchange(Protocol):
    """Files of the workspace. Paths are relative to its root, or absolute within it. Raise InvalidInput that names `path` for
    what lies elsewhere or cannot be used, NotFound for what is not there."""

    async def read(self, path: str) -> bytes:
        """At most 20,000,000 bytes."""

    async def write(self, path: str, lines: AsyncIterator[str]) -> int:
        """Put the lines into a `.jsonl` file, whole or not at all; how many bytes."""


class Probe(Protocol):
    """Looks at the database from outside."""

    async def look(self) -> Condition:
        """Bounded at any size of store. Raises nothing for what is wrong: `damage` says it."""


class Undelivered(Exception):
    """The channel did not take the message; the text says why and holds no secret."""


class AlertChannel(Protocol):
    """A way to people. Delivering is never done within a transaction and has a deadline of its own."""

    @property
    def name(self) -> str:
        """Under which its progress is kept."""

    async def deliver(self, message: Message) -> None:
        """Raises Undelivered. Cancelling ends it soon, with whatever it has started."""


class Reports(Protocol):
    """The report file, for programs that watch without calling a tool."""

    async def write(self, report: Mapping[str, Any]) -> None:
        """Put it in place whole. Raises StoreUnavailable."""


class Component(Protocol):
    """A long-lived part of a process. Each method is called at most once, in this order, and never two components at the
    same time; one that has nothing to do inherits what stands here."""

    name: str
    """For the log."""

    async def start(self, tasks: TaskGroup) -> None:
        """Begin; what goes on runs in `tasks`, which is cancelled after the last `stop`. What it raises ends the process:
        it has then undone what it began, and is neither drained nor stopped."""

    async def ready(self) -> None:
        """Return when it serves: those declared after it are started then."""

    async def drain(self, deadline: float) -> None:
        """Begin nothing new, and return when what runs has ended. Cancelled at the deadline (`anyio.current_time`)."""

    async def stop(self) -> None:
        """End, whether it was drained or not. Not cancelled from outside: bounded by itself."""
