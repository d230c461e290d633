"""Messages that go with the result of a call."""

from wvo_mcp.domain.lease import Caller, Role
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration import messages
from wvo_mcp.ports import WatchedStore


def is_told(caller: Caller) -> bool:
    """Only agents have messages."""
    return caller.role is Role.AGENT and caller.refused is None


async def collected(store: WatchedStore, caller: Caller) -> list[str]:
    """In a transaction of its own, for calls that had none, or only read."""
    try:
        return await store.write(caller, messages.collect)
    except WvoError:  # they wait for the next call
        return []
