"""Composition root: settings -> store -> adapters -> operations. The only place where they meet."""

from wvo_mcp.app.building import build_backups, build_providers, telling
from wvo_mcp.app.commands import count_transcript, damage, living, opened, restore, sync
from wvo_mcp.app.serving import http_caller, serve, serve_http
from wvo_mcp.execution.identity import cli_caller

__all__ = [
    "build_backups",
    "build_providers",
    "cli_caller",
    "count_transcript",
    "damage",
    "http_caller",
    "living",
    "opened",
    "restore",
    "serve",
    "serve_http",
    "sync",
    "telling",
]
