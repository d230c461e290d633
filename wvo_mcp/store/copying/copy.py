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
    session lives. `where` is for people, without a password."""

    where: str
    rows: Rows
    alive: Callable[[str], bool]


class Target(Protocol):
    """A new store without rows that no one else sees before `finish`; left without it, nothing stays. Errors of the database
    leave as typed errors."""

    where: str

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

    Raises Conflict when servers live on the source (unless `while_live`) and when the two differ in the end, and the typed
    errors of the target.
    """
    sessions = source.rows.all(
        "SELECT session_id, agent_id FROM sessions WHERE ended_at IS NULL AND durable = 0 ORDER BY agent_id"
    )
    living = [row["agent_id"] for row in sessions if source.alive(row["session_id"])]
    if living and not while_live:
        raise Conflict(
            f"{len(living)} servers work on {source.where}: {', '.join(living[:8])}.",
            hint="End their clients and copy again; or add --while-live: then the copy has the state of this moment, and"
            " what they do afterwards stays behind.",
            living=living,
        )
    began = time.monotonic()
    copied: list[Compared] = []
    for table in tables():
        total = int(source.rows.value(f'SELECT count(*) FROM "{table.name}"'))
        on_progress(Step("copying", table.name, 0, total))

        def put(page: list[Row], done: int, table: Table = table, total: int = total) -> None:
            target.put(table, page)
            on_progress(Step("copying", table.name, done, total))

        copied.append(_digested(source.rows, table, batch, put))
    seconds = time.monotonic() - began
    with target.filled() as filled:
        for table, there in zip(tables(), copied, strict=True):

            def compare(_: list[Row], done: int, there: Compared = there) -> None:
                on_progress(Step("comparing", there.table, done, there.rows))

            here = _digested(filled, table, BATCH, compare)
            if here != there:
                raise Conflict(
                    f"The table {table.name} differs after the copy: {there.rows:,} rows with {there.sha256[:12]} there,"
                    f" {here.rows:,} rows with {here.sha256[:12]} here.",
                    hint="Nothing was kept of the copy. Run it again while no one works on the target.",
                )
    target.finish()
    return Copied(sum(table.rows for table in copied), seconds, copied)


def pages(rows: Rows, table: Table, size: int) -> Iterator[list[Row]]:
    """All rows in the order of the key, which is bytewise in both databases."""
    names, key = ", ".join(table.columns), ", ".join(table.key)
    page = list(rows.execute(f'SELECT {names} FROM "{table.name}" ORDER BY {key} LIMIT ?', (size,)))
    behind = f"({key}) > ({', '.join('?' * len(table.key))})"
    places = [table.columns.index(column) for column in table.key]
    while page:
        yield page
        last = [page[-1][place] for place in places]
        more = f'SELECT {names} FROM "{table.name}" WHERE {behind} ORDER BY {key} LIMIT ?'
        page = list(rows.execute(more, (*last, size)))


def _digested(rows: Rows, table: Table, batch: int, each: Callable[[list[Row], int], None]) -> Compared:
    """Give every page to `each`, with the number of rows so far. The hash is the same for the same values in either
    database."""
    done, digest = 0, hashlib.sha256()
    for page in pages(rows, table, batch):
        for row in page:
            digest.update(_encode(row).encode())
        done += len(page)
        each(page, done)
    return Compared(table.name, done, digest.hexdigest())


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@lru_cache(maxsize=1)
def tables() -> tuple[Table, ...]:
    """What a store of this version has, in either kind of database; those that others refer to first. The words that are
    searched follow from the rows and are not among them."""
    with closing(sqlite.connect(":memory:", isolation_level=None)) as raw:
        rows = SqliteRows(raw)
        apply_migrations(rows, 0)
        listed = rows.column("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
        names = {name for name in listed if not name.startswith("sqlite_")} - {_KEPT_BY_DATABASE}
        referred = 'SELECT DISTINCT "table" FROM pragma_foreign_key_list(?) ORDER BY 1'
        order = TopologicalSorter({name: set(rows.column(referred, (name,))) - {name} for name in sorted(names)})
        return tuple(_table(rows, name) for name in order.static_order())


def _table(rows: Rows, name: str) -> Table:
    columns = rows.column("SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0 ORDER BY cid", (name,))
    key = rows.column("SELECT name FROM pragma_table_xinfo(?) WHERE pk > 0 ORDER BY pk", (name,))
    return Table(name, (*columns, "rowid") if name in _ORDERED_BY_ROWID else tuple(columns), tuple(key))


def refuse_version(where: str, version: int) -> None:
    """Raises IncompatibleStore unless it is this program's."""
    refuse_newer(where, version)
    if version < latest():
        raise IncompatibleStore(
            f"{where} has schema {version}, this program {latest()}.",
            hint="Open it once with this program (wvo-mcp status in its workspace), which brings it up to date; then copy.",
        )


def store_exists(where: str) -> Conflict:
    hint = "Copy into a file or database of its own; nothing is ever merged or overwritten."
    return Conflict(f"{where} has a store already.", hint=hint)
