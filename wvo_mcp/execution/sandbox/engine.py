"""The Docker engine: how it is reached, and whether it holds what a sandbox promises."""

import os
import socket
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wvo_mcp.domain.sandbox import IMAGE
from wvo_mcp.errors import NotConfigured

CALL_SECONDS = 60
"""For one call: on a machine that is busy a start takes seconds."""
_FACTS_SECONDS = 60.0
_OLDEST = "1.41"
"""What is asked before the engine's own version is known, without a version in the address."""
_SOCKET = Path("/var/run/docker.sock")
NOTHING_RAN = "Nothing was run: without its sandbox such code is refused."
HINT = f"{NOTHING_RAN} Start Docker, or set DOCKER_HOST, where this server is started; wvo-mcp doctor shows what is missing."


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Of an engine. `missing`: what it does not enforce, in words."""

    version: str
    api: str
    rootless: bool
    cgroups: str
    cpus: int
    missing: tuple[str, ...]


class Engine:
    """As `environ` names it; Docker's own variables hold. A client is one thread's."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._lock = threading.Lock()
        self._facts: Facts | None = None
        self._until = 0.0

    def seems_there(self) -> bool:
        """Without importing or asking anything."""
        return bool(self._environ.get("DOCKER_HOST")) or _SOCKET.exists()

    @property
    def socket(self) -> str:
        """Where it listens on this machine."""
        host = self._environ.get("DOCKER_HOST", "")
        return os.path.realpath(host.removeprefix("unix://") if host.startswith("unix://") else _SOCKET)

    @contextmanager
    def client(self) -> Generator[Any]:
        """For one thread. Raises NotConfigured for an engine that is away, also while it is used."""
        if not self.seems_there():
            raise NotConfigured(f"There is no Docker engine here: {_SOCKET} does not exist.", hint=HINT, part="Docker")
        import docker  # a third of a second, for those who run something in a container
        from docker.errors import DockerException
        from docker.utils import kwargs_from_env
        from requests import RequestException

        self._knock()
        given = {name: self._environ[name] for name in self._environ if name.startswith("DOCKER_")}
        clients: list[Any] = []

        def made(version: str) -> Any:
            try:
                clients.append(docker.APIClient(**kwargs_from_env(given), version=version, timeout=CALL_SECONDS))
            except ValueError as error:
                raise DockerException(f"DOCKER_HOST: {error}") from None
            return clients[-1]

        try:
            if self._facts is None:  # a constructor that asks by itself leaves its connection open when it fails
                yield made(str(made(_OLDEST).version(api_version=False)["ApiVersion"]))
            else:
                yield made(self._facts.api)
        except (DockerException, RequestException, OSError) as error:
            self._facts = None
            raise NotConfigured(f"The Docker engine: {said(error)}", hint=HINT, part="Docker") from None
        finally:
            for one in clients:
                one.close()

    def _knock(self) -> None:
        """Says at once what is wrong with a socket of this machine. Raises NotConfigured."""
        if self._environ.get("DOCKER_HOST", "unix://").startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as there:
                there.settimeout(CALL_SECONDS)
                try:
                    there.connect(self.socket)
                except OSError as error:
                    text = f"The Docker engine: {self.socket}: {error.strerror or error}"
                    raise NotConfigured(text, hint=HINT, part="Docker") from None

    def facts(self, client: Any) -> Facts:
        """At most a minute old."""
        with self._lock:
            if self._facts is None or time.monotonic() > self._until:
                self._facts = _facts(client.info(), str(client.api_version))
                self._until = time.monotonic() + _FACTS_SECONDS
            return self._facts

    def examined(self) -> tuple[Facts, bool]:
        """What doctor shows; and is our image there? Raises NotConfigured."""
        with self.client() as client:
            return self.facts(client), image_of(client, IMAGE) is not None


def _facts(info: Mapping[str, Any], api: str) -> Facts:
    security = [str(one) for one in info.get("SecurityOptions") or ()]
    missing = [
        words
        for key, words in (
            ("MemoryLimit", "the limit of memory"),
            ("SwapLimit", "the limit of swap"),
            ("CpuCfsQuota", "the limit of CPU"),
            ("PidsLimit", "the limit of processes"),
        )
        if not info.get(key)
    ]
    seccomp = next((one for one in security if one.startswith("name=seccomp")), "")
    if not seccomp or "unconfined" in seccomp:
        missing.append("a seccomp profile")
    if info.get("OSType") != "linux":
        missing.append("containers of Linux")
    return Facts(
        version=str(info.get("ServerVersion", "")),
        api=api,
        rootless=any(one.startswith("name=rootless") for one in security),
        cgroups=f"v{info.get('CgroupVersion') or '?'}",
        cpus=int(info.get("NCPU") or 1),
        missing=tuple(missing),
    )


@dataclass(frozen=True, slots=True)
class Image:
    """`volumes`: folders for which the engine would make room on the disk of this machine."""

    id: str
    volumes: tuple[str, ...] = field(default=())


def image_of(client: Any, name: str) -> Image | None:
    """None when the engine does not have it. Nothing is pulled."""
    from docker.errors import ImageNotFound

    try:
        found: Any = client.inspect_image(name)
    except ImageNotFound:
        return None
    config: dict[str, Any] = found["Config"] or {}
    return Image(found["Id"], tuple(config.get("Volumes") or {}))


def said(error: Exception) -> str:
    """The engine's own words, or those of the connection to it, in one line."""
    text = getattr(error, "explanation", None) or str(error)
    return " ".join((text.decode(errors="replace") if isinstance(text, bytes) else str(text)).split())[:500]
