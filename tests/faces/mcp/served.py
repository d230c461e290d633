"""A server over a store that answers as the test says."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
from mcp.server import Server

from tests.front.peer import Peer
from tests.support.services import Services
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.faces.mcp.face import Face
from wvo_mcp.faces.mcp.sdk import build_server
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


def a_face(
    root: Path,
    answer: Answer = nothing,
    *,
    toolsets: frozenset[str] | None = None,
    heard: Callable[[], None] = lambda: None,
) -> Face:
    store = cast("WatchedStore", ScriptedStore(answer))
    services = Services(store, Policy(), cast("RoadmapFiles", None), DirectiveFiles(root))

    def identify(client: str | None) -> Caller:
        return Caller(agent_id=f"{client}-agent", session_id="S1", client=client)

    return Face(services, identify, toolsets, heard)


def a_server(root: Path, answer: Answer = nothing, **more: Any) -> Server[Any]:
    return build_server(a_face(root, answer, **more))


@asynccontextmanager
async def served(peer: Peer, face: Face) -> AsyncGenerator[None]:
    """Let the face serve the peer's wire, until the block ends."""
    async with anyio.create_task_group() as group:
        group.start_soon(face.serve, peer.wire)
        yield
        peer.stops_talking()
