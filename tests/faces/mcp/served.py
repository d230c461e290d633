"""A server over a store that answers as the test says."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
from mcp.server import Server

from tests.front.peer import Peer
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.faces.mcp import build_server, serve_wire
from wvo_mcp.operations import Services
from wvo_mcp.ports import RoadmapFiles, WatchedStore

Answer = Callable[[Caller], Awaitable[Any]]


class ScriptedStore:
    """Answers every read and write with what `answer` gives for the caller, or raises what it raises."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def read(self, caller: Caller, work: object) -> Any:
        return await self._answer(caller)

    async def write(self, caller: Caller, work: object, *, keep: bool = True) -> Any:
        return await self._answer(caller)


async def nothing(caller: Caller) -> Any:
    return {}


def a_server(
    root: Path,
    answer: Answer = nothing,
    *,
    toolsets: frozenset[str] | None = None,
    heard: Callable[[], None] = lambda: None,
) -> Server[Any]:
    store = cast("WatchedStore", ScriptedStore(answer))
    services = Services(store, Policy(), cast("RoadmapFiles", None), DirectiveFiles(root))

    def identify(client: str | None) -> Caller:
        return Caller(agent_id=f"{client}-agent", session_id="S1", client=client)

    return build_server(services, identify, toolsets, heard)


@asynccontextmanager
async def served(peer: Peer, server: Server[Any]) -> AsyncGenerator[None]:
    """Hand the peer's wire over to the server, until the block ends."""
    async with anyio.create_task_group() as group:
        group.start_soon(serve_wire, server, peer.wire)
        yield
        peer.stops_talking()
