"""Backups of a PostgreSQL store by the server's own programs."""

import os
import re
import threading
from datetime import datetime
from pathlib import Path

from wvo_mcp.domain.finding import Finding, warn
from wvo_mcp.errors import IncompatibleStore, StoreUnavailable
from wvo_mcp.store.backup_folder import BackupFolder, what_could_be_restored
from wvo_mcp.store.backup_making import FolderBackups
from wvo_mcp.store.postgres import programs
from wvo_mcp.store.postgres.address import Address
from wvo_mcp.store.versions import migrations

_NEEDED = {"store", "tasks", "events"}


class PostgresBackups(FolderBackups):
    """`ports.Backups` of the schema that a URL leads to. The files stand on this machine."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(folder, "dump")
        self._url = url

    def copied(self, partial: Path, stop: threading.Event) -> None:
        self.dump(partial, stop)
        verify(partial, stop)

    def check(self, path: Path, stop: threading.Event) -> None:
        verify(path, stop)

    def dump(self, target: Path, stop: threading.Event) -> None:
        schema = own_schema(self._url)
        programs.run(
            "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--schema={schema}",
            f"--file={target}", url=self._url, stop=stop,
        )  # fmt: skip


def own_schema(url: str) -> str:
    """The schema of the store. Raises IncompatibleStore when others have tables there: a restore would undo their work."""
    with Address(url).session() as raw:
        schema, tables = raw.execute(
            """
            SELECT current_schema()::TEXT, coalesce(string_agg(relname, ','), '') FROM pg_class
            WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
            """
        ).fetchone() or ("", "")
    strangers = sorted({*tables.split(",")} - {""} - our_tables())
    if strangers:
        raise IncompatibleStore(
            f"The schema {schema} has tables of others: {', '.join(strangers[:5])}.",
            hint="Give wvo-mcp a database or schema of its own, and move it there with wvo-mcp store copy; until then back"
            " up the whole database with its own means.",
        )
    return str(schema)


def our_tables() -> set[str]:
    """Names of the tables that any version of this program has made."""
    scripts = "".join(script for _, script in migrations("postgres"))
    return set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", scripts))


def verify(path: Path, stop: threading.Event | None = None) -> None:
    """All of it is read and unpacked. Raises IncompatibleStore."""
    found = programs.run("pg_restore", "--list", str(path), stop=stop, damaged=path)
    held = {line.split()[6] for line in found.splitlines() if " TABLE DATA " in line}
    if not held >= _NEEDED:
        raise IncompatibleStore(
            f"{path.name} cannot be used: it is not a store of wvo-mcp.", hint="Use an older backup (backup_list)."
        )
    programs.run("pg_restore", f"--file={os.devnull}", str(path), stop=stop, damaged=path)


def examine(folder: Path, now: datetime) -> Finding:
    """What could be restored, and whether backups can be made here at all."""
    found = what_could_be_restored(BackupFolder(folder, "dump"), now)
    try:
        for name in ("pg_dump", "pg_restore", "psql"):
            programs.program(name)
    except StoreUnavailable as error:
        return warn("backups", f"{error.message.rstrip('.')} (in {folder}: {found.found})", error.hint)
    return found
