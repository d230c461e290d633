"""The MCP face: a server over the registry, and the way to serve it on the front's wire."""

from wvo_mcp.faces.mcp.server import build_server
from wvo_mcp.faces.mcp.wire import Wire, serve_wire

__all__ = ["Wire", "build_server", "serve_wire"]
