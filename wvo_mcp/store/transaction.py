"""One transaction: its time, and its repositories.

The store's time is never behind its latest event, and steady when the machine's clock jumps. Leases of several processes
are compared with each other, so all of them take their time from one place: the machine's steady clock plus an offset kept
in the store. A wall clock that jumps forward moves the offset and all leases with it, so that no lease is lost by it; one
that jumps back is not followed until it has caught up.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.lease import WIP_LIMIT, Caller
from wvo_mcp.errors import IncompatibleStore
from wvo_mcp.ports import Clock, Liveness
from wvo_mcp.store.records.alerts import Alerts, News
from wvo_mcp.store.records.events import Events
from wvo_mcp.store.records.graph import Graph
from wvo_mcp.store.records.memory import Memory
from wvo_mcp.store.records.queue import Queue
from wvo_mcp.store.records.replays import Replays, Traces
from wvo_mcp.store.records.sessions import Sessions
from wvo_mcp.store.records.state import State
from wvo_mcp.store.records.tasks import Tasks
from wvo_mcp.store.sql import Rows

if TYPE_CHECKING:  # a first call needs nothing of these
    from wvo_mcp.store.records.access import Access
    from wvo_mcp.store.records.health import Health
    from wvo_mcp.store.records.merging import Messages, Snapshots, Submissions, Verifications
    from wvo_mcp.store.records.outlook import Outlook, Prefetch
    from wvo_mcp.store.records.patterns import Patterns
    from wvo_mcp.store.records.planning import Orchestrations
    from wvo_mcp.store.records.reservations import Reservations
    from wvo_mcp.store.records.reviews import Reviews
    from wvo_mcp.store.records.routing import Routing
    from wvo_mcp.store.records.workers import Approvals, Violations, Workers, Workspaces

JUMP_MS = 2_000
"""A larger difference between wall and steady clock is a jump; a smaller one is drift."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


HEAD = """
SELECT schema, boot, clock_offset_ms, (SELECT max(seq) FROM events) AS seq,
  (SELECT at FROM events WHERE seq > 0 ORDER BY seq DESC LIMIT 1) AS latest
FROM store WHERE id = 1"""
"""What every transaction reads first."""


def checked(head: dict[str, Any] | None, schema: int) -> dict[str, Any]:
    """The head as it was read. Raises IncompatibleStore when a newer program has changed the schema meanwhile."""
    if head is None or head["schema"] > schema:
        found = None if head is None else head["schema"]
        raise IncompatibleStore(
            f"The database was moved to schema {found} by a newer program; this one knows {schema}.",
            hint="Restart this server with the newer wvo-mcp.",
        )
    return head


def store_time(rows: Rows, head: dict[str, Any], clock: Clock, *, write: bool) -> datetime:
    """The time of this transaction by this machine's clocks."""
    wall = _ms(clock.now())
    steady = int(clock.steady() * 1000)
    floor = 0 if head["latest"] is None else _ms(instant(head["latest"]))
    if head["boot"] != clock.boot():
        now = max(wall, floor)
        if write:
            rows.put("UPDATE store SET boot = ?, clock_offset_ms = ?", (clock.boot(), now - steady))
        return _at(now)
    now = steady + int(head["clock_offset_ms"])
    ahead = wall - now
    if ahead > JUMP_MS and write:
        rows.put("UPDATE store SET clock_offset_ms = clock_offset_ms + ?", (ahead,))
        _shift_leases(rows, ahead)
    return _at(max(wall, now, floor))


def database_time(head: dict[str, Any]) -> datetime:
    """The time of this transaction by the database's clock, `now_ms`: the same for servers on all hosts."""
    floor = 0 if head["latest"] is None else _ms(instant(head["latest"]))
    return _at(max(int(head["now_ms"]), floor))


class StoreTransaction:
    """`ports.Transaction` over an open transaction of one connection, in either dialect. A repository is made when it is
    used first."""

    events: Events
    alerts: Alerts
    news: News
    tasks: Tasks
    queue: Queue
    graph: Graph
    memory: Memory
    sessions: Sessions
    replays: Replays
    state: State
    outlook: Outlook
    health: Health
    prefetch: Prefetch
    traces: Traces
    routing: Routing
    workers: Workers
    workspaces: Workspaces
    submissions: Submissions
    verifications: Verifications
    snapshots: Snapshots
    messages: Messages
    reservations: Reservations
    approvals: Approvals
    violations: Violations
    reviews: Reviews
    orchestrations: Orchestrations
    access: Access
    patterns: Patterns

    def __init__(
        self,
        rows: Rows,
        now: datetime,
        caller: Caller,
        liveness: Liveness,
        last_seq: int | None = None,
        *,
        agents: int = WIP_LIMIT,
    ) -> None:
        """`last_seq` is the number of the latest event; it is read when it is not given and needed. So many `agents` may work
        at once."""
        self.rows = rows
        self.now = now
        self.caller = caller
        self.liveness = liveness
        self.last_seq = last_seq
        self.agents = agents

    def __getattr__(self, name: str) -> Any:
        """Called for what is not there yet."""
        if name not in StoreTransaction.__annotations__:
            raise AttributeError(name)
        if name == "graph":
            made = Graph(self.rows, self.now, self.agents)
        else:
            kind = _KINDS.get(name)
            if kind is None:
                kind = _KINDS[name] = getattr(import_module(_LATE[name]), name.capitalize())
            more = [getattr(self, _MORE[name])] if name in _MORE else []
            made = kind(self.rows, self.now, self.caller, *more)
        setattr(self, name, made)
        return made


_KINDS: dict[str, Any] = {
    kind.__name__.lower(): kind
    for kind in (Events, Alerts, News, Tasks, Queue, Memory, Sessions, Replays, Traces, State)
}
_LATE = {
    "outlook": "wvo_mcp.store.records.outlook",
    "prefetch": "wvo_mcp.store.records.outlook",
    "health": "wvo_mcp.store.records.health",
    "routing": "wvo_mcp.store.records.routing",
    "reservations": "wvo_mcp.store.records.reservations",
    "reviews": "wvo_mcp.store.records.reviews",
    "orchestrations": "wvo_mcp.store.records.planning",
    "access": "wvo_mcp.store.records.access",
    "patterns": "wvo_mcp.store.records.patterns",
    **dict.fromkeys(("workers", "workspaces", "approvals", "violations"), "wvo_mcp.store.records.workers"),
    **dict.fromkeys(("submissions", "verifications", "snapshots", "messages"), "wvo_mcp.store.records.merging"),
}
"""Where those are that a first call does not need."""
_MORE = {"events": "last_seq", "alerts": "events", "tasks": "events", "health": "liveness"}
"""What some take besides rows, time and caller."""


def _shift_leases(rows: Rows, ahead_ms: int) -> None:
    ahead = timedelta(milliseconds=ahead_ms)
    for table, key, until, which in (
        ("tasks", "id", "lease_expires_at", "status = 'in_progress' AND lease_expires_at > ''"),
        ("leaders", "role", "expires_at", "role > ''"),
    ):
        for row in rows.all(f"SELECT {key}, {until} FROM {table} WHERE {which}"):
            rows.put(f"UPDATE {table} SET {until} = ? WHERE {key} = ?", (iso(instant(row[until]) + ahead), row[key]))


def _ms(at: datetime) -> int:
    return round((at - _EPOCH).total_seconds() * 1000)


def _at(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)
