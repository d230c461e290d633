"""Composition root: settings -> store -> adapters -> operations. The only place where they meet."""

from wvo_mcp.app.building import backend_at, backend_of, build_providers, telling
from wvo_mcp.app.commands import count_transcript, opened, sync
from wvo_mcp.app.serving import http_caller, serve, serve_http
from wvo_mcp.execution.identity import cli_caller

__all__ = [
    "backend_at",
    "backend_of",
    "build_providers",
    "cli_caller",
    "count_transcript",
    "http_caller",
    "opened",
    "serve",
    "serve_http",
    "sync",
    "telling",
]
