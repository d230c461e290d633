"""What the command line needs of the composition root, which stands above the faces and is therefore handed in."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    # Commands that open no store start without these.
    from wvo_mcp.domain.lease import Caller
    from wvo_mcp.errors import WvoError
    from wvo_mcp.operations.operation import Services
    from wvo_mcp.ports.backups import Backups, Restored
    from wvo_mcp.settings import Settings


class Application(Protocol):
    def opened(self, settings: "Settings") -> "AbstractAsyncContextManager[Services]":
        """The services over an open store, without background loops."""
        ...

    async def living(self, settings: "Settings") -> "Sequence[str]":
        """Sessions whose servers are connected to the store, as far as that can be told."""
        ...

    def damage(self, settings: "Settings") -> "WvoError | None":
        """What is wrong with the database file, all of it read; None when it is sound."""
        ...

    def build_backups(self, settings: "Settings") -> "Backups":
        """The copies that there are; the store itself may be in any state."""
        ...

    async def restore(self, settings: "Settings", name: str | None) -> "Restored":
        """Put the backup of that name, or the newest good one, in the place of the store, which is not open here."""
        ...

    async def sync(self, settings: "Settings") -> "dict[str, int] | None":
        """Merge the roadmap into the store; {created, updated}, or None without a roadmap."""
        ...

    async def count_transcript(self, settings: "Settings", agent_id: str, transcript: "Path") -> int:
        """Count what a session of Claude Code used into the budgets, each message once; tokens counted now. Makes no
        store."""
        ...

    async def serve_http(self, settings: "Settings", host: str, port: int, told: Callable[[str], None]) -> int:
        """The whole life of the HTTP server; `told` gets its address. The exit code."""
        ...

    def cli_caller(self, settings: "Settings") -> "Caller":
        """Who a command works as: the durable session `cli:AGENT`."""
        ...


Compose = Callable[[], Application]
"""Gives the application; called only by commands that need it, so that the others start without its imports."""
