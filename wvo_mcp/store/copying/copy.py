"""Everything of one store into an empty one, either way between the two kinds of database.

The target is filled in one transaction, or in a file of another name, and compared before it is committed or renamed. So
a copy that is cut off leaves the target as it was, and the same command starts over.
"""

import hashlib
import json
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from graphlib import TopologicalSorter
from itertools import islice
from typing import Any, Protocol

from wvo_mcp.errors import Conflict
from wvo_mcp.store.sqlite.connection import SqliteRows, sqlite
from wvo_mcp.store.sqlite.migrate import apply_migrations

BATCH = 2_000
"""Rows between two reports of progress."""

_KEPT_BY_DATABASE = "store"
"""The schema's number and the clock's offset belong to the database, not to what is kept in it."""

SEEDED = ("counters", "edges")
"""A store without work has rows here, all of them zero."""

_ORDERED_BY_ROWID = ("epics", "milestones")
"""SQLite numbers their rows by itself, PostgreSQL in a column of that name; the order of the roadmap depends on it."""

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]


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


@dataclass(frozen=True, slots=True)
class Copied:
    rows: int
    seconds: float
    compared: list[Compared]

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0


class Side(Protocol):
    """What both ends of a copy can do. Errors of the database leave as typed errors."""

    @property
    def where(self) -> str:
        """For people, without a password."""
        ...

    def rows(self, table: Table) -> Generator[Row]:
        """All rows in the order of the key, bytewise."""
        ...


class Source(Side, Protocol):
    """Reads one state of the store from beginning to end, whoever writes meanwhile."""

    def count(self, table: str) -> int: ...
    def living(self) -> list[str]:
        """Agents whose servers are connected."""
        ...


class Target(Side, Protocol):
    """Nobody else sees anything of what is put there before `finish`; left without it, it is as it was."""

    def prepare(self) -> None:
        """Make a store without rows. Raises Conflict for one with content."""
        ...

    def put(self, table: Table, rows: list[Row]) -> None: ...
    def finish(self) -> None:
        """All is there: make the searches and the numbering fit, and let servers in; all at once."""
        ...


def copy(
    source: Source, target: Target, on_progress: Callable[[Step], None], *, while_live: bool = False, batch: int = BATCH
) -> Copied:
    """Copy, compare, and only then let servers in.

    Raises Conflict when servers live on the source (unless `while_live`), when the target is not empty, and when the two
    differ in the end; IncompatibleStore for different schemas; the typed errors of either database.
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
    target.prepare()
    copied = [_copy_table(source, target, table, on_progress, batch) for table in tables()]
    seconds = time.monotonic() - began
    for table, expected in zip(tables(), copied, strict=True):
        _compare(target, table, expected, on_progress)
    target.finish()
    return Copied(sum(table.rows for table in copied), seconds, copied)


def _copy_table(
    source: Source, target: Target, table: Table, on_progress: Callable[[Step], None], batch: int
) -> Compared:
    total = source.count(table.name)
    digest = Digest()
    on_progress(Step("copying", table.name, 0, total))
    with closing(source.rows(table)) as rows:
        while some := list(islice(rows, batch)):
            target.put(table, some)
            for row in some:
                digest.add(row)
            on_progress(Step("copying", table.name, digest.rows, total))
    return digest.of(table)


def _compare(target: Target, table: Table, expected: Compared, on_progress: Callable[[Step], None]) -> None:
    digest = Digest()
    with closing(target.rows(table)) as rows:
        for row in rows:
            digest.add(row)
            if digest.rows % 10_000 == 0:
                on_progress(Step("comparing", table.name, digest.rows, expected.rows))
    found = digest.of(table)
    if found != expected:
        raise Conflict(
            f"The table {table.name} differs after the copy: {expected.rows:,} rows with {expected.sha256[:12]} there,"
            f" {found.rows:,} rows with {found.sha256[:12]} here.",
            hint="Nothing was kept of the copy. Run it again while nobody works on the target.",
        )


class Digest:
    """The number of rows, and a hash over them that is the same for the same values in either database."""

    def __init__(self) -> None:
        self.rows = 0
        self._hash = hashlib.sha256()

    def add(self, row: Row) -> None:
        self._hash.update(_encode(row).encode())
        self.rows += 1

    def of(self, table: Table) -> Compared:
        return Compared(table.name, self.rows, self._hash.hexdigest())


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@lru_cache(maxsize=1)
def tables() -> tuple[Table, ...]:
    """What a store of this version has, in either kind of database; those that others refer to first. The words that are
    searched follow from the rows and are not among them."""
    with closing(sqlite.connect(":memory:", isolation_level=None)) as raw:
        apply_migrations(SqliteRows(raw), 0)
        listed = raw.execute("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'").fetchall()
        names = {name for (name,) in listed if not name.startswith("sqlite_")} - {_KEPT_BY_DATABASE}
        order = TopologicalSorter(
            {
                name: sorted(
                    {to for (to,) in raw.execute('SELECT "table" FROM pragma_foreign_key_list(?)', (name,))} - {name}
                )
                for name in sorted(names)
            }
        )
        return tuple(_table(raw, name) for name in order.static_order())


def _table(raw: Any, name: str) -> Table:
    found = raw.execute("SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid", (name,)).fetchall()
    columns = [column for column, _ in found]
    key = [column for column, place in sorted(found, key=lambda column: column[1]) if place]
    if name in _ORDERED_BY_ROWID:
        columns.append("rowid")
    return Table(name, tuple(columns), tuple(key))


def refuse_content(first: Callable[[str], Row | None], where: str) -> None:
    """Raises Conflict when a table has rows; `first` is the first row of a query."""
    for table in tables():
        some = "WHERE n <> 0" if table.name in SEEDED else ""
        if first(f'SELECT 1 FROM "{table.name}" {some} LIMIT 1') is not None:
            raise Conflict(
                f"{where} is not empty: its table {table.name} has rows.",
                hint="Copy into a file or database of its own; nothing is ever merged or overwritten.",
            )
