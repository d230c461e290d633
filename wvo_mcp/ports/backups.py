"""Copies of the store and of what is going on, kept in files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from wvo_mcp.errors import IncompatibleStore

if TYPE_CHECKING:  # a first call needs nothing of these
    from wvo_mcp.domain.backup import Backup


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
        ...

    async def all(self) -> list[Backup]:
        """Newest first; none when there is no folder yet. Raises StoreUnavailable."""
        ...

    async def verify(self, name: str) -> None:
        """Read all of it. Raises NotFound, and IncompatibleStore when it is damaged or none of ours."""
        ...

    async def prune(self, now: datetime) -> list[str]:
        """Delete those that no rule keeps (`domain.backup.surplus`); their names. Raises StoreUnavailable."""
        ...


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
        ...
