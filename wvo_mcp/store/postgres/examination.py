"""Checks of a PostgreSQL database, read-only and bounded in time, also of one that cannot be used for work."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg import errors

from wvo_mcp.domain.finding import Finding, fail, ok
from wvo_mcp.domain.instant import instant
from wvo_mcp.errors import WvoError
from wvo_mcp.store.postgres.link import Link, conninfo, settle
from wvo_mcp.store.postgres.migrate import version
from wvo_mcp.store.postgres.presence import Presences
from wvo_mcp.store.postgres.rows import PostgresRows
from wvo_mcp.store.soundness import Chains, counters, miscounted, store_time
from wvo_mcp.store.sqlite.glance import HELD, Held
from wvo_mcp.store.versions import latest

SECONDS = 5
"""For each of the checks that read much."""


def examine(url: str) -> list[Finding]:
    """Every check that the database allows, in order; a check that cannot be made ends the list with its reason."""
    findings: list[Finding] = []
    try:
        link = Link(url)
    except WvoError as error:
        return [fail("database", error.message, error.hint)]
    try:
        with _looking(url) as raw:
            findings.append(_schema(raw, link.where))
            if findings[0].outcome == "fail" or version(raw) != latest():
                return findings
            for check in (_chains, _counters, _sessions, _leader, _time):
                with _one_view(raw) as rows:
                    findings.append(check(rows))
    except psycopg.Error as error:
        known = link.typed(error)
        findings.append(fail("database", known.message, known.hint))
    except WvoError as error:
        findings.append(fail("database", error.message, error.hint))
    return findings


def known_ids(url: str, wanted: Iterable[str]) -> set[str]:
    """Those of the ids that the store has; all of them when that cannot be told."""
    asked = sorted(set(wanted))
    try:
        with _looking(url) as raw, _one_view(raw) as rows:
            return {one for one in asked if rows.value("SELECT 1 FROM tasks WHERE id = ?", (one,))}
    except (psycopg.Error, WvoError):
        return set(asked)


def held_by(url: str, agent_id: str) -> list[Held]:
    """Tasks in progress of the agent, and those that others hold through a session of its own. Raises the driver's errors."""
    with _looking(url) as raw, _one_view(raw) as rows:
        return [Held(**row) for row in rows.all(HELD, {"agent_id": agent_id})]


@contextmanager
def _looking(url: str) -> Generator[psycopg.Connection[Any]]:
    with psycopg.connect(conninfo(url, application_name="wvo-mcp doctor")) as raw:
        settle(raw)
        raw.execute(f"SET statement_timeout = {SECONDS * 1_000}".encode(), prepare=False)
        yield raw


@contextmanager
def _one_view(raw: psycopg.Connection[Any]) -> Generator[PostgresRows]:
    raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", prepare=False)
    try:
        with raw.pipeline() as pipeline:
            yield PostgresRows(raw, pipeline)
    finally:
        raw.execute("ROLLBACK", prepare=False)


def _schema(raw: psycopg.Connection[Any], where: str) -> Finding:
    found, newest = version(raw), latest()
    server = raw.info.server_version // 10_000
    if found == 0:
        return ok("database", f"{where} (PostgreSQL {server}) is empty; the first server or command makes the tables")
    if found < newest:
        return ok("database", f"{where} has schema {found}; the next server moves it to {newest}")
    size = raw.execute("SELECT pg_database_size(current_database())", prepare=False).fetchone()
    return ok("database", f"{where}, PostgreSQL {server}, schema {found}, {(size or [0])[0] / 1e6:.1f} MB")


def _chains(rows: PostgresRows) -> Finding:
    chains = Chains(rows)
    try:
        return chains.follow(SECONDS)
    except errors.QueryCanceled:
        return chains.sound()


def _counters(rows: PostgresRows) -> Finding:
    try:
        return counters(miscounted(rows))
    except errors.QueryCanceled:
        return ok("counters", f"not recounted within {SECONDS} s: the store is too large")


def _sessions(rows: PostgresRows) -> Finding:
    """Servers that run, on all hosts, and sessions whose server is gone and whose tasks come back by themselves."""
    alive: Callable[[str], bool] = Presences(rows).alive
    open_ones = rows.all(
        "SELECT session_id, agent_id, host FROM sessions WHERE ended_at IS NULL AND durable = 0"
        " ORDER BY started_at DESC LIMIT 200"
    )
    living = [f"{row['agent_id']} on {row['host']}" for row in open_ones if alive(row["session_id"])]
    gone = len(open_ones) - len(living)
    found = f"{len(living)} servers connected" + (f": {', '.join(living[:8])}" if living else "")
    if gone:
        found += f"; {gone} ended without a word, their tasks come back after the grace"
    return ok("sessions", found)


def _time(rows: PostgresRows) -> Finding:
    return store_time(rows, rows.value("SELECT clock_timestamp()"))


def _leader(rows: PostgresRows) -> Finding:
    row = rows.one("SELECT session_id, expires_at FROM leaders WHERE role = 'background'")
    if row is None or row["session_id"] is None:
        return ok("leader", "none: no server has run yet, or all have ended")
    now: datetime = rows.value("SELECT clock_timestamp()")
    if instant(row["expires_at"]) > now and Presences(rows).alive(row["session_id"]):
        return ok("leader", f"session {row['session_id']}, until {row['expires_at']}")
    return ok("leader", "none at the moment; the next server takes over")
