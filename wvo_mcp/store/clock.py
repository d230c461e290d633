"""The store's time: never behind its latest event, and steady when the machine's clock jumps.

Leases of several processes are compared with each other, so all of them take their time from one place: the machine's
steady clock plus an offset kept in the store. A wall clock that jumps forward moves the offset and all leases with it,
so that no lease is lost by it; one that jumps back is not followed until it has caught up.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.errors import IncompatibleStore
from wvo_mcp.ports import Clock
from wvo_mcp.store.sql import Rows

JUMP_MS = 2_000
"""A larger difference between wall and steady clock is a jump; a smaller one is drift."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


HEAD = """
SELECT schema, boot, clock_offset_ms, (SELECT max(seq) FROM events) AS seq,
  (SELECT at FROM events WHERE seq > 0 ORDER BY seq DESC LIMIT 1) AS latest
FROM store WHERE id = 1"""
"""What every transaction reads first."""


def checked(head: dict[str, Any] | None, schema: int) -> dict[str, Any]:
    """The head as it was read. Raises IncompatibleStore when a newer program has changed the schema meanwhile."""
    if head is None or head["schema"] > schema:
        found = None if head is None else head["schema"]
        raise IncompatibleStore(
            f"The database was moved to schema {found} by a newer program; this one knows {schema}.",
            hint="Restart this server with the newer wvo-mcp.",
        )
    return head


def store_time(rows: Rows, head: dict[str, Any], clock: Clock, *, write: bool) -> datetime:
    """The time of this transaction by this machine's clocks."""
    wall = _ms(clock.now())
    steady = int(clock.steady() * 1000)
    floor = 0 if head["latest"] is None else _ms(instant(head["latest"]))
    if head["boot"] != clock.boot():
        now = max(wall, floor)
        if write:
            rows.put("UPDATE store SET boot = ?, clock_offset_ms = ?", (clock.boot(), now - steady))
        return _at(now)
    now = steady + int(head["clock_offset_ms"])
    ahead = wall - now
    if ahead > JUMP_MS and write:
        rows.put("UPDATE store SET clock_offset_ms = clock_offset_ms + ?", (ahead,))
        _shift_leases(rows, ahead)
    return _at(max(wall, now, floor))


def database_time(head: dict[str, Any]) -> datetime:
    """The time of this transaction by the database's clock, `now_ms`: the same for servers on all hosts."""
    floor = 0 if head["latest"] is None else _ms(instant(head["latest"]))
    return _at(max(int(head["now_ms"]), floor))


def _shift_leases(rows: Rows, ahead_ms: int) -> None:
    held = rows.all("SELECT id, lease_expires_at FROM tasks WHERE status = 'in_progress' AND lease_expires_at > ''")
    ahead = timedelta(milliseconds=ahead_ms)
    for task in held:
        rows.put(
            "UPDATE tasks SET lease_expires_at = ? WHERE id = ?",
            (iso(instant(task["lease_expires_at"]) + ahead), task["id"]),
        )
    for leader in rows.all("SELECT role, expires_at FROM leaders WHERE role > ''"):
        until = iso(instant(leader["expires_at"]) + ahead)
        rows.put("UPDATE leaders SET expires_at = ? WHERE role = ?", (until, leader["role"]))


def _ms(at: datetime) -> int:
    return round((at - _EPOCH).total_seconds() * 1000)


def _at(ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=ms)
