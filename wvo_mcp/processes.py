"""The one way to run another program."""

import asyncio
import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import anyio

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_STDERR_KEPT = 1 << 16
_CHUNK = 1 << 16
_DRAINED_AT_MOST = 1 << 20
_READ_AHEAD = 1 << 20
_STOP_POLL_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1


class Limit(StrEnum):
    """What ended a program before its time."""

    DEADLINE = "deadline"
    IDLE = "idle"
    OUTPUT = "output"
    STOPPED = "stopped"


class NotStarted(Exception):
    """The program is missing, may not be executed, or its arguments or folder cannot be used; the text is the reason."""

    def __init__(self, error: OSError | ValueError) -> None:
        super().__init__(getattr(error, "strerror", None) or str(error))
        self.missing = isinstance(error, FileNotFoundError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is run, without a shell, in a session and process group of its own.

    Limits: `deadline` seconds in all; `idle` seconds without output; `output` bytes of stdout and stderr together; `stop`,
    once another thread has set it. At a limit the group gets SIGTERM, and SIGKILL after `grace` seconds. Without `stdin` it
    reads an empty one. What it leaves behind in its group is killed when it ends, unless it `leaves_children`.
    `ends_with_us`: it is killed with this process, however this one ends (Linux).
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    deadline: float
    idle: float | None = None
    output: int | None = None
    stop: threading.Event | None = None
    grace: float = 1.0
    cwd: Path | None = None
    stdin: bytes = b""
    leaves_children: bool = False
    ends_with_us: bool = False
    interactive: bool = False
    """Its stdin stays open for `Child.write`."""
    inherits: tuple[int, ...] = ()
    """Descriptors that it gets besides."""


@dataclass(frozen=True, slots=True)
class Ended:
    """`code` is negative for a signal. `limit`: why we ended it; None when it ended by itself. `stderr`: its last 64 KiB.
    `stdout`: what `run` kept of its beginning, `cut` when there was more."""

    code: int
    limit: Limit | None
    stderr: bytes
    stdout: bytes = b""
    cut: bool = False


class Line(NamedTuple):
    """Without its newline. `cut`: it was longer, and this is its beginning."""

    text: bytes
    cut: bool


async def run(program: Program, keep: int = 1 << 20) -> Ended:
    """To its end or a limit; the first `keep` bytes of stdout are kept. When it is cancelled, the group has ended before
    it returns. Raises NotStarted."""
    kept, size = bytearray(), 0
    async with started(program) as child:
        while chunk := await child.read():
            size += len(chunk)
            kept += chunk[: keep - len(kept)]
        return replace(await child.ended(), stdout=bytes(kept), cut=size > keep)


def run_blocking(program: Program, keep: int = 1 << 20) -> Ended:
    """`run` for a thread that has no event loop."""
    return asyncio.run(run(program, keep))


@contextlib.asynccontextmanager
async def started(program: Program) -> AsyncGenerator["Child"]:
    """Leaving the block ends the program and what it left behind. Raises NotStarted."""
    child = Child(program)
    try:
        with anyio.CancelScope(shield=True), _input(program) as stdin:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: child,
                *program.argv,
                env=program.env,
                cwd=program.cwd,
                stdin=stdin,
                start_new_session=True,
                pass_fds=program.inherits,
                preexec_fn=_end_with(os.getpid()) if program.ends_with_us else None,
            )
    except (OSError, ValueError) as error:
        raise NotStarted(error) from error
    try:
        yield child
    finally:
        child.end(Limit.STOPPED)
        with anyio.CancelScope(shield=True):
            await child.ended()


@contextlib.contextmanager
def _input(program: Program) -> Generator[BinaryIO | int]:
    """A file, for what is left in a pipe that the program does not read would keep the pipe open."""
    if program.interactive or not program.stdin:
        yield subprocess.PIPE if program.interactive else subprocess.DEVNULL
        return
    with tempfile.TemporaryFile(prefix="wvo-stdin-") as file:
        file.write(program.stdin)
        file.seek(0)
        yield file


class Child(asyncio.SubprocessProtocol):
    """A program that runs. Everything that happens to it is a callback, so that no cancellation comes in between.

    Nothing waits for the end of a stream, which a grandchild may hold open for ever: when the program has ended, what it
    wrote is in the pipes, and is read without waiting. A reader of stdout that lags behind holds the program up; that time
    does not count as idle.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._chunks: deque[bytes] = deque()
        self._ahead = 0
        self._more = anyio.Event()
        self._over = anyio.Event()
        self._stderr = bytearray()
        self._size = 0
        self._limit: Limit | None = None
        self._paused = False
        self._exited = False
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._deadline = self._heard + program.deadline
        self._timer: asyncio.TimerHandle | None = None

    async def read(self) -> bytes:
        """The next bytes of stdout, for one reader; none at its end."""
        while not self._chunks:
            if self._over.is_set():
                return b""
            if self._paused and not self._exited:
                self._paused = False
                self._heard = self._loop.time()
                self._pipe(_STDOUT).resume_reading()
            self._more = anyio.Event()
            await self._more.wait()
        chunk = self._chunks.popleft()
        self._ahead -= len(chunk)
        return chunk

    async def lines(self, longest: int = 1 << 20) -> AsyncGenerator[Line]:
        """The lines of stdout, each of at most `longest` bytes."""
        part, cut = bytearray(), False
        while chunk := await self.read():
            for number, piece in enumerate(chunk.split(b"\n")):
                if number:
                    yield Line(bytes(part), cut)
                    part, cut = bytearray(), False
                room = longest - len(part)
                part += piece[:room]
                cut |= len(piece) > room
        if part:
            yield Line(bytes(part), cut)

    async def ended(self) -> Ended:
        """Waits for its end. Read stdout first: a program that is held up does not end by itself."""
        await self._over.wait()
        return Ended(cast("int", self._transport.get_returncode()), self._limit, bytes(self._stderr))

    @property
    def pid(self) -> int:
        return self._transport.get_pid()

    def write(self, data: bytes) -> None:
        """To the stdin of an interactive program, which reads it when it wants: waiting for that could be for ever, while it
        waits for its own output to be read. What a program that has ended or closed its stdin is given, is lost."""
        transport = self._transport.get_pipe_transport(_STDIN)
        if isinstance(transport, asyncio.WriteTransport) and not transport.is_closing():
            transport.write(data)

    def end(self, limit: Limit) -> None:
        """SIGTERM for the group, and SIGKILL after the grace. Does nothing when it has ended or is being ended."""
        if self._limit is None and not self._exited:
            self._limit = limit
            self._signal(signal.SIGTERM)
            self._set_timer(self._loop.time() + self._program.grace, lambda: self._signal(signal.SIGKILL))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._check()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._heard = self._loop.time()
        self._size += len(data)
        if fd == _STDERR:
            self._stderr += data
            del self._stderr[:-_STDERR_KEPT]
        else:
            self._chunks.append(data)
            self._ahead += len(data)
            self._more.set()
            if self._ahead >= _READ_AHEAD:
                self._paused = True
                self._pipe(_STDOUT).pause_reading()
        if self._program.output is not None and self._size > self._program.output:
            self.end(Limit.OUTPUT)
            self._limit = self._limit or Limit.OUTPUT

    def process_exited(self) -> None:
        self._exited = True
        if self._timer is not None:
            self._timer.cancel()
        if self._limit is not None or not self._program.leaves_children:
            self._signal(signal.SIGKILL)
        for fd in (_STDOUT, _STDERR):
            self._pipe(fd).pause_reading()
        self._loop.call_soon(self._drain)  # after what was read already is delivered

    def _drain(self) -> None:
        for fd in (_STDOUT, _STDERR):
            pipe = self._pipe(fd)
            if not pipe.is_closing():
                source = pipe.get_extra_info("pipe").fileno()
                with contextlib.suppress(BlockingIOError):
                    for _ in range(_DRAINED_AT_MOST // _CHUNK):
                        if not (data := os.read(source, _CHUNK)):
                            break
                        self.pipe_data_received(fd, data)
        stdin = self._transport.get_pipe_transport(_STDIN)
        if isinstance(stdin, asyncio.WriteTransport) and not stdin.is_closing():
            stdin.abort()  # a close would wait until somebody below it has read what is left
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over.set()
        self._more.set()

    def _check(self) -> None:
        """Looks at the clock when one of the limits may have passed."""
        if self._limit is not None or self._exited:
            return
        now, idle, stop = self._loop.time(), self._program.idle, self._program.stop
        silent_until = math.inf if idle is None else idle + (now if self._paused else self._heard)
        if now >= self._deadline:
            self.end(Limit.DEADLINE)
        elif now >= silent_until:
            self.end(Limit.IDLE)
        elif stop is not None and stop.is_set():
            self.end(Limit.STOPPED)
        else:
            polled = math.inf if stop is None else now + _STOP_POLL_SECONDS
            # What arrived at the last moment is delivered before it is judged.
            self._set_timer(min(self._deadline, silent_until, polled), lambda: self._loop.call_soon(self._check))

    def _set_timer(self, at: float, call: Callable[[], object]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, call)

    def _pipe(self, fd: int) -> asyncio.ReadTransport:
        return cast("asyncio.ReadTransport", self._transport.get_pipe_transport(fd))

    def _signal(self, number: int) -> None:
        # The latter is macOS's word for a group of zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._transport.get_pid(), number)


def _end_with(parent: int) -> Callable[[], None] | None:
    """For a new process, so that it does not outlive this one, however this one ends; Linux only.

    It runs between fork and exec beside other threads: nothing is imported or locked there.
    """
    if sys.platform != "linux":
        return None
    import ctypes  # few programs need it, and it takes its time at the start

    prctl = ctypes.CDLL(None).prctl

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return arrange
