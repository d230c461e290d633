"""PostgreSQL's own client programs: found, run under a deadline, never outliving us."""

import os
import re
import shutil
import threading
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from wvo_mcp.errors import IncompatibleStore, StoreUnavailable
from wvo_mcp.processes import Limit, NotStarted, Program, run_blocking
from wvo_mcp.store.backups import Stopped
from wvo_mcp.store.postgres.address import Address

_SECONDS = 3_600.0
_KEPT_BYTES = 1 << 26
_PLACES = ((Path("/usr/lib/postgresql"), "*"), (Path("/opt/homebrew/opt"), "postgresql@*"))


def run(name: str, *arguments: str, url: str | None = None, major_of: str | None = None,
        stop: threading.Event | None = None, damaged: Path | None = None) -> str:  # fmt: skip
    """What the program printed; of the version of the server at `url` or `major_of`. Raises StoreUnavailable, or
    IncompatibleStore when `damaged` names the file at fault, and Stopped."""
    environ: dict[str, str] = {**os.environ, "LC_ALL": "C", "PGAPPNAME": f"wvo-mcp {name}"}
    major = None
    if server := major_of or url:
        with Address(server).session() as raw:
            major = raw.info.server_version // 10_000
    command = [str(program(name, major)), *arguments]
    if url is not None:
        given: dict[str, Any] = conninfo_to_dict(url)
        password = given.pop("password", None)
        if password is not None:  # by the environment, where other users do not see it
            environ["PGPASSWORD"] = str(password)
        command.insert(1, f"--dbname={make_conninfo(**given)}")
    try:
        ended = run_blocking(
            Program(argv=command, env=environ, deadline=_SECONDS, stop=stop, ends_with_us=True), _KEPT_BYTES
        )
    except NotStarted as error:
        raise StoreUnavailable(f"{name} cannot be started: {error}.") from error
    if ended.limit is Limit.STOPPED:
        raise Stopped
    if ended.limit is not None:
        raise StoreUnavailable(f"{name} did not end within {_SECONDS:.0f} s.")
    if ended.code == 0:
        return ended.stdout.decode(errors="replace")
    said = ended.stderr.decode(errors="replace")
    reason = next((line for line in said.splitlines() if "error" in line.lower()), said.strip() or "no reason given")
    if damaged is not None:
        raise IncompatibleStore(f"{damaged.name} cannot be used: {reason}.", hint="Use an older backup (backup_list).")
    raise StoreUnavailable(f"{name} failed: {reason}", cause=reason)


def restore(
    dump: Path, kept: Path, script: Path, first: str, last: str, url: str, stop: threading.Event | None = None
) -> None:
    """Everything of `dump` that the list `kept` names, between the statements `first` and `last`, in one transaction of
    psql. Raises as `run`; `script` is left to the caller.

    pg_restore on its own drops only what the dump knows, which leaves what later versions made; and it commits before
    anything else can be done. So it writes a script, and psql runs that only when it is whole.
    """
    wanted = ("--clean", "--if-exists", "--no-owner", "--no-privileges", f"--use-list={kept}")
    run("pg_restore", *wanted, f"--file={script}", str(dump), major_of=url, stop=stop)
    parts = ("-c", first or ";", "-f", str(script), "-c", last)
    run("psql", "-X", "-q", "--single-transaction", "-v", "ON_ERROR_STOP=1", *parts, url=url, stop=stop)


def program(name: str, major: int | None = None) -> Path:
    """The one of the server's version, or the newest here: a pg_dump that is older than the server refuses, and what a
    newer pg_restore sets at first an older server does not know. Raises StoreUnavailable."""
    usual = [path for place, pattern in _PLACES for path in place.glob(f"{pattern}/bin/{name}")]
    found = sorted((int("0" + "".join(re.findall(r"\d+", path.parts[-3]))), path) for path in usual)
    on_path = shutil.which(name)
    if found:
        return next((path for version, path in reversed(found) if version == major), found[-1][1])
    if on_path:
        return Path(on_path)
    raise StoreUnavailable(
        f"{name} was not found; backups of a PostgreSQL store are made with it.",
        hint="Install PostgreSQL's client programs (Debian: postgresql-client).",
    )
