"""One transaction and its repositories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from wvo_mcp.domain.lease import WIP_LIMIT, Caller
from wvo_mcp.ports import Liveness
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
    from wvo_mcp.store.records.health import Health
    from wvo_mcp.store.records.outlook import Outlook, Prefetch
    from wvo_mcp.store.records.routing import Routing


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
        if name not in _REPOSITORIES:
            raise AttributeError(name)
        made = _REPOSITORIES[name](self)
        setattr(self, name, made)
        return made


def _late(module: str) -> Any:
    return import_module(f"wvo_mcp.store.records.{module}")


_REPOSITORIES: Mapping[str, Callable[[StoreTransaction], object]] = {
    "events": lambda tx: Events(tx.rows, tx.now, tx.caller, tx.last_seq),
    "alerts": lambda tx: Alerts(tx.rows, tx.now, tx.caller, tx.events),
    "news": lambda tx: News(tx.rows, tx.now, tx.caller),
    "tasks": lambda tx: Tasks(tx.rows, tx.now, tx.caller, tx.events),
    "queue": lambda tx: Queue(tx.rows, tx.now, tx.caller),
    "graph": lambda tx: Graph(tx.rows, tx.now, tx.agents),
    "memory": lambda tx: Memory(tx.rows, tx.now, tx.caller),
    "sessions": lambda tx: Sessions(tx.rows, tx.now, tx.caller),
    "replays": lambda tx: Replays(tx.rows, tx.now, tx.caller),
    "state": lambda tx: State(tx.rows, tx.now, tx.caller),
    "outlook": lambda tx: _late("outlook").Outlook(tx.rows, tx.now, tx.caller),
    "health": lambda tx: _late("health").Health(tx.rows, tx.now, tx.caller, tx.liveness),
    "prefetch": lambda tx: _late("outlook").Prefetch(tx.rows, tx.now, tx.caller),
    "traces": lambda tx: Traces(tx.rows, tx.now, tx.caller),
    "routing": lambda tx: _late("routing").Routing(tx.rows, tx.now, tx.caller),
}
