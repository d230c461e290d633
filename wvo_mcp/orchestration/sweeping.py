"""Containers that a killed process of ours has left are removed, by every process of the same machine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:  # every process of ours begins with this, and few run anything in a container
    from wvo_mcp.ports.sandbox import Sandbox

logger = logging.getLogger(__name__)

FIRST_SECONDS = 3.0
"""A client's first calls come before it."""
EVERY_SECONDS = 30.0


async def sweep(sandbox: Callable[[], Sandbox | None]) -> None:
    """Until it is cancelled; where nothing was ever run there is no sandbox."""
    await anyio.sleep(FIRST_SECONDS)
    while True:
        try:
            if (there := sandbox()) is not None and (many := await there.reap()):
                logger.warning("removed %d containers that a process which is gone had left", many)
        except Exception:  # an edge: the next look may succeed
            logger.exception("containers that were left could not be removed")
        await anyio.sleep(EVERY_SECONDS)
