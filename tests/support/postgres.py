"""Real PostgreSQL for tests: private clusters in temporary folders, gone when their test process is, however it ends.

A cluster listens on a free port of 127.0.0.1 and on a socket in its folder. It does not sync (`fsync = off`): what a
killed server had written survives, a power cut would not. A drill on durability asks for `fsync="on"`.
"""

import fcntl
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg

from tests.support import postgres_guard
from tests.support.waiting import eventually

LOOPBACK = ("127.0.0.1",)
PROGRAMS = ("initdb", "pg_ctl", "postgres")
FOLDER_PREFIX = "wvo-postgres-"
UNPRIVILEGED = "postgres"  # initdb refuses root; Debian's package brings this user

SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "max_wal_size": "256MB",
    "dynamic_shared_memory_type": "mmap",  # /dev/shm is tiny in containers
    "log_line_prefix": "%m [%p] ",
    "timezone": "UTC",
}


def programs_folder() -> Path | None:
    """Where the server's programs are: WVO_TEST_POSTGRES, else the newest of the usual places, else the PATH."""
    told = os.environ.get("WVO_TEST_POSTGRES")
    if told:
        return Path(told)
    usual = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/opt/homebrew/opt").glob("postgresql@*/bin")]
    on_path = shutil.which("initdb")
    found = sorted(usual, key=_version, reverse=True) + ([Path(on_path).resolve().parent] if on_path else [])
    return next((folder for folder in found if all((folder / name).exists() for name in PROGRAMS)), None)


def _version(folder: Path) -> int:
    numbers = re.findall(r"\d+", str(folder))
    return int(numbers[-1]) if numbers else 0


def why_missing() -> str | None:
    """Why there is no PostgreSQL server here, or None when there is one."""
    if programs_folder() is not None:
        return None
    told = [line for line in os.environ.get("WVO_TEST_MISSING", "").split("\n") if line.startswith("postgresql:")]
    return told[0] if told else "postgresql: its server programs were not found; ./scripts/test installs them"


class Cluster:
    """A PostgreSQL server with a data folder of its own. `Cluster.make()` starts one; `close` stops and removes it.

    Databases belong to the role `wvo`, which is no superuser. `folder` holds `data`, `log` and the socket.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._lifeline: int | None = None

    @classmethod
    def make(cls, *, addresses: Sequence[str] = LOOPBACK, enter: Sequence[str] = (), **settings: str) -> Self:
        """A running cluster that lives no longer than this process. `settings` are those of postgresql.conf.

        `addresses` are what it listens on. `enter` is a command that runs the server elsewhere, such as
        `ip netns exec NAME`; it replaces itself with what follows it.
        """
        sweep()
        cluster = cls(new_folder())
        try:
            cluster._lifeline = postgres_guard.hold(cluster.folder)
            start_guard(cluster.folder)
            cluster._prepare(addresses, enter, settings)
        except BaseException:
            cluster.close()
            raise
        return cluster

    @classmethod
    def shared(cls, folder: Path) -> Self:
        """The cluster in a folder of which somebody else holds the lifeline; the first to ask makes it."""
        cluster = cls(folder)
        ready = folder / "ready"
        with (folder / "making").open("w") as making:
            fcntl.flock(making, fcntl.LOCK_EX)
            if ready.exists():
                cluster.port = int(ready.read_text())
            else:
                start_guard(folder)
                cluster._prepare(LOOPBACK, (), {})
                ready.write_text(str(cluster.port))
        return cluster

    def _prepare(self, addresses: Sequence[str], enter: Sequence[str], settings: Mapping[str, str]) -> None:
        data = self.folder / "data"
        self._run(
            "initdb", "--pgdata", data, "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale",
            "--no-sync", "--no-instructions",
        )  # fmt: skip
        (self.folder / "enter").write_text("\n".join(enter))
        with (data / "pg_hba.conf").open("a") as access:
            access.writelines(f"host all all {address}/16 trust\n" for address in addresses)
        with (data / "postgresql.conf").open("a") as conf:
            conf.write("include 'test.conf'\ninclude_if_exists 'asked.conf'\n")
        for _ in range(5):
            self.port = _free_port()
            own = {
                "port": str(self.port),
                "listen_addresses": ",".join(addresses),
                "unix_socket_directories": str(self.folder),
            }
            _write_settings(data / "test.conf", {**SETTINGS, **settings, **own})
            with suppress(PortTaken):
                self.start()
                break
        else:
            raise RuntimeError(f"no free port was found; {self.log()}")
        self.sql("CREATE ROLE wvo LOGIN PASSWORD 'secret'")

    def url(self, database: str, *, host: str = "127.0.0.1", user: str = "wvo:secret") -> str:
        return f"postgresql://{user}@{host}:{self.port}/{database}"

    @property
    def admin_url(self) -> str:
        """For the superuser, over the socket."""
        return f"postgresql://postgres@/postgres?host={self.folder}&port={self.port}"

    def sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """Rows of a statement of the superuser, outside of a transaction."""
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), params or None)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self, *, host: str = "127.0.0.1") -> Generator[str]:
        """The URL of a fresh, empty database; it is dropped afterwards, whoever is still connected."""
        name = f"test_{uuid.uuid4().hex[:16]}"
        self.sql(f"CREATE DATABASE {name} OWNER wvo TEMPLATE template0")
        try:
            yield self.url(name, host=host)
        finally:
            # A drill may have left the cluster stopped.
            with suppress(psycopg.OperationalError):
                self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @property
    def running(self) -> bool:
        return self._postmaster() is not None

    def start(self) -> None:
        """Start the stopped server on its old port; returns when it accepts connections."""
        try:
            enter = (self.folder / "enter").read_text().split()
            self._run(
                "pg_ctl", "start", "--pgdata", self.folder / "data", "--log", self.folder / "log", "--wait",
                "--timeout=200", "--silent", enter=enter,
            )  # fmt: skip
        except RuntimeError as error:
            if "could not bind" in self.log():
                (self.folder / "log").unlink()
                raise PortTaken(str(error)) from error
            raise RuntimeError(f"{error}\n{self.log()}") from error

    def stop(self, mode: str = "fast") -> None:
        """`smart` waits for the clients, `fast` ends them, `immediate` leaves the log to be recovered."""
        self._run("pg_ctl", "stop", "--pgdata", self.folder / "data", "--mode", mode, "--wait", "--silent")

    def restart(self, mode: str = "fast", **settings: str) -> None:
        """Stop (when it runs) and start on the same port, with `settings` changed from then on."""
        if settings:
            _write_settings(self.folder / "data" / "asked.conf", settings)
        if self.running:
            self.stop(mode)
        self.start()

    def kill(self) -> None:
        """SIGKILL to every process of the server at once, as a dying machine does. `start` recovers."""
        postmaster = self._postmaster()
        assert postmaster is not None, "the cluster is not running"
        postmaster.suspend()
        doomed = [*postmaster.children(recursive=True), postmaster]
        for process in doomed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        _, alive = psutil.wait_procs(doomed, timeout=120)
        assert not alive, alive

    def log(self) -> str:
        """What the server logged."""
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""

    def close(self) -> None:
        """Stop the server and remove its folder; the guard does it, as it would had this process been killed."""
        if self._lifeline is None:
            return
        os.close(self._lifeline)
        self._lifeline = None
        eventually(lambda: not self.folder.exists(), 120)

    def _postmaster(self) -> psutil.Process | None:
        pid = postgres_guard.postmaster(self.folder)
        return None if pid is None else psutil.Process(pid)

    def _run(self, program: str, *arguments: object, enter: Sequence[str] = ()) -> None:
        folder = programs_folder()
        assert folder is not None, why_missing()
        command = [str(folder / program), *map(str, arguments)]
        if os.getuid() == 0:
            # To enter a network namespace takes root.
            command = ["setpriv", f"--reuid={UNPRIVILEGED}", f"--regid={UNPRIVILEGED}", "--clear-groups", *command]
        done = subprocess.run(
            [*enter, *command],
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=240,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout.decode(errors='replace')}")


class PortTaken(Exception):
    """Somebody took the port between its choice and the start."""


def new_folder() -> Path:
    """Where a cluster may live: a short path (sockets), open to the unprivileged user."""
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
    if os.getuid() == 0:
        shutil.chown(folder, UNPRIVILEGED)
    return folder


def start_guard(folder: Path) -> None:
    """Start the process that removes the cluster when nobody holds its lifeline any more."""
    subprocess.run(
        [sys.executable, "-I", "-S", postgres_guard.__file__, folder],
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=True,
    )


def sweep() -> None:
    """Remove clusters whose tests and guards were both killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError):
            old = time.time() - folder.stat().st_mtime > 60  # a younger one may not have its lifeline yet
            if old and postgres_guard.is_abandoned(folder):
                postgres_guard.remove(folder)


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def _write_settings(path: Path, settings: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name} = '{value}'\n" for name, value in settings.items()))
    if os.getuid() == 0:
        shutil.chown(path, UNPRIVILEGED)
