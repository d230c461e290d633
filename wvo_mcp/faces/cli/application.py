"""What the command line needs of the composition root, which stands above the faces and is therefore handed in."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    # Commands that open no store start without these.
    from wvo_mcp.domain.lease import Caller
    from wvo_mcp.operations.operation import Services
    from wvo_mcp.settings import Settings


class Application(Protocol):
    def opened(self, settings: "Settings") -> "AbstractAsyncContextManager[Services]":
        """The services over an open store, without background loops."""
        ...

    def cli_caller(self, settings: "Settings") -> "Caller":
        """Who a command works as: the durable session `cli:AGENT`."""
        ...


Compose = Callable[[], Application]
"""Gives the application; called only by commands that need it, so that the others start without its imports."""
