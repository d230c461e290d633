"""Statements of the repositories over one connection, many of them sent at once.

The driver's cursors take longer to send a statement and to read a row than everything else that a claim does in this
process. So its lower layer is used as it is: prepared statements in a pipeline.
"""

import re
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

import psycopg
from psycopg import abc
from psycopg.adapt import PyFormat, Transformer
from psycopg.generators import fetch_many, send
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from wvo_mcp.store.sql import Cursor, Dialect, Rows

POSTGRES = Dialect(
    "postgres",
    row_lock_suffix="FOR UPDATE SKIP LOCKED",
    task_matches="seq IN (SELECT seq FROM task_search WHERE words @@ to_tsquery('simple', :query))",
    context_matches="""
        SELECT id, -ts_rank(words, asked)::FLOAT8 AS rank
        FROM context_search, to_tsquery('simple', :query) AS asked
        WHERE words @@ asked AND id > {floor} ORDER BY rank""",
    quote="'",
    both=" & ",
    either=" | ",
    start=":*",
)

_TOKEN = re.compile(r"'(?:[^']|'')*'|::|:([a-z_]+)|\?|INDEXED BY \w+|CROSS JOIN(?= \S+(?: AS \w+)? ON)")

_NUMBERS = count()
"""Names of prepared statements: two wires may follow each other on one connection."""

_UNREAD = re.compile(r"\s*(?:INSERT INTO|UPDATE) (?:sessions|agent_pool|file_reservations)\b")
"""Writes to what no prefetched statement reads that does not name its one table."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Text with `$n` parameters, and the names of those that a mapping gives, by number."""

    text: bytes
    names: tuple[str, ...]

    def values(self, params: Any) -> Sequence[Any]:
        return [params[name] for name in self.names] if isinstance(params, Mapping) else params


@lru_cache(maxsize=1_024)
def translated(sql: str) -> Statement:
    """Parameters become numbered ones; advice to SQLite's planner (INDEXED BY, CROSS JOIN ... ON) is left out."""
    names: list[str] = []
    marks = 0

    def token(match: re.Match[str]) -> str:
        nonlocal marks
        text = match[0]
        if text == "?":
            marks += 1
            return f"${marks}"
        if match[1]:
            if match[1] not in names:
                names.append(match[1])
            return f"${names.index(match[1]) + 1}"
        if text.startswith("INDEXED"):
            return ""
        return "JOIN" if text.startswith("CROSS") else text

    return Statement(_TOKEN.sub(token, sql).encode(), tuple(names))


_ROLLBACK = translated("ROLLBACK")


class Answer:
    """`sql.Cursor`: what came back for one statement, once `Wire.settle` has returned."""

    def __init__(self, transformer: abc.Transformer) -> None:
        self._transformer = transformer
        self.result: PGresult | None = None

    @property
    def description(self) -> list[tuple[str]]:
        assert self.result is not None, "nothing was received yet"  # noqa: S101
        return [((self.result.fname(at) or b"").decode(),) for at in range(self.result.nfields)]

    @property
    def rowcount(self) -> int:
        return -1 if self.result is None or self.result.command_tuples is None else self.result.command_tuples

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        assert self.result is not None, "nothing was received yet"  # noqa: S101
        self._transformer.set_pgresult(self.result)
        return iter(self._transformer.load_rows(0, self.result.ntuples, tuple))


class Wire:
    """One connection in pipeline mode. After an error of the database it must be closed."""

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self.raw = raw
        self.names: dict[str, list[str]] = {}
        """Columns of the statements that were run."""
        self._pgconn = raw.pgconn
        self._transformer: abc.Transformer = Transformer(raw)
        self._prepared: dict[tuple[bytes, tuple[int, ...]], bytes] = {}
        self._sent: deque[Answer | None] = deque()
        self._syncs = 0
        self.used_at = 0.0
        """For the pool: by the steady clock."""
        self._pgconn.enter_pipeline_mode()

    def send(self, statement: Statement, params: Any = ()) -> Answer:
        """Have it sent with the next `settle`, which fills the answer."""
        values = statement.values(params)
        dumped = self._transformer.dump_sequence(values, [PyFormat.TEXT] * len(values))
        types = self._transformer.types or ()
        name = self._prepared.get((statement.text, types))
        if name is None:
            name = self._prepared[statement.text, types] = b"wvo%d" % next(_NUMBERS)
            self._pgconn.send_prepare(name, statement.text, param_types=types)
            self._sent.append(None)
        self._pgconn.send_query_prepared(name, dumped)
        answer = Answer(self._transformer)
        self._sent.append(answer)
        return answer

    def settle(self) -> None:
        """Send everything and wait until it is answered. Raises the first error."""
        self._syncs += 1
        self._pgconn.pipeline_sync()
        error = self.raw.wait(self._received())
        if error is not None:
            raise error

    def leave(self) -> None:
        """Send everything and do not wait: the answers are read before those that are asked for next."""
        self._syncs += 1
        self._pgconn.pipeline_sync()
        self._pgconn.flush()

    def roll_back(self) -> None:
        """What of the transaction is not answered yet may be an error: it is not to be read by the next one."""
        finish = self.settle if self._sent else self.leave
        self.send(_ROLLBACK)
        finish()

    def _received(self) -> Any:
        yield from send(self._pgconn)
        error: psycopg.Error | None = None
        while self._syncs:
            results = yield from fetch_many(self._pgconn)
            if not results:
                return error or psycopg.OperationalError("the server closed the connection")
            result = results[-1]
            if result.status == ExecStatus.PIPELINE_SYNC:
                self._syncs -= 1
                continue
            # A server that ends says so unasked, maybe after the last answer.
            answer = self._sent.popleft() if self._sent else None
            if result.status == ExecStatus.FATAL_ERROR:
                error = error or psycopg.errors.error_from_result(result)
            elif answer is not None:
                answer.result = result
        return error

    def close(self) -> None:
        self.raw.close()


@contextmanager
def wired(raw: psycopg.Connection[Any]) -> Generator[Wire]:
    """For statements of repositories, within a transaction of a connection that is used in other ways too."""
    wire = Wire(raw)
    try:
        yield wire
    finally:
        if not raw.closed:
            wire.settle()
            raw.pgconn.exit_pipeline_mode()


@contextmanager
def snapshot(raw: psycopg.Connection[Any]) -> Generator["PostgresRows"]:
    """One state of the database, for reading. Raises the driver's errors."""
    raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        with wired(raw) as wire:
            yield PostgresRows(wire)
    finally:
        if not raw.closed:
            raw.execute("ROLLBACK")


class PostgresRows(Rows):
    """`Rows` over a wire that is within a transaction. What needs no answer is sent with the next that does."""

    dialect = POSTGRES

    def __init__(self, wire: Wire, on_write: Callable[[str], None] | None = None) -> None:
        super().__init__(wire.names)
        self.head: dict[str, Any] = {}
        """What the transaction read when it began; empty when the database has none of our tables."""
        self.on_write = on_write
        self._wire = wire
        self._prefetched: dict[tuple[str, tuple[Any, ...]], tuple[str, Answer]] = {}

    def prefetch_statement(self, sql: str, params: Any = (), *, of: str = "") -> None:
        statement = translated(sql)
        self._prefetched[sql, tuple(statement.values(params))] = of, self._wire.send(statement, params)

    def execute(self, sql: str, params: Any) -> Cursor:
        statement = translated(sql)
        found = self._prefetched.pop((sql, tuple(statement.values(params))), None) if self._prefetched else None
        answer = self._wire.send(statement, params) if found is None else found[1]
        if answer.result is None:
            self._wire.settle()
        return answer

    def run(self, sql: str, params: Any = ()) -> int:
        self._forget_what_changes(sql)
        return super().run(sql, params)

    def put(self, sql: str, params: Any = ()) -> None:
        if self.on_write is not None:
            self.run(sql, params)
            return
        self._forget_what_changes(sql)
        self._wire.send(translated(sql), params)

    def _forget_what_changes(self, sql: str) -> None:
        if self._prefetched:
            unread = _UNREAD.match(sql) is not None
            self._prefetched = {
                k: found for k, found in self._prefetched.items() if (found[0] not in sql if found[0] else unread)
            }

    def execute_many(self, sql: str, params: Sequence[Any]) -> None:
        self._prefetched.clear()
        for each in params:
            self._wire.send(translated(sql), each)
