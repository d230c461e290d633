"""Everything of one store into an empty one, either way between the two kinds of database.

Tables are read from the catalogs and copied in the order of their keys, in batches that are committed one by one; a copy
that was interrupted goes on behind the last key that arrived. Until it is finished and compared, no server opens it.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from itertools import islice
from typing import Any, Protocol

from wvo_mcp.errors import Conflict, IncompatibleStore

BATCH = 2_000
"""Rows of one commit."""

KEPT_BY_DATABASE = frozenset({"store"})
"""The schema's number and the clock's offset belong to the database, not to what is kept in it."""

SEEDED = frozenset({"counters", "edges"})
"""A store without work has rows here, all of them zero."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table as one side has it. `hidden` are columns that only some databases name (SQLite's rowid)."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    hidden: frozenset[str] = frozenset()
    refers_to: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Head:
    """Which store, and its last event: two copies of one source in the same state have the same."""

    source: str
    seq: int
    hash: str


@dataclass(frozen=True, slots=True)
class Step:
    """`done` of `total` rows of a table have been copied, or compared."""

    doing: str
    table: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Compared:
    """A table that is the same on both sides; the hash is over its rows in the order of the key."""

    table: str
    rows: int
    sha256: str


@dataclass(slots=True)
class Copied:
    """What was copied by this call; `compared` counts also what an interrupted one had copied before."""

    resumed: bool
    rows: int = 0
    seconds: float = 0.0
    compared: list[Compared] = field(default_factory=list[Compared])

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0


class Side(Protocol):
    """What both ends of a copy can do. Errors of the database leave as typed errors."""

    @property
    def where(self) -> str:
        """For people, without a password."""
        ...

    def tables(self) -> dict[str, Table]: ...
    def count(self, table: str) -> int: ...
    def rows(self, table: Table, after: Row | None = None) -> Iterator[Row]:
        """Rows in the order of the key, bytewise, that follow the key `after`."""
        ...


class Source(Side, Protocol):
    """Reads one state of the store from beginning to end, whoever writes meanwhile."""

    def head(self) -> Head: ...
    def living(self) -> list[str]:
        """Agents whose servers are connected."""
        ...


class Target(Side, Protocol):
    def prepare(self, head: Head) -> bool:
        """Make an unfinished store without rows; True when there is one already that comes from `head`.

        One from an earlier state of the same source is emptied. Raises Conflict for a store with content, finished or of
        another source.
        """
        ...

    def last_key(self, table: Table) -> Row | None: ...
    def put(self, table: Table, rows: list[Row]) -> None:
        """Commit the rows."""
        ...

    def finish(self) -> None:
        """All is there: make the searches and the numbering fit, and let servers in; all at once."""
        ...

    def discard(self) -> None:
        """Forget the unfinished copy."""
        ...


def copy(
    source: Source, target: Target, told: Callable[[Step], None], *, while_live: bool = False, batch: int = BATCH
) -> Copied:
    """Copy, compare, and only then let servers in.

    Raises Conflict when servers live on the source (unless `while_live`), when the target is not empty, and when the two
    differ in the end; IncompatibleStore for different schemas; the typed errors of either database. After an error of
    the target, the same call goes on where it stopped.
    """
    living = source.living()
    if living and not while_live:
        raise Conflict(
            f"{len(living)} servers work on {source.where}: {', '.join(living[:8])}.",
            hint="End their clients and copy again; or add --while-live: then the copy has the state of this moment, and"
            " what they do afterwards stays behind.",
            living=living,
        )
    began = time.monotonic()
    copied = Copied(resumed=target.prepare(source.head()))
    tables = matched(source.tables(), target.tables())
    for table in tables:
        copied.rows += _copy_table(source, target, table, told, batch)
    copied.seconds = time.monotonic() - began
    for table in tables:
        copied.compared.append(_compared(source, target, table, told))
    target.finish()
    return copied


def matched(source: dict[str, Table], target: dict[str, Table]) -> list[Table]:
    """The tables to copy, those that others refer to first. Raises IncompatibleStore when the two sides differ."""
    if source.keys() != target.keys():
        odd = ", ".join(sorted(source.keys() ^ target.keys()))
        raise IncompatibleStore(f"These tables are on one side only: {odd}.", hint=_SAME_VERSION)
    order = TopologicalSorter({name: sorted(table.refers_to - {name}) for name, table in sorted(target.items())})
    return [_joined(source[name], target[name]) for name in order.static_order()]


def _joined(source: Table, target: Table) -> Table:
    if set(source.columns) != set(target.columns) or source.key != target.key:
        odd = ", ".join(sorted(set(source.columns) ^ set(target.columns))) or "the primary key"
        raise IncompatibleStore(f"The table {source.name} differs between the two sides: {odd}.", hint=_SAME_VERSION)
    return Table(source.name, (*source.columns, *sorted(source.hidden & target.hidden)), source.key)


def _copy_table(source: Source, target: Target, table: Table, told: Callable[[Step], None], batch: int) -> int:
    total = source.count(table.name)
    last = target.last_key(table)
    done = 0 if last is None else target.count(table.name)
    put = 0
    told(Step("copying", table.name, done, total))
    for rows in batches(source.rows(table, last), batch):
        target.put(table, rows)
        put += len(rows)
        told(Step("copying", table.name, done + put, total))
    return put


def _compared(source: Source, target: Target, table: Table, told: Callable[[Step], None]) -> Compared:
    total = source.count(table.name)

    def digest(side: Side, offset: int) -> tuple[int, str]:
        return digested(side.rows(table), lambda n: told(Step("comparing", table.name, (n + offset) // 2, total)))

    here, there = digest(source, 0), digest(target, total)
    if here != there:
        target.discard()
        raise Conflict(
            f"The table {table.name} differs after the copy: {here[0]:,} rows with {here[1][:12]} there,"
            f" {there[0]:,} rows with {there[1][:12]} here.",
            hint="Somebody changed the source or the target meanwhile. The copy was discarded: run it again while nobody"
            " works on either.",
        )
    return Compared(table.name, *here)


def digested(rows: Iterable[Row], told: Callable[[int], None] = lambda _: None) -> tuple[int, str]:
    """Number of the rows, and a hash over them that is the same for the same values in either database."""
    found = hashlib.sha256()
    count = 0
    for row in rows:
        found.update(_encode(row).encode())
        count += 1
        if count % 10_000 == 0:
            told(count)
    return count, found.hexdigest()


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def batches(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while batch := list(islice(rows, size)):
        yield batch


_SAME_VERSION = (
    "Both must have the schema of this program: open the older one once with it (wvo-mcp status), then copy."
)
