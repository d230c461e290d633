"""What repositories know of a database: typed rows of one connection, the same for both dialects.

Statements are written once, in the SQL that SQLite and PostgreSQL share. What differs is in a
dialect: how a text is searched, and that a row is to be locked. Repositories are coroutines that never suspend, so that
a whole transaction runs in one hop of a thread.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs in the text of statements."""

    name: str
    row_lock_suffix: str
    """Ends a SELECT of rows that are about to be changed: they are locked, and those that others have locked are left out."""
    task_matches: str
    """A condition on tasks: the words of `:query` occur in id, title or description."""
    context_matches: str
    """A SELECT of (id, rank) from what is remembered, best (lowest) rank first; `{floor}` is an id to be exceeded."""
    quote: str
    both: str
    either: str
    start: str
    """Follows a quoted word that may be the beginning of one."""


class Cursor(Protocol):
    """The part of the DB API that both drivers have; to be read once."""

    @property
    def description(self) -> Any: ...
    @property
    def rowcount(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...


class Rows(ABC):
    """Typed access to one connection within a transaction; rows are dicts by column name."""

    dialect: Dialect

    def __init__(self, names: dict[str, list[str]] | None = None) -> None:
        """`names` has the columns of statements that this connection has run before."""
        self._names: dict[str, list[str]] = {} if names is None else names
        self.on_write: Callable[[str], None] | None = None
        """Called before and after every write and commit; crash tests hang themselves in here."""
        self.last_event: tuple[int, str] | None = None
        """Number and hash of the event that this transaction wrote last: shows afterwards whether it was committed."""

    @abstractmethod
    def execute(self, sql: str, params: Any) -> Cursor:
        """Parameters are `?` with a sequence or `:name` with a mapping. Raises the driver's errors."""

    @abstractmethod
    def execute_many(self, sql: str, params: Sequence[Any]) -> None: ...

    def prefetch_statement(self, sql: str, params: Any = (), *, of: str = "") -> None:  # noqa: B027 - for a file there is nothing to save
        """This read will be asked for soon, unchanged: it may be sent already, together with the next that is asked for.
        A write to what it may read makes it void; `of` names its table, if it reads only one that no trigger changes."""

    def all(self, sql: str, params: Any = ()) -> list[dict[str, Any]]:
        cursor = self.execute(sql, params)
        names = self._columns(sql, cursor)
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def one(self, sql: str, params: Any = ()) -> dict[str, Any] | None:
        cursor = self.execute(sql, params)
        found = list(cursor)
        return dict(zip(self._columns(sql, cursor), found[0], strict=True)) if found else None

    def _columns(self, sql: str, cursor: Cursor) -> list[str]:
        names = self._names.get(sql)
        if names is None:
            names = self._names[sql] = [column[0] for column in cursor.description]
        return names

    def value(self, sql: str, params: Any = ()) -> Any:
        """First column of the first row; None when there is none."""
        found = list(self.execute(sql, params))
        return found[0][0] if found else None

    def column(self, sql: str, params: Any = ()) -> list[Any]:
        return [row[0] for row in self.execute(sql, params)]

    def run(self, sql: str, params: Any = ()) -> int:
        """Execute a write; how many rows it changed."""
        if self.on_write is None:
            return self.execute(sql, params).rowcount
        self.on_write(sql)
        changed = self.execute(sql, params).rowcount
        self.on_write(sql)
        return changed

    def put(self, sql: str, params: Any = ()) -> None:
        """Execute a write whose number of changed rows is not needed: it may be sent together with what follows."""
        self.run(sql, params)

    def run_many(self, sql: str, params: Sequence[Any]) -> None:
        if self.on_write is not None:
            self.on_write(sql)
        self.execute_many(sql, params)


def run_without_suspending(work: Awaitable[T]) -> T:
    """The result of a coroutine that must not suspend: it may await only what answers at once."""
    coroutine = cast("Coroutine[Any, Any, T] | Generator[Any, Any, T]", work)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast(T, stop.value)
    coroutine.close()
    raise RuntimeError("an operation awaited something outside the database within its transaction")


def parts(ids: Sequence[T], size: int = 400) -> Iterable[tuple[list[T], str]]:
    """The ids in parts, each filled up to a power of two with its last id, and the marks that stand for them: few different
    statements are prepared so."""
    for start in range(0, len(ids), size):
        part = list(ids[start : start + size])
        part += part[-1:] * ((1 << (len(part) - 1).bit_length()) - len(part))
        yield part, ", ".join("?" * len(part))
