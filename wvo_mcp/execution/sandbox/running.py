"""One container for each run: made, watched and removed in a thread, with the `docker` package."""

import io
import logging
import os
import shlex
import socket
import tarfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from anyio import CapacityLimiter, to_thread

from wvo_mcp.domain.sandbox import WORK, How
from wvo_mcp.errors import Conflict, InvalidInput, NotConfigured, WvoError
from wvo_mcp.execution.sandbox.engine import CALL_SECONDS, NOTHING_RAN, Engine, Image, image_of, said
from wvo_mcp.execution.sandbox.mounts import Bind, Here, held
from wvo_mcp.execution.sandbox.reaping import Journal
from wvo_mcp.ports.sandbox import Ran, Run

logger = logging.getLogger(__name__)

AT_ONCE = 20
_NOBODY = "65532:65532"
_CHUNK = 1 << 16
_MB = 1 << 20
_BLOCK = 4_096
_READY = b"ready\n"
_LOOK_SECONDS = 1.0
"""How often what is written to mounts is added up; less often where that takes long."""


class DockerSandbox:
    """Implements `ports.sandbox.Sandbox`."""

    def __init__(self, engine: Engine, here: Here, journal: Journal) -> None:
        self._engine, self._here, self._journal = engine, here, journal
        self._limiter: CapacityLimiter | None = None

    async def run(self, wanted: Run) -> Ran:
        self._limiter = self._limiter or CapacityLimiter(AT_ONCE)
        one = _OneRun(self._engine, self._here, self._journal, wanted)
        ended: list[Ran | Exception] = []

        async def stop() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                if not ended:  # cancelled from outside; the thread below is waited for
                    with anyio.CancelScope(shield=True):
                        await to_thread.run_sync(one.stop)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop)
            ended.append(await to_thread.run_sync(one.caught, limiter=self._limiter))
            tasks.cancel_scope.cancel()
        if isinstance(ended[0], Exception):
            await anyio.lowlevel.checkpoint_if_cancelled()  # then it is the consequence of that
            raise ended[0]
        return ended[0]

    async def reap(self) -> int:
        return await to_thread.run_sync(partial(self._journal.reap, self._engine), abandon_on_cancel=True)


class _OneRun:
    """All but `stop` in one thread."""

    def __init__(self, engine: Engine, here: Here, journal: Journal, wanted: Run) -> None:
        self._engine, self._here, self._journal, self._wanted = engine, here, journal, wanted
        self._lock = threading.Lock()
        self._stopped = False
        self._id: str | None = None
        """Of the container, from its start on."""

    def caught(self) -> Ran | Exception:
        try:
            return self.run()
        except Exception as error:  # raised again outside of the task group, which would wrap it
            return error

    def run(self) -> Ran:
        """Raises as `Sandbox.run`."""
        wanted = self._wanted
        self._journal.reap(self._engine)  # commands of the shell may be all that ever runs here
        with self._engine.client() as client:
            facts = self._engine.facts(client)
            if facts.missing:
                found = f"This Docker engine does not enforce {', '.join(facts.missing)}."
                raise NotConfigured(found, hint=f"{NOTHING_RAN} wvo-mcp doctor shows more.", part="Docker")
            image = image_of(client, wanted.image)
            if image is None:
                hint = (
                    f"{NOTHING_RAN} A person builds it (scripts/sandbox-image) or pulls it; docs/security.md has more."
                )
                raise NotConfigured(f"There is no image {wanted.image} here.", hint=hint, part="image")
            with held(self._here, wanted) as binds, self._journal.noted(wanted.limits.seconds) as note:
                note.removed = False  # from here on there may be one, also where the engine does not answer
                container: str = _made(client, image, wanted, binds, note.labels, facts.cpus)
                try:
                    return self._lived(client, container, image, binds)
                finally:
                    note.removed = _removed(client, container)

    def stop(self) -> None:
        """From another thread: it ends as soon as it can."""
        with self._lock:
            self._stopped = True
        if self._id is not None:
            with suppress(NotConfigured), self._engine.client() as client:
                _killed(client, self._id)

    def _lived(self, client: Any, container: str, image: Image, binds: Sequence[Bind]) -> Ran:
        from docker.errors import APIError, NotFound
        from requests import RequestException

        streams: Any = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        attached: Any = client.attach_socket(container, params=streams)
        wire: socket.socket = getattr(attached, "_sock", attached)
        try:
            with self._lock:
                if self._stopped:
                    raise Conflict("The run was called off.", hint="Call it again.")
                try:
                    client.start(container)
                except APIError as error:
                    raise _not_started(error) from None
                self._id = container
            began = time.monotonic()
            watched = _Watched(wire, self._wanted, binds, began + self._wanted.limits.seconds)
            how = watched.until_it_ends()
        finally:
            wire.close()
            attached.close()
        try:
            if how is not None:
                _killed(client, container)
            left = CALL_SECONDS if how else max(0.1, began + self._wanted.limits.seconds - time.monotonic())
            try:
                code = int(client.wait(container, timeout=left)["StatusCode"])
            except RequestException:  # it closed its output and goes on
                how = how or How.TIME
                _killed(client, container)
                code = int(client.wait(container, timeout=CALL_SECONDS)["StatusCode"])
            inspected: Any = client.inspect_container(container)
            starved = bool(inspected["State"]["OOMKilled"])
        except NotFound:
            how, code, starved = how or How.KILLED, 0, False
        took = time.monotonic() - began
        if watched.waits and how is None:
            raise InvalidInput("files", f"they could not be placed: {_line(watched.err)}")
        if how is None:
            how = How.MEMORY if starved and code != 0 else How.EXIT
        shown = None if how not in (How.EXIT, How.MEMORY) else code
        return Ran(
            exit_code=shown,
            stdout=bytes(watched.out),
            stderr=bytes(watched.err),
            seconds=took,
            how=how,
            image=image.id,
        )


class _Watched:
    """The output of a run as it comes, in the engine's frames. Before the command begins, the container says what was
    mounted, and takes the files: `waits` until then."""

    def __init__(self, wire: socket.socket, wanted: Run, binds: Sequence[Bind], deadline: float) -> None:
        self._wire, self._wanted, self._binds, self._deadline = wire, wanted, binds, deadline
        self.out, self.err = bytearray(), bytearray()
        self.waits = _prepares(wanted, binds)
        self._sent = False
        self._frame = bytearray()
        self._stream = self._left = 0
        self._written = [one.source for one in binds if one.write]
        self._before = sum(map(_size, self._written))
        self._look = time.monotonic() + _LOOK_SECONDS

    def until_it_ends(self) -> How | None:
        """Why it is to be killed; None when its output has ended."""
        if self.waits:
            self._prepare()
        while True:
            now = time.monotonic()
            if now >= self._deadline:
                return How.TIME
            if self._written and now >= self._look and self._is_full():
                return How.DISK
            until = min(self._deadline, self._look) if self._written else self._deadline
            self._wire.settimeout(max(0.001, until - now))
            try:
                chunk = self._wire.recv(_CHUNK)
            except TimeoutError:
                continue
            if not chunk:
                return None
            self._add(chunk)
            most = self._wanted.limits.output_bytes + (_CHUNK if self.waits else 0)
            if len(self.out) + len(self.err) > most:
                del self.out[most:]
                del self.err[most - len(self.out) :]
                return How.OUTPUT

    def _add(self, chunk: bytes) -> None:
        at = 0
        while at < len(chunk):
            if not self._left:
                head = chunk[at : at + 8 - len(self._frame)]
                self._frame += head
                at += len(head)
                if len(self._frame) == 8:
                    self._stream, self._left = self._frame[0], int.from_bytes(self._frame[4:], "big")
                    self._frame.clear()
                continue
            part = chunk[at : at + self._left]
            at += len(part)
            self._left -= len(part)
            (self.err if self._stream == 2 else self.out).extend(part)
        if self.waits:
            self._prepare()

    def _prepare(self) -> None:
        """Raises Conflict for a mount that is not what was judged."""
        lines = self.out.split(b"\n")
        if not self._sent and len(lines) > len(self._binds):
            for said_of_it, bind in zip(lines, self._binds, strict=False):
                if said_of_it.decode(errors="replace") != bind.inode:
                    hint = "Find out what replaces it, then call this again."
                    raise Conflict(f"{bind.source} was replaced while it was mounted; nothing was run.", hint=hint)
            self._sent = True
            with suppress(OSError):  # it ended before it had read all: what it said of that is shown
                self._wire.sendall(_packed(self._wanted.files))
        head, found, rest = self.out.partition(_READY)
        if found and head.count(b"\n") == len(self._binds):
            self.waits = False
            self.out[:] = rest

    def _is_full(self) -> bool:
        began = time.monotonic()
        grown = sum(map(_size, self._written)) - self._before
        now = time.monotonic()
        self._look = now + max(_LOOK_SECONDS, 10 * (now - began))
        return grown > self._wanted.limits.work_mb * _MB


def _made(client: Any, image: Image, wanted: Run, binds: Sequence[Bind], labels: Mapping[str, str], cpus: int) -> str:
    from docker.types import LogConfig, Mount, Ulimit

    limits = wanted.limits
    memory, room = limits.memory_mb * _MB, f"size={limits.work_mb}m"
    user = _user(binds)
    # The mode of a folder that is there already stays; its owner does not.
    own = "rw,nosuid,nodev,mode=1777,uid={},gid={},".format(*user.split(":")) + room
    tmpfs = {**dict.fromkeys((*image.volumes, WORK), f"exec,{own}"), "/tmp": own}  # noqa: S108
    tmpfs |= {one.hidden: "ro,mode=555,size=4k" for one in binds if one.hidden is not None}
    ulimits = [Ulimit(name="core", soft=0, hard=0), Ulimit(name="nofile", soft=1024, hard=1024)]
    if any(one.write for one in binds):
        ulimits.append(Ulimit(name="fsize", soft=limits.work_mb * _MB, hard=limits.work_mb * _MB))
    host: Any = client.create_host_config(
        network_mode="none",
        read_only=True,
        tmpfs=tmpfs,
        # What is mounted within a folder is left out: older engines would let it be written.
        mounts=[
            {**Mount(one.target, one.source, "bind", read_only=not one.write), "BindOptions": {"NonRecursive": True}}
            for one in binds
        ],
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        privileged=False,
        pids_limit=limits.pids,
        mem_limit=memory,
        memswap_limit=memory,
        nano_cpus=int(min(limits.cpus, cpus) * 1e9),
        shm_size=min(memory, 64 * _MB),
        oom_score_adj=500,
        ipc_mode="private",
        ulimits=ulimits,
        init=True,
        log_config=LogConfig(type="none"),
    )
    argv = list(wanted.command)
    waits = _prepares(wanted, binds)
    if waits:
        argv = ["sh", "-c", _preparation(binds), "sh", *argv]
    made: Any = client.create_container(
        image.id,
        entrypoint=argv[:1],
        command=argv[1:],
        user=user,
        working_dir=WORK,
        hostname="sandbox",
        environment={"HOME": WORK, **wanted.env},
        labels=dict(labels),
        host_config=host,
        stdin_open=waits,
        healthcheck={"test": ["NONE"]},
        use_config_proxy=False,
    )
    return str(made["Id"])


def _prepares(wanted: Run, binds: Sequence[Bind]) -> bool:
    return bool(wanted.files or binds)


def _preparation(binds: Sequence[Bind]) -> str:
    places = " ".join(shlex.quote(one.target) for one in binds)
    look = f"stat -c %d:%i -- {places} && " if binds else ""
    return f'{look}tar -xf - -C {WORK} && echo ready && exec "$@" </dev/null'


def _user(binds: Sequence[Bind]) -> str:
    """Nobody; with mounts whoever we are, or else whose they are, for they are to be read; never root."""
    ours = (os.getuid(), os.getgid())
    return next(
        (f"{uid}:{gid or 65532}" for uid, gid in (ours, *(one.owner for one in binds)) if binds and uid), _NOBODY
    )


def _packed(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _size(path: str) -> int:
    """Bytes on the disk, of a file or of all below a folder; what is empty counts as a block."""
    if not Path(path).is_dir():
        return os.lstat(path).st_blocks * 512
    found = 0
    for folder, folders, names in os.walk(path):
        found += len(folders) * _BLOCK
        for name in names:
            with suppress(OSError):
                found += max(_BLOCK, os.lstat(Path(folder, name)).st_blocks * 512)
    return found


def _killed(client: Any, container: str) -> None:
    from docker.errors import APIError

    with suppress(APIError):  # it has ended
        client.kill(container, "SIGKILL")


def _removed(client: Any, container: str) -> bool:
    from docker.errors import APIError, NotFound
    from requests import RequestException

    try:
        client.remove_container(container, force=True, v=True)
    except NotFound:
        return True
    except (APIError, RequestException) as error:
        logger.warning("the container %s is left for later: %s", container[:12], said(error))
        return False
    return True


def _not_started(error: Exception) -> WvoError:
    text = said(error)
    if "executable file not found" in text or "permission denied" in text or "no such file or directory" in text:
        return InvalidInput("command", f"the image cannot run it: {text.rpartition('exec: ')[2][:200]}")
    return NotConfigured(f"The Docker engine could not start the container: {text}", hint=NOTHING_RAN, part="Docker")


def _line(text: bytearray) -> str:
    return " ".join(bytes(text).decode(errors="replace").split())[:300] or "the image needs sh, tar and stat for them"
