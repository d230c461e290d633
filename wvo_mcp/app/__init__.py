"""Composition root: settings -> store -> adapters -> operations. The only place where they meet."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wvo_mcp.app.autopilot import run_autopilot as run_autopilot
    from wvo_mcp.app.building import backend_at as backend_at
    from wvo_mcp.app.building import backend_of as backend_of
    from wvo_mcp.app.building import build_providers as build_providers
    from wvo_mcp.app.building import telemetry_for as telemetry_for
    from wvo_mcp.app.commands import count_transcript as count_transcript
    from wvo_mcp.app.commands import opened as opened
    from wvo_mcp.app.commands import record_violation as record_violation
    from wvo_mcp.app.commands import sync as sync
    from wvo_mcp.app.runner import run_queue as run_queue
    from wvo_mcp.app.serving import serve as serve
    from wvo_mcp.app.web import http_caller as http_caller
    from wvo_mcp.app.web import serve_http as serve_http
    from wvo_mcp.app.web import serve_projects as serve_projects
    from wvo_mcp.execution.identity import cli_caller as cli_caller

_MODULES = {
    "wvo_mcp.app.autopilot": "run_autopilot",
    "wvo_mcp.app.building": "backend_at backend_of build_providers telemetry_for",
    "wvo_mcp.app.commands": "count_transcript opened record_violation sync",
    "wvo_mcp.app.runner": "run_queue",
    "wvo_mcp.app.serving": "serve",
    "wvo_mcp.app.web": "http_caller serve_http serve_projects",
    "wvo_mcp.execution.identity": "cli_caller",
}
"""A server needs nothing of the commands, and they nothing of it: each is imported when it is asked for."""


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names.split():
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
