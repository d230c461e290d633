"""A look at a store without opening it for work: read-only, no migration, no thread, few imports."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from pysqlite3 import dbapi2 as sqlite  # pyright: ignore

_WAIT_SECONDS = 1.0

HELD = """
SELECT id, title, lease_token AS token, lease_expires_at AS until FROM tasks
WHERE status = 'in_progress' AND assigned_to = :agent_id
UNION
SELECT t.id, t.title, t.lease_token, t.lease_expires_at
FROM tasks AS t JOIN sessions AS s ON s.session_id = t.session_id
WHERE t.status = 'in_progress' AND s.agent_id = :agent_id AND s.ended_at IS NULL
ORDER BY id LIMIT 20
"""
ASKED = """
SELECT message_id AS id, from_agent AS sender, substr(body, 1, 300) AS body FROM messages
WHERE to_agent = :agent_id AND acked_at IS NULL AND needs_answer = 1 ORDER BY seq LIMIT 3
"""
_driver = cast(Any, sqlite)


@dataclass(frozen=True, slots=True)
class Held:
    """A task in progress; `until` is when its lease ends, ISO 8601."""

    id: str
    title: str
    token: int
    until: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that waits for the agent's answer."""

    id: str
    sender: str
    body: str


@contextmanager
def read_only(path: Path) -> Generator[Any]:
    """A raw connection that cannot write. Raises the driver's errors."""
    # Nothing may be written beside the file either where the folder is read-only and no log waits to be read.
    log = path.with_name(path.name + "-wal")
    settled = not (log.exists() and log.stat().st_size)
    locked = settled and not os.access(path.parent, os.W_OK)
    raw = _driver.connect(
        f"file:{quote(str(path))}?mode=ro{'&immutable=1' if locked else ''}",
        uri=True,
        isolation_level=None,
        timeout=_WAIT_SECONDS,
    )
    try:
        raw.execute("PRAGMA query_only = 1")
        yield raw
    finally:
        raw.close()


def held_by(path: Path, agent_id: str) -> list[Held]:
    """Tasks in progress of the agent, and those that others hold through a session of its own; none without a store.

    Raises the driver's errors.
    """
    if not path.is_file():
        return []
    with read_only(path) as raw:
        rows = raw.execute(HELD, {"agent_id": agent_id})
        return [Held(*row) for row in rows]


def asked_of(path: Path, agent_id: str) -> list[Asked]:
    """The oldest questions that wait for the agent's answer; none without a store. Raises the driver's errors."""
    if not path.is_file():
        return []
    with read_only(path) as raw:
        return [Asked(*row) for row in raw.execute(ASKED, {"agent_id": agent_id})]
