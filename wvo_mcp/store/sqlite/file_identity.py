"""Which file a connection has open, and whether it is still the one that others find at its path."""

from pathlib import Path

from wvo_mcp.errors import StoreUnavailable


class FileReplaced(StoreUnavailable):
    """The file that is open is no longer the one at its path; nothing was written."""


class DbFileIdentity:
    """Which file a connection has open. Writes to one that was deleted or replaced would be lost."""

    def __init__(self, database: Path) -> None:
        self._path = database
        self._known = self._look()

    def _look(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def check(self) -> None:
        """Raises FileReplaced. For within a transaction: who replaces the file holds the write lock."""
        present = self._look()
        if present == self._known:
            return
        if present is None:
            raise FileReplaced(
                f"The database {self._path} was deleted or moved away under this server.",
                hint="Nothing of this call was stored. Put the file back, or stop all servers and run wvo-mcp doctor"
                " --repair: it restores the newest backup.",
            )
        raise FileReplaced(
            f"The database {self._path} was replaced by another file.",
            hint="Nothing of this call was stored. Call again: the server opens the new file.",
        )
