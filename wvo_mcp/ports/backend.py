"""One database and everything that is done with it, chosen once; copies of it and of what is going on, kept in files."""

# pyright: reportReturnType=false

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import IncompatibleStore, WvoError
from wvo_mcp.ports.store import WatchedStore
from wvo_mcp.ports.world import Liveness, Probe

if TYPE_CHECKING:  # a first call needs nothing of these
    from wvo_mcp.domain.backup import Backup
    from wvo_mcp.domain.finding import Finding


class OwnedStore(WatchedStore, Protocol):
    """A store as its owner, who opens and closes it, sees it. `before_making` is called right before a database is made
    that was not there when the store was opened."""

    before_making: Callable[[], object]

    @property
    def is_blank(self) -> bool:
        """There was no database yet when it was last asked for; an empty store is read."""

    async def open(self, *, make: bool = True) -> None:
        """Connect, and make or migrate the database; with `make` False, one that is not there is made by the first write.
        Raises IncompatibleStore, StoreUnavailable, StoreBusy."""

    def hurry(self) -> None:
        """The process is about to end: wait for other processes no longer than a moment."""

    async def close(self) -> None: ...


class Sessions(Liveness, Protocol):
    """The locks of the sessions of one machine."""

    def living(self) -> list[str]:
        """Sessions whose servers live, sorted."""

    def lock(self, session_id: str) -> AbstractContextManager[object]:
        """While it is held, the session counts as alive."""


@dataclass(frozen=True, slots=True)
class Made:
    """A new backup and how long it took, checks included."""

    backup: Backup
    seconds: float


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did. `lost_since` is the time of the last event in the backup, `lost_until` that of the last one
    before the restore, as far as it is known. `safety` names the backup of what was there, `kept` the damaged file.
    `passed_over` says why newer backups were not used."""

    backup: Backup
    lost_since: datetime | None
    lost_until: datetime | None
    safety: str | None
    kept: str | None
    seconds: float
    passed_over: dict[str, str]


class DamagedStore(IncompatibleStore):
    """The store itself is damaged, not only a copy of it."""


class Backups(Protocol):
    """Whole copies of the store. Writers are not blocked while one is made, and no copy is listed that is not whole."""

    async def create(self, at: datetime) -> Made:
        """Copy, verify, and only then put in place under the name of `at`'s hour, where it replaces an earlier one.

        Whatever fails leaves the folder as it was. Cancelling stops it soon. Raises StoreBusy while another is being
        made, StoreUnavailable (disk full, not writable), DamagedStore, IncompatibleStore when the copy does not pass the
        check or what is there is not to be copied.
        """

    async def all(self) -> list[Backup]:
        """Newest first; none when there is no folder yet. Raises StoreUnavailable."""

    async def verify(self, name: str) -> None:
        """Read all of it. Raises NotFound, and IncompatibleStore when it is damaged or none of ours."""

    async def prune(self, now: datetime) -> list[str]:
        """Delete those that no rule keeps (`domain.backup.surplus`); their names. Raises StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The running context as a text of markdown."""

    name: str
    at: datetime
    text: str


class Snapshots(Protocol):
    """The last ten context snapshots."""

    async def newest(self) -> Snapshot | None: ...

    async def write(self, at: datetime, text: str) -> Snapshot:
        """Put it in place whole, and delete those beyond the last ten. Raises StoreUnavailable."""


class Backend(Protocol):
    """What differs between the databases. Nothing is opened before it is needed, so that a damaged or missing one can be
    examined and restored."""

    @property
    def system(self) -> str:
        """As the conventions of telemetry name it: sqlite, postgresql."""

    @property
    def is_shared(self) -> bool:
        """Servers of several machines may use it."""

    @property
    def store(self) -> OwnedStore: ...
    @property
    def backups(self) -> Backups: ...
    @property
    def probe(self) -> Probe: ...
    def identity(self) -> str:
        """The same for whatever leads to the same store. Blocks. Raises its typed errors."""

    def exists(self) -> bool:
        """False for a file that is not there yet."""

    def attend(self, session_id: str) -> AbstractContextManager[object]:
        """While it lasts, the session counts as alive."""

    def living(self) -> list[str]:
        """Sessions whose servers are connected; the store may be in any state. Blocks. Raises its typed errors."""

    async def restore(self, name: str | None, caller: Caller) -> Restored:
        """Put the backup of that name, or the newest that passes the check, in the place of the store, which is not open
        here. Raises NotFound, IncompatibleStore (the named one is damaged, or the store is of a newer program), StoreBusy,
        StoreUnavailable."""

    def damage(self) -> WvoError | None:
        """What is wrong with the database, all of it read; None when it is sound. Raises InvalidInput where that is the
        database's own business."""

    def doctor_checks(self, now: datetime) -> list[Finding]:
        """Every check that the database allows, in order, and what could be restored; read-only, bounded in time."""

    def known_ids(self, wanted: Iterable[str]) -> set[str]:
        """Those of the ids that the store has; all of them when that is unknown."""
