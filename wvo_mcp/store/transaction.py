"""One transaction and its repositories."""

from datetime import datetime

from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import WIP_LIMIT, Caller
from wvo_mcp.ports import Liveness
from wvo_mcp.store.records.alerts import Alerts
from wvo_mcp.store.records.events import Events
from wvo_mcp.store.records.graph import Graph
from wvo_mcp.store.records.health import Health
from wvo_mcp.store.records.memory import Memory
from wvo_mcp.store.records.news import News
from wvo_mcp.store.records.outlook import Outlook
from wvo_mcp.store.records.prefetch import Prefetch
from wvo_mcp.store.records.queue import Queue
from wvo_mcp.store.records.replays import Replays
from wvo_mcp.store.records.routing import Routing
from wvo_mcp.store.records.sessions import Sessions
from wvo_mcp.store.records.state import State
from wvo_mcp.store.records.tasks import Tasks
from wvo_mcp.store.records.traces import Traces
from wvo_mcp.store.sql import Rows


class StoreTransaction:
    """`ports.Transaction` over an open transaction of one connection, in either dialect."""

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
        at = iso(now)
        self.now = now
        self.caller = caller
        self.liveness = liveness
        self.events = Events(rows, at, caller, last_seq)
        self.alerts = Alerts(rows, at, caller, self.events)
        self.news = News(rows, at)
        self.tasks = Tasks(rows, now, self.events)
        self.queue = Queue(rows, now)
        self.graph = Graph(rows, now, agents)
        self.memory = Memory(rows, at, caller)
        self.sessions = Sessions(rows, at, caller)
        self.replays = Replays(rows, at, caller)
        self.state = State(rows, now, caller, self.tasks)
        self.outlook = Outlook(rows)
        self.health = Health(rows, now, liveness)
        self.prefetch = Prefetch(rows, at)
        self.traces = Traces(rows, at)
        self.routing = Routing(rows, now, caller)
