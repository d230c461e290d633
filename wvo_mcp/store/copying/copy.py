"""Everything of one store into a new one, either way between the two kinds of database.

The target is filled in one transaction, or in a file of another name, and compared before it is committed or renamed. So
a copy that is cut off leaves nothing behind, and the same command starts over.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from functools import lru_cache
from graphlib import TopologicalSorter
from typing import Any, Protocol

from wvo_mcp.errors import Conflict, IncompatibleStore
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.connection import SqliteRows, sqlite
from wvo_mcp.store.sqlite.migrate import apply_migrations
from wvo_mcp.store.versions import latest, refuse_newer

BATCH = 2_000
"""Rows that are read at a time, between two reports of progress."""

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


@dataclass(frozen=True, slots=True)
class Source:
    """One state of a store from beginning to end, however it is written meanwhile. `alive` says whether the server of a
    session lives; `errors` turns those of the database into typed ones. `where` is for people, without a password."""

    where: str
    rows: Rows
    alive: Callable[[str], bool]
    errors: Callable[[], AbstractContextManager[None]]

    def living(self) -> list[str]:
        """Agents whose servers are connected."""
        with self.errors():
            sessions = self.rows.all(
                "SELECT session_id, agent_id FROM sessions WHERE ended_at IS NULL AND durable = 0 ORDER BY agent_id"
            )
            return [row["agent_id"] for row in sessions if self.alive(row["session_id"])]


class Target(Protocol):
    """A new store that no one else sees before `finish`; left without it, nothing stays. Errors of the database leave as
    typed errors."""

    @property
    def where(self) -> str: ...
    def prepare(self) -> None:
        """Make a store without rows. Raises Conflict when there is one already."""
        ...

    def put(self, table: Table, rows: list[Row]) -> None: ...
    def filled(self) -> AbstractContextManager[Rows]:
        """To read what was put there."""
        ...

    def finish(self) -> None:
        """All is there: make the searches and the numbering fit, and let servers in; all at once."""
        ...


def copy(
    source: Source, target: Target, on_progress: Callable[[Step], None], *, while_live: bool = False, batch: int = BATCH
) -> Copied:
    """Copy, compare, and only then let servers in.

    Raises Conflict when servers live on the source (unless `while_live`), when the target is there, and when the two
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
    with target.filled() as filled:
        for expected in copied:
            _compare(filled, expected, on_progress)
    target.finish()
    return Copied(sum(table.rows for table in copied), seconds, copied)


def pages(rows: Rows, table: Table, size: int) -> Iterator[list[Row]]:
    """All rows in the order of the key, which is bytewise in both databases."""
    names, key = ", ".join(table.columns), ", ".join(table.key)
    page = rows.execute(f'SELECT {names} FROM "{table.name}" ORDER BY {key} LIMIT ?', (size,)).fetchall()
    behind = f"({key}) > ({', '.join('?' * len(table.key))})"
    places = [table.columns.index(column) for column in table.key]
    while page:
        yield page
        last = [page[-1][place] for place in places]
        more = f'SELECT {names} FROM "{table.name}" WHERE {behind} ORDER BY {key} LIMIT ?'
        page = rows.execute(more, (*last, size)).fetchall()


def _copy_table(
    source: Source, target: Target, table: Table, on_progress: Callable[[Step], None], batch: int
) -> Compared:
    digest = Digest(table)
    with source.errors():
        total = int(source.rows.value(f'SELECT count(*) FROM "{table.name}"'))
    on_progress(Step("copying", table.name, 0, total))
    left = pages(source.rows, table, batch)
    while True:
        with source.errors():
            page = next(left, None)
        if page is None:
            return digest.compared
        target.put(table, page)
        digest.add(page)
        on_progress(Step("copying", table.name, digest.rows, total))


def _compare(filled: Rows, expected: Compared, on_progress: Callable[[Step], None]) -> None:
    (table,) = (table for table in tables() if table.name == expected.table)
    digest = Digest(table)
    for page in pages(filled, table, BATCH):
        digest.add(page)
        on_progress(Step("comparing", table.name, digest.rows, expected.rows))
    found = digest.compared
    if found != expected:
        raise Conflict(
            f"The table {table.name} differs after the copy: {expected.rows:,} rows with {expected.sha256[:12]} there,"
            f" {found.rows:,} rows with {found.sha256[:12]} here.",
            hint="Nothing was kept of the copy. Run it again while no one works on the target.",
        )


class Digest:
    """The number of rows, and a hash over them that is the same for the same values in either database."""

    def __init__(self, table: Table) -> None:
        self.rows = 0
        self._table = table
        self._hash = hashlib.sha256()

    def add(self, rows: list[Row]) -> None:
        for row in rows:
            self._hash.update(_encode(row).encode())
        self.rows += len(rows)

    @property
    def compared(self) -> Compared:
        return Compared(self._table.name, self.rows, self._hash.hexdigest())


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


def refuse_version(where: str, version: int) -> None:
    """Raises IncompatibleStore unless it is this program's."""
    refuse_newer(where, version)
    if version < latest():
        raise IncompatibleStore(
            f"{where} has schema {version}, this program {latest()}.",
            hint="Open it once with this program (wvo-mcp status in its workspace), which brings it up to date; then copy.",
        )


def there_already(where: str) -> Conflict:
    hint = "Copy into a file or database of its own; nothing is ever merged or overwritten."
    return Conflict(f"{where} has a store already.", hint=hint)
