"""Several hosts on one machine: network namespaces on a bridge, and a database server in one of its own.

Nothing of it touches the machine's network: bridge, cables and addresses are within the namespaces. Links can be cut.
"""

import os
import shutil
import subprocess
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.postgres import Cluster

PREFIX = "wvo-test"
NETWORK = "10.213.77"
_IP = shutil.which("ip", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or "ip"


def why_missing() -> str | None:
    """Why there are no namespaces here, or None."""
    if os.getuid() != 0:
        return "network namespaces need root"
    name = f"{PREFIX}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "del", name)
    except (OSError, subprocess.CalledProcessError) as error:
        told = error.stderr if isinstance(error, subprocess.CalledProcessError) else error
        return f"network namespaces cannot be made here: {told}"
    return None


def need(reason: str | None) -> None:
    """Skip the test when there is a reason; on a build server that is a failure."""
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


class Hosts:
    """`count` hosts, each with a link to the middle, in which the database lives. `close` removes everything."""

    def __init__(self, count: int) -> None:
        _sweep()
        run = f"{PREFIX}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self.middle = f"{run}-m"
        self.names = [f"{run}-{number}" for number in range(1, count + 1)]
        self.address = f"{NETWORK}.1"
        """Of the database's host."""
        self.cuts = 0
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        for name in (self.middle, *self.names):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", self.middle, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self.middle, "addr", "add", f"{self.address}/24", "dev", "bridge")
        _ip("-n", self.middle, "link", "set", "bridge", "up")
        for number, name in enumerate(self.names):
            cable = f"cable{number}"
            _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", cable, "netns", self.middle)
            _ip("-n", self.middle, "link", "set", cable, "master", "bridge", "up")
            _ip("-n", name, "addr", "add", f"{NETWORK}.{number + 11}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")

    def enter(self, number: int) -> tuple[str, ...]:
        """The command that runs another on a host, in the same process."""
        return (_IP, "netns", "exec", self.names[number])

    def cut(self, number: int) -> None:
        """From now on nothing comes through between this host and the database, and nobody is told."""
        self.cuts += 1
        _ip("-n", self.middle, "link", "set", f"cable{number}", "down")

    def mend(self, number: int) -> None:
        _ip("-n", self.middle, "link", "set", f"cable{number}", "up")

    @contextmanager
    def database(self) -> Generator[tuple[str, str]]:
        """URLs of a fresh database on a server in the middle: for the hosts, and for this process over a socket."""
        cluster = Cluster.make(addresses=(self.address,), enter=(_IP, "netns", "exec", self.middle))
        try:
            with cluster.database(host=self.address) as url:
                name = url.rsplit("/", 1)[-1]
                yield url, f"postgresql://wvo@/{name}?host={cluster.folder}&port={cluster.port}"
        finally:
            cluster.close()

    def close(self) -> None:
        for name in (*self.names, self.middle):
            _remove(name)


def _ip(*arguments: str) -> str:
    return subprocess.run([_IP, *arguments], check=True, capture_output=True, text=True, timeout=20).stdout


def _remove(name: str) -> None:
    if Path("/run/netns", name).exists():
        _ip("netns", "del", name)


def _sweep() -> None:
    """Remove what killed runs left."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0] if line.split() else ""
        parts = name.removeprefix(f"{PREFIX}-").split("-")
        if name.startswith(f"{PREFIX}-") and parts[0].isdigit() and not psutil.pid_exists(int(parts[0])):
            _remove(name)


@pytest.fixture
def hosts() -> Generator[Hosts]:
    """Three hosts around a database."""
    need(why_missing())
    made = Hosts(3)
    yield made
    made.close()
