"""One transaction and its repositories."""

from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import WIP_LIMIT, Caller
from wvo_mcp.ports import Liveness
from wvo_mcp.store.records.alerts import Alerts
from wvo_mcp.store.records.events import Events
from wvo_mcp.store.records.graph import Graph
from wvo_mcp.store.records.memory import Memory
from wvo_mcp.store.records.queue import Queue
from wvo_mcp.store.records.replays import Replays
from wvo_mcp.store.records.sessions import Sessions
from wvo_mcp.store.records.state import State
from wvo_mcp.store.records.tasks import Tasks
from wvo_mcp.store.sql import Rows

if TYPE_CHECKING:
    from wvo_mcp.store.records.health import Health
    from wvo_mcp.store.records.news import News
    from wvo_mcp.store.records.outlook import Outlook
    from wvo_mcp.store.records.prefetch import Prefetch
    from wvo_mcp.store.records.routing import Routing
    from wvo_mcp.store.records.traces import Traces


class StoreTransaction:
    """`ports.Transaction` over an open transaction of one connection, in either dialect. A repository is made when it is
    used; those that a first claim needs nothing of are imported then, too: start-up does not wait for them."""

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
        """`last_seq` is the number of the latest event; it is read when it is not given and needed. `agents`: how many may
        work at once."""
        self.now = now
        self.caller = caller
        self.liveness = liveness
        self._rows = rows
        self._at = iso(now)
        self._agents = agents
        self.events = Events(rows, self._at, caller, last_seq)
        self.tasks = Tasks(rows, now, self.events)

    @cached_property
    def alerts(self) -> Alerts:
        return Alerts(self._rows, self._at, self.caller, self.events)

    @cached_property
    def queue(self) -> Queue:
        return Queue(self._rows, self.now)

    @cached_property
    def graph(self) -> Graph:
        return Graph(self._rows, self.now, self._agents)

    @cached_property
    def memory(self) -> Memory:
        return Memory(self._rows, self._at, self.caller)

    @cached_property
    def sessions(self) -> Sessions:
        return Sessions(self._rows, self._at, self.caller)

    @cached_property
    def replays(self) -> Replays:
        return Replays(self._rows, self._at, self.caller)

    @cached_property
    def state(self) -> State:
        return State(self._rows, self.now, self.caller, self.tasks)

    @cached_property
    def news(self) -> "News":
        from wvo_mcp.store.records.news import News

        return News(self._rows, self._at)

    @cached_property
    def outlook(self) -> "Outlook":
        from wvo_mcp.store.records.outlook import Outlook

        return Outlook(self._rows)

    @cached_property
    def health(self) -> "Health":
        from wvo_mcp.store.records.health import Health

        return Health(self._rows, self.now, self.liveness)

    @cached_property
    def prefetch(self) -> "Prefetch":
        from wvo_mcp.store.records.prefetch import Prefetch

        return Prefetch(self._rows, self._at)

    @cached_property
    def traces(self) -> "Traces":
        from wvo_mcp.store.records.traces import Traces

        return Traces(self._rows, self._at)

    @cached_property
    def routing(self) -> "Routing":
        from wvo_mcp.store.records.routing import Routing

        return Routing(self._rows, self.now, self.caller)
