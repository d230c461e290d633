"""Messages that go with the result of a call."""

from wvo_mcp.domain.lease import Caller, Role
from wvo_mcp.domain.messages import PERSON
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration import messages
from wvo_mcp.ports import WatchedStore


def is_told(caller: Caller) -> bool:
    """Only agents have messages."""
    return caller.role is Role.AGENT and caller.refused is None and caller.agent_id.casefold() != PERSON


async def of_call(store: WatchedStore, caller: Caller) -> list[str]:
    """Of a call that had transactions of its own; it may have told why there is no store."""
    try:
        waits = is_told(caller) and await store.read(caller, messages.waiting)
    except WvoError:
        return []
    return await collected(store, caller) if waits else []


async def collected(store: WatchedStore, caller: Caller) -> list[str]:
    """In a transaction of its own."""
    try:
        return await store.write(caller, messages.collect)
    except WvoError:  # they wait for the next call
        return []
