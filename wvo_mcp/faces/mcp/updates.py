"""Who subscribed to a resource over HTTP is told when it changes: a task at each of its events, a topic when it is written
to, the state of work at any event."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from urllib.parse import quote

import anyio
import mcp_types as types
from anyio.abc import TaskGroup
from mcp import MCPError
from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated, ServerEvent

from wvo_mcp.domain.event import Event
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import WvoError
from wvo_mcp.faces.mcp.resources import STATUS
from wvo_mcp.orchestration.restored import gone_back
from wvo_mcp.ports import Store, Transaction, WatchedStore

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0
_BREATH_SECONDS = 0.25
_PAGE = 500
MOST = 1_000


class Updates(InMemorySubscriptionBus):
    """Reads the events as long as somebody wants to hear of them."""

    def __init__(self, store: WatchedStore, caller: Caller) -> None:
        super().__init__()
        self._store = store
        self._caller = caller
        self._wanted = 0
        self._changed = anyio.Event()
        self.following = anyio.Event()
        """What changes from now on is told."""

    @contextmanager
    def wanted(self) -> Generator[None]:
        self._wanted += 1
        self._changed.set()
        try:
            yield
        finally:
            self._wanted -= 1

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            try:
                await self._follow(self._store)
            except WvoError as error:  # what happens meanwhile is not told
                logger.warning("changes of resources cannot be read: %s", error.message)
                await anyio.sleep(_LOOK_SECONDS)
                self._changed.set()

    async def _follow(self, store: Store) -> None:
        seen = await store.read(self._caller, lambda tx: tx.events.last_seq())
        self.following.set()
        while self._wanted:
            await self._store.wait_for_change(_LOOK_SECONDS)
            events, seen = await store.read(self._caller, partial(after, seen=seen))
            for uri in {uri: None for event in events for uri in _uris(event)}:
                await self.publish(ResourceUpdated(uri=uri))
            await anyio.sleep(_BREATH_SECONDS)


async def after(tx: Transaction, seen: int) -> tuple[list[Event], int]:
    """What follows, and up to where that is; also of a store that was restored meanwhile."""
    events = await tx.events.after(seen, _PAGE, None, None)
    back = None if events else await gone_back(tx, seen)
    if back is not None:
        seen, events = back, await tx.events.after(back, _PAGE, None, None)
    return events, events[-1].seq if events else seen


def _uris(event: Event) -> list[str]:
    found = [STATUS]
    if event.task_id is not None:
        found.append(f"wvo://task/{event.task_id}")
    if event.kind == "context.written":
        topic = str(event.data["topic"])
        found += {f"wvo://context/{topic}", f"wvo://context/{quote(topic, safe='')}"}
    return found


class Followed:
    """The resources that one session of the older protocols subscribed to. A client that is slow to read is told later, and
    of several changes of a resource once."""

    def __init__(self, updates: Updates, tasks: TaskGroup) -> None:
        self._updates = updates
        self._tasks = tasks
        self._uris: set[str] = set()
        self._changed: dict[str, None] = {}
        self._more = anyio.Event()
        self._scope = anyio.CancelScope()

    def add(self, uri: str, client: ServerSession) -> None:
        """Raises MCPError for one too many."""
        if len(self._uris) >= MOST:
            raise MCPError(types.INVALID_PARAMS, f"uri: a session subscribes to at most {MOST} resources.")
        if not self._uris:
            self._scope = anyio.CancelScope()
            self._tasks.start_soon(self._tell, client, self._scope)
        self._uris.add(uri)

    def remove(self, uri: str) -> None:
        self._uris.discard(uri)
        if not self._uris:
            self._scope.cancel()

    def end(self) -> None:
        self._uris.clear()
        self._scope.cancel()

    def _hear(self, event: ServerEvent) -> None:
        if isinstance(event, ResourceUpdated) and event.uri in self._uris:
            self._changed[event.uri] = None
            self._more.set()

    async def _tell(self, client: ServerSession, scope: anyio.CancelScope) -> None:
        stop = self._updates.subscribe(self._hear)
        try:
            with scope, self._updates.wanted():
                while True:
                    await self._more.wait()
                    self._more = anyio.Event()
                    while self._changed:
                        await client.send_resource_updated(self._changed.popitem()[0])
        finally:
            stop()
