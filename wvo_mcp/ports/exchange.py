"""Files that people exchange with other programs."""

from collections.abc import AsyncIterator
from typing import Protocol


class Exchange(Protocol):
    """Files of the workspace. Paths are relative to its root, or absolute within it. Raise InvalidInput that names `path` for
    what lies elsewhere or cannot be used, NotFound for what is not there."""

    async def read(self, path: str) -> bytes:
        """At most 20,000,000 bytes."""
        ...

    async def write(self, path: str, lines: AsyncIterator[str]) -> int:
        """Put the lines into a `.jsonl` file, whole or not at all; how many bytes."""
        ...
