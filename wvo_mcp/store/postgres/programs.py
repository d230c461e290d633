"""PostgreSQL's own client programs: found, run under a deadline, never outliving us."""

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from wvo_mcp.errors import IncompatibleStore, StoreUnavailable
from wvo_mcp.store.backup_making import Stopped
from wvo_mcp.store.postgres.link import Link, conninfo

_SECONDS = 3_600.0
_CHUNK = 1 << 16
_PR_SET_PDEATHSIG = 1
_libc: ctypes.CDLL | None = ctypes.CDLL(None) if sys.platform == "linux" else None
_PLACES = ((Path("/usr/lib/postgresql"), "*"), (Path("/opt/homebrew/opt"), "postgresql@*"))


def run(name: str, *arguments: str, url: str | None = None, stop: threading.Event | None = None,
        damaged: Path | None = None) -> str:  # fmt: skip
    """What the program printed. Raises StoreUnavailable, or IncompatibleStore when `damaged` names the file at fault, and
    Stopped."""
    child = _started(name, arguments, url, subprocess.DEVNULL)
    try:
        out, err = _ended(child, name, stop)
    finally:
        if child.poll() is None:
            child.kill()
            child.communicate()
    if child.returncode == 0:
        return out.decode(errors="replace")
    raise _failure(name, err.decode(errors="replace"), damaged)


def restore(dump: Path, kept: Path, first: str, last: str, url: str) -> None:
    """Everything of `dump` that the list `kept` names, between the statements `first` and `last`, in one transaction of
    psql. Raises as `run`.

    pg_restore on its own drops only what the dump knows, which leaves what later versions made; and it commits before
    anything else can be done. So its script is passed on, and the COMMIT is sent only when it has ended well: whichever
    of the programs dies, the server undoes all of it.
    """
    script = _started(
        "pg_restore", ("--clean", "--if-exists", "--no-owner", "--no-privileges", f"--use-list={kept}", "--file=-", str(dump)),
        None, subprocess.DEVNULL, major_of=url,
    )  # fmt: skip
    psql = _started("psql", ("-X", "-q", "-v", "ON_ERROR_STOP=1", "--file=-"), url, subprocess.PIPE)
    complaints: list[bytes] = []

    def listen(stream: IO[bytes]) -> None:
        complaints.append(stream.read())

    heard = [stream for stream in (script.stderr, psql.stderr, psql.stdout) if stream is not None]
    listening = [threading.Thread(target=listen, args=(stream,), daemon=True) for stream in heard]
    for thread in listening:
        thread.start()
    with script, psql:
        try:
            _pass_on(script, psql, first, last)
            psql.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            raise StoreUnavailable(f"psql did not end within {_SECONDS:.0f} s.") from None
        finally:
            for child in (script, psql):
                if child.poll() is None:
                    child.kill()
            for thread in listening:
                thread.join()
    if script.returncode != 0 or psql.returncode != 0:
        raise _failure("pg_restore", b"\n".join(complaints).decode(errors="replace"), None)


def _pass_on(script: subprocess.Popen[bytes], psql: subprocess.Popen[bytes], first: str, last: str) -> None:
    if script.stdout is None or psql.stdin is None:
        raise RuntimeError("both ends are pipes")
    try:
        with psql.stdin as sink:
            sink.write(f"BEGIN;\n{first}\n".encode())
            while chunk := script.stdout.read(_CHUNK):
                sink.write(chunk)
            if script.wait(_SECONDS) == 0:
                sink.write(f"\n{last}\nCOMMIT;\n".encode())
    except BrokenPipeError:
        pass  # psql has met an error and says which


def program(name: str, major: int | None = None) -> Path:
    """The one of the server's version, or the newest here: a pg_dump that is older than the server refuses, and what a
    newer pg_restore sets at first an older server does not know. Raises StoreUnavailable."""
    usual = [path for place, pattern in _PLACES for path in place.glob(f"{pattern}/bin/{name}")]
    found = sorted((int("0" + "".join(re.findall(r"\d+", path.parts[-3]))), path) for path in usual)
    of_server = [path for version, path in found if version == major]
    on_path = shutil.which(name)
    if of_server:
        return of_server[-1]
    if found:
        return found[-1][1]
    if on_path:
        return Path(on_path)
    raise StoreUnavailable(
        f"{name} was not found; backups of a PostgreSQL store are made with it.",
        hint="Install PostgreSQL's client programs (Debian: postgresql-client).",
    )


def _major(url: str) -> int:
    try:
        with psycopg.connect(conninfo(url)) as raw:
            return raw.info.server_version // 10_000
    except psycopg.Error as error:
        raise Link(url).typed(error) from error


def _started(
    name: str, arguments: tuple[str, ...], url: str | None, stdin: int, major_of: str | None = None
) -> subprocess.Popen[bytes]:
    """The password goes by the environment, where other users do not see it."""
    environ: dict[str, str] = {**os.environ, "LC_ALL": "C", "PGAPPNAME": f"wvo-mcp {name}"}
    server = url or major_of
    command = [str(program(name, None if server is None else _major(server))), *arguments]
    if url is not None:
        given: dict[str, Any] = conninfo_to_dict(url)
        password = given.pop("password", None)
        if password is not None:
            environ["PGPASSWORD"] = str(password)
        command.insert(1, f"--dbname={make_conninfo(**given)}")
    return subprocess.Popen(  # noqa: S603 - PostgreSQL's own programs, without a shell
        command, env=environ, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=_end_with(os.getpid()),
    )  # fmt: skip


def _failure(name: str, said: str, damaged: Path | None) -> IncompatibleStore | StoreUnavailable:
    lines = said.splitlines()
    reason = next((line for line in lines if "error" in line.lower()), said.strip() or "no reason given")
    if damaged is not None:
        return IncompatibleStore(f"{damaged.name} cannot be used: {reason}.", hint="Use an older backup (backup_list).")
    return StoreUnavailable(f"{name} failed: {reason}", cause=reason)


def _end_with(parent: int) -> Callable[[], None] | None:
    """For a new process, so that it does not outlive this one, however this one ends; Linux only.

    It runs between fork and exec beside other threads: nothing is imported or locked there.
    """
    if _libc is None:
        return None
    prctl = _libc.prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return ask


def _ended(child: subprocess.Popen[bytes], name: str, stop: threading.Event | None) -> tuple[bytes, bytes]:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            return child.communicate(timeout=0.2)
        except subprocess.TimeoutExpired:
            if stop is not None and stop.is_set():
                raise Stopped from None
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"{name} did not end within {_SECONDS:.0f} s.") from None
