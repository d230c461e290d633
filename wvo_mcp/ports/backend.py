"""One database and everything that is done with it, chosen once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import WvoError
from wvo_mcp.ports.store import WatchedStore
from wvo_mcp.ports.world import Liveness

if TYPE_CHECKING:  # a first call needs nothing of these
    from wvo_mcp.domain.finding import Finding
    from wvo_mcp.ports.backups import Backups, Restored
    from wvo_mcp.ports.health import Probe


class OwnedStore(WatchedStore, Protocol):
    """A store as its owner, who opens and closes it, sees it. `before_making` is called right before a database is made
    that was not there when the store was opened."""

    before_making: Callable[[], object]

    @property
    def is_blank(self) -> bool:
        """There was no database yet when it was last asked for; an empty store is read."""
        ...

    async def open(self, *, make: bool = True) -> None:
        """Connect, and make or migrate the database; with `make` False, one that is not there is made by the first write.
        Raises IncompatibleStore, StoreUnavailable, StoreBusy."""
        ...

    def hurry(self) -> None:
        """The process is about to end: wait for other processes no longer than a moment."""
        ...

    async def close(self) -> None: ...


class Sessions(Liveness, Protocol):
    """The locks of the sessions of one machine."""

    def living(self) -> list[str]:
        """Sessions whose servers live, sorted."""
        ...

    def lock(self, session_id: str) -> AbstractContextManager[object]:
        """While it is held, the session counts as alive."""
        ...


class Backend(Protocol):
    """What differs between the databases. Nothing is opened before it is needed, so that a damaged or missing one can be
    examined and restored."""

    @property
    def system(self) -> str:
        """As the conventions of telemetry name it: sqlite, postgresql."""
        ...

    @property
    def is_shared(self) -> bool:
        """Servers of several machines may use it."""
        ...

    @property
    def store(self) -> OwnedStore: ...
    @property
    def backups(self) -> Backups: ...
    @property
    def probe(self) -> Probe: ...
    def exists(self) -> bool:
        """False for a file that is not there yet."""
        ...

    def attend(self, session_id: str) -> AbstractContextManager[object]:
        """While it lasts, the session counts as alive."""
        ...

    def living(self) -> list[str]:
        """Sessions whose servers are connected; the store may be in any state. Blocks. Raises its typed errors."""
        ...

    async def restore(self, name: str | None, caller: Caller) -> Restored:
        """Put the backup of that name, or the newest that passes the check, in the place of the store, which is not open
        here. Raises NotFound, IncompatibleStore (the named one is damaged, or the store is of a newer program), StoreBusy,
        StoreUnavailable."""
        ...

    def damage(self) -> WvoError | None:
        """What is wrong with the database, all of it read; None when it is sound. Raises InvalidInput where that is the
        database's own business."""
        ...

    def doctor_checks(self, now: datetime) -> list[Finding]:
        """Every check that the database allows, in order, and what could be restored; read-only, bounded in time."""
        ...

    def known_ids(self, wanted: Iterable[str]) -> set[str]:
        """Those of the ids that the store has; all of them when that is unknown."""
        ...
