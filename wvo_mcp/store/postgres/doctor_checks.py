"""Checks of a PostgreSQL database, read-only and bounded in time, also of one that cannot be used for work."""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
from psycopg import errors

from wvo_mcp.domain.finding import Finding, fail, ok
from wvo_mcp.errors import WvoError
from wvo_mcp.store import doctor_checks
from wvo_mcp.store.doctor_checks import SECONDS, Interrupted, content_checks
from wvo_mcp.store.postgres.address import Address
from wvo_mcp.store.postgres.migrate import version
from wvo_mcp.store.postgres.presence import Presences
from wvo_mcp.store.postgres.wire import PostgresRows, snapshot
from wvo_mcp.store.sqlite.read_only import ASKED, HELD, Asked, Held
from wvo_mcp.store.versions import latest


def examine(url: str) -> list[Finding]:
    """Every check that the database allows, in order; a check that cannot be made ends the list with its reason."""
    findings: list[Finding] = []
    try:
        with _connected(url) as raw:
            found, newest, where = version(raw), latest(), Address(url).where
            server = f"PostgreSQL {raw.info.server_version // 10_000}"
            if found == 0:
                said = f"{where} ({server}) is empty; the first server or command makes the tables"
                return [ok("database", said)]
            if found < newest:
                return [ok("database", f"{where} has schema {found}; the next server moves it to {newest}")]
            size = raw.execute("SELECT pg_database_size(current_database())", prepare=False).fetchone()
            findings.append(ok("database", f"{where}, {server}, schema {found}, {(size or [0])[0] / 1e6:.1f} MB"))
            findings += content_checks(
                partial(_view, raw),
                lambda rows: Presences(rows).alive,
                lambda rows: rows.value("SELECT clock_timestamp()"),
            )
    except WvoError as error:
        findings.append(fail("database", error.message, error.hint))
    return findings


def known_ids(url: str, wanted: Iterable[str]) -> set[str]:
    """Those of the ids that the store has; all of them when the store cannot be read."""
    return doctor_checks.known_ids(partial(_look, url), wanted)


def held_by(url: str, agent_id: str) -> list[Held]:
    """Tasks in progress of the agent, and those that others hold through a session of its own. Raises the typed errors."""
    with _look(url) as rows:
        return [Held(**row) for row in rows.all(HELD, {"agent_id": agent_id})]


def asked_of(url: str, agent_id: str) -> list[Asked]:
    """The oldest questions that wait for the agent's answer. Raises the typed errors."""
    with _look(url) as rows:
        return [Asked(**row) for row in rows.all(ASKED, {"agent_id": agent_id})]


@contextmanager
def _connected(url: str) -> Generator[psycopg.Connection[Any]]:
    with Address(url).session("wvo-mcp doctor") as raw:
        raw.execute(f"SET statement_timeout = {SECONDS * 1_000:.0f}".encode(), prepare=False)
        yield raw


@contextmanager
def _look(url: str) -> Generator[PostgresRows]:
    with _connected(url) as raw, snapshot(raw) as rows:
        yield rows


@contextmanager
def _view(raw: psycopg.Connection[Any]) -> Generator[PostgresRows]:
    try:
        with snapshot(raw) as rows:
            yield rows
    except errors.QueryCanceled:
        raise Interrupted from None
