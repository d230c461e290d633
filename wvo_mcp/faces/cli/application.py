"""What the command line needs of the composition root, which stands above the faces and is therefore handed in."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    # Commands that open no store start without these.
    from wvo_mcp.domain.lease import Caller
    from wvo_mcp.operations.operation import Container
    from wvo_mcp.ports.backend import Backend
    from wvo_mcp.settings import Settings


class Application(Protocol):
    def opened(self, settings: "Settings") -> "AbstractAsyncContextManager[Container]":
        """The services over an open store, without background loops."""
        ...

    def backend_of(self, settings: "Settings") -> "Backend":
        """The database; nothing of it is opened, and it may be in any state. Raises WrongSetting."""
        ...

    def backend_at(self, url: str | None, state_dir: "Path") -> "Backend":
        """The same where the settings cannot be used."""
        ...

    async def sync(self, settings: "Settings") -> "dict[str, int] | None":
        """Merge the roadmap into the store; {created, updated}, or None without a roadmap."""
        ...

    async def count_transcript(self, settings: "Settings", agent_id: str, transcript: "Path") -> int:
        """Count what a session of Claude Code used into the budgets, each message once; tokens counted now. Makes no
        store."""
        ...

    async def serve_http(self, settings: "Settings", host: str, port: int, on_address: Callable[[str], None]) -> int:
        """The whole life of the HTTP server; `on_address` gets its address. The exit code."""
        ...

    def cli_caller(self, settings: "Settings") -> "Caller":
        """Who a command works as: the durable session `cli:AGENT`."""
        ...


Compose = Callable[[], Application]
"""Gives the application; called only by commands that need it, so that the others start without its imports."""
