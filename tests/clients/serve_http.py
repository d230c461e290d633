"""Serves the product's MCP face over HTTP on loopback, for the conformance programs, which speak nothing else.

The workspace comes from the environment, as for `wvo-mcp`. The port, an ephemeral one, is the first line of stdout.
"""

import socket
import sys

import anyio
import uvicorn

from wvo_mcp.app import cli_caller, opened
from wvo_mcp.faces.mcp.face import Face
from wvo_mcp.faces.mcp.sdk import build_server
from wvo_mcp.operations import tools
from wvo_mcp.settings import load


async def serve() -> None:
    """Serves until it is stopped."""
    settings = load()
    caller = cli_caller(settings)
    toolsets = settings.enabled(frozenset(operation.toolset for operation in tools()))
    async with opened(settings) as services:
        face = build_server(Face(services, lambda _: caller, toolsets, lambda: None))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            sys.stdout.write(f"{listener.getsockname()[1]}\n")
            sys.stdout.flush()
            config = uvicorn.Config(face.streamable_http_app(), log_level="warning")
            await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    anyio.run(serve)
