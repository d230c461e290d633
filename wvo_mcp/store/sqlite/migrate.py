"""Schema migrations: numbered SQL files, forward only. `PRAGMA user_version` is the number of the last one applied."""

from pathlib import Path

from wvo_mcp.errors import IncompatibleStore
from wvo_mcp.store import versions
from wvo_mcp.store.sql import Rows
from wvo_mcp.store.sqlite.connection import APPLICATION_ID, OLDEST_SQLITE, Connection, check_ours, no_database, sqlite

_HEADER = b"SQLite format 3\x00"


def check_library() -> None:
    """Raises IncompatibleStore when it is too old."""
    if sqlite.sqlite_version_info < OLDEST_SQLITE:
        raise IncompatibleStore(
            f"SQLite {sqlite.sqlite_version} can lose commits when several processes share a file.",
            hint=f"Install pysqlite3 with SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer: pip install --upgrade pysqlite3",
        )


def check_file(path: Path) -> None:
    """Raises IncompatibleStore when the library is too old or `path` is something else than a SQLite file."""
    check_library()
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(16)
        if head and head != _HEADER:
            raise no_database(path)


async def migrate(connection: Connection) -> None:
    """Bring the schema up to date. Raises IncompatibleStore for a newer or foreign database."""

    async def apply(rows: Rows) -> None:
        apply_migrations(rows, await _version(rows))  # another server may have been faster

    if await connection.read(_version) < versions.latest():
        await connection.write(apply)


def apply_migrations(rows: Rows, present: int) -> None:
    """Those that follow the version `present`, within a transaction."""
    for number, script in versions.migrations():
        if number > present:
            for statement in statements(script):
                rows.run(statement)
            rows.run("UPDATE store SET schema = ?", (number,))
            rows.run(f"PRAGMA user_version = {number}")
    rows.run(f"PRAGMA application_id = {APPLICATION_ID}")


async def _version(rows: Rows) -> int:
    version = int(rows.value("PRAGMA user_version"))
    check_ours(rows)
    versions.refuse_newer("The database", version)
    return version


def statements(script: str) -> list[str]:
    """The script cut into single statements; triggers, with their inner semicolons, stay whole."""
    found: list[str] = []
    pending = ""
    for line in script.splitlines(keepends=True):
        if not pending and (not line.strip() or line.lstrip().startswith("--")):
            continue
        pending += line
        if line.rstrip().endswith(";") and sqlite.complete_statement(pending):
            found.append(pending)
            pending = ""
    if pending.strip():
        raise ValueError(f"unfinished statement in a migration: {pending[:80]}")
    return found
