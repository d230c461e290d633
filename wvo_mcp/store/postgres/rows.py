"""The statements of the repositories as PostgreSQL takes them."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumper

from wvo_mcp.store.sql import Cursor, Dialect, Rows

POSTGRES = Dialect(
    "postgres",
    take="FOR UPDATE SKIP LOCKED",
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

_ASIDE = re.compile(r"\s*(?:INSERT INTO|UPDATE) (?:sessions|agent_pool)\b")
"""Writes that nothing foreseen reads."""


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


def configure(connection: psycopg.Connection[Any]) -> None:
    """Every statement is prepared at its first use; each Python type is always the same type there, so that a statement
    is prepared once."""
    connection.adapters.register_dumper(str, StrDumper)
    connection.adapters.register_dumper(int, Int8Dumper)
    connection.prepare_threshold = 0
    connection.prepared_max = 500


class PostgresRows(Rows):
    """`Rows` over a connection that is within a transaction. What needs no answer is sent with the next that does."""

    dialect = POSTGRES

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        pipeline: psycopg.Pipeline,
        on_write: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__()
        self.head: dict[str, Any] = {}
        """What the transaction read when it began; empty when the database has none of our tables."""
        self.on_write = on_write
        self._pipeline = pipeline
        self._cursor = psycopg.RawCursor(connection)
        self._connection = connection
        self._sink = psycopg.RawCursor(connection)
        self._unsent = False
        """Has something been foreseen since the last read went out?"""
        self._foreseen: dict[tuple[str, tuple[Any, ...]], psycopg.RawCursor[Any]] = {}

    def foresee(self, sql: str, params: Any = ()) -> None:
        statement = translated(sql)
        values = tuple(statement.values(params))
        self._foreseen[sql, values] = psycopg.RawCursor(self._connection).execute(statement.text, values)
        self._unsent = True

    def execute(self, sql: str, params: Any) -> Cursor:
        statement = translated(sql)
        values = statement.values(params)
        cursor = self._foreseen.pop((sql, tuple(values)), None) if self._foreseen else None
        if cursor is None:
            cursor = self._cursor.execute(statement.text, values)
        elif not self._unsent:
            return cursor  # it went along with a read before: its answer is here already
        self._pipeline.sync()
        self._unsent = False
        return cursor

    def run(self, sql: str, params: Any = ()) -> int:
        self._forget_what_changes(sql)
        return super().run(sql, params)

    def put(self, sql: str, params: Any = ()) -> None:
        if self.on_write is not None:
            self.run(sql, params)
            return
        self._forget_what_changes(sql)
        statement = translated(sql)
        self._sink.execute(statement.text, statement.values(params))

    def _forget_what_changes(self, sql: str) -> None:
        if self._foreseen and not _ASIDE.match(sql):
            self._foreseen.clear()

    def execute_many(self, sql: str, params: Sequence[Any]) -> None:
        self._foreseen.clear()
        if params:
            statement = translated(sql)
            self._cursor.executemany(statement.text, [statement.values(each) for each in params])
