"""The one way to run another program."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import anyio

_STDOUT, _STDERR = 1, 2
_STDERR_KEPT = 1 << 16
_CHUNK = 1 << 16
_DRAINED_AT_MOST = 1 << 20
_LINES_AHEAD = 1 << 20
_STOP_POLL_SECONDS = 0.1
_PR_SET_PDEATHSIG = 1


class Limit(StrEnum):
    """What ended a program before its time."""

    DEADLINE = "deadline"
    IDLE = "idle"
    OUTPUT = "output"
    STOPPED = "stopped"


class NotStarted(Exception):
    """The program is missing, may not be executed, or its words or folder cannot be used; the text says which."""

    def __init__(self, error: OSError | ValueError) -> None:
        super().__init__(getattr(error, "strerror", None) or str(error))
        self.missing = isinstance(error, FileNotFoundError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What is run, without a shell, in a session and process group of its own.

    Limits: `deadline` seconds in all; `idle` seconds without output; `output` bytes of stdout and stderr together. At a
    limit the group gets SIGTERM, and SIGKILL after `grace` seconds. Without `stdin` it reads an empty one. What it leaves
    behind in its group is killed when it ends, unless it `leaves_children`. `ends_with_us`: it is killed with this
    process, however this one ends (Linux).
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    deadline: float
    idle: float | None = None
    output: int | None = None
    grace: float = 1.0
    cwd: Path | None = None
    stdin: bytes = b""
    leaves_children: bool = False
    ends_with_us: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """`code` is negative for a signal. `limit`: why we ended it; None when it ended by itself. `stdout`: what was kept of
    its beginning, `cut` when there was more. `stderr`: its last 64 KiB."""

    code: int
    limit: Limit | None
    stdout: bytes
    cut: bool
    stderr: bytes


class Line(NamedTuple):
    """Without its newline. `cut`: it was longer, and this is its beginning."""

    text: bytes
    cut: bool


async def run(program: Program, keep: int = 1 << 20, stop: threading.Event | None = None) -> Ended:
    """To its end or a limit; the first `keep` bytes of stdout are kept. It is also ended soon after `stop` is set. When
    this call is cancelled, the group has ended before it returns. Raises NotStarted."""
    kept = _Beginning(keep)
    async with _started(program, kept) as child:
        while not child.over.is_set():
            with anyio.move_on_after(None if stop is None else _STOP_POLL_SECONDS):
                await child.over.wait()
            if stop is not None and stop.is_set():
                child.end(Limit.STOPPED)
                stop = None
    return child.ended(bytes(kept.data), cut=kept.cut)


def run_blocking(program: Program, keep: int = 1 << 20, stop: threading.Event | None = None) -> Ended:
    """`run` for a thread that has no event loop."""
    return asyncio.run(run(program, keep, stop))


@contextlib.asynccontextmanager
async def lines(program: Program, longest: int = 1 << 20) -> AsyncGenerator["LineStream"]:
    """A running program, whose stdout is read line by line; leaving the block ends it. Raises NotStarted."""
    stream = LineStream(longest)
    async with _started(program, stream) as child:
        stream.child = child
        yield stream


class _Beginning:
    """The first bytes of a stream."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.data = bytearray()
        self.cut = False

    def feed(self, data: bytes) -> bool:
        """Whether more may be read now."""
        room = self._most - len(self.data)
        self.data += data[:room]
        self.cut |= len(data) > room
        return True

    def end(self) -> None:
        """Nothing follows."""


class LineStream:
    """The lines of stdout, each of at most `longest` bytes. A reader that lags behind holds the program up; that time does
    not count as idle."""

    child: "_Child"

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._part = _Beginning(longest)
        self._ready: deque[Line] = deque()
        self._size = 0
        self._more = anyio.Event()

    def feed(self, data: bytes) -> bool:
        *whole, rest = data.split(b"\n")
        for piece in whole:
            self._part.feed(piece)
            self._finish()
        self._part.feed(rest)
        return self._size < _LINES_AHEAD

    def end(self) -> None:
        if self._part.data:
            self._finish()
        self._more.set()

    def _finish(self) -> None:
        self._ready.append(Line(bytes(self._part.data), self._part.cut))
        self._size += len(self._part.data) + 1
        self._part = _Beginning(self._longest)
        self._more.set()

    def __aiter__(self) -> "LineStream":
        return self

    async def __anext__(self) -> Line:
        while not self._ready:
            if self.child.over.is_set():
                raise StopAsyncIteration
            self.child.resume()
            self._more = anyio.Event()
            await self._more.wait()
        line = self._ready.popleft()
        self._size -= len(line.text) + 1
        return line

    async def ended(self) -> Ended:
        """Waits for the end of the program. Read the lines first: one that is held up does not end by itself."""
        await self.child.over.wait()
        return self.child.ended(b"", cut=False)


@contextlib.asynccontextmanager
async def _started(program: Program, stdout: _Beginning | LineStream) -> AsyncGenerator["_Child"]:
    """Leaving the block ends the program and what it left behind."""
    child = _Child(program, stdout)
    try:
        with anyio.CancelScope(shield=True), _input(program.stdin) as stdin:
            await asyncio.get_running_loop().subprocess_exec(
                lambda: child,
                *program.argv,
                env=program.env,
                cwd=program.cwd,
                stdin=stdin,
                start_new_session=True,
                preexec_fn=_end_with(os.getpid()) if program.ends_with_us else None,
            )
    except (OSError, ValueError) as error:
        raise NotStarted(error) from error
    try:
        yield child
    finally:
        child.end(Limit.STOPPED)
        with anyio.CancelScope(shield=True):
            await child.over.wait()


@contextlib.contextmanager
def _input(content: bytes) -> Generator[BinaryIO | int]:
    """A file, for what is left in a pipe that the program does not read would keep the pipe open."""
    if not content:
        yield subprocess.DEVNULL
        return
    with tempfile.TemporaryFile(prefix="wvo-stdin-") as file:
        file.write(content)
        file.seek(0)
        yield file


class _Child(asyncio.SubprocessProtocol):
    """One program: everything that happens to it is a callback, so that no cancellation comes in between.

    Nothing waits for the end of a stream, which a grandchild may hold open for ever: when the program has ended, what it
    wrote is in the pipes, and is read without waiting.
    """

    def __init__(self, program: Program, stdout: _Beginning | LineStream) -> None:
        self.over = anyio.Event()
        self._program = program
        self._stdout = stdout
        self._stderr = bytearray()
        self._size = 0
        self._limit: Limit | None = None
        self._paused = False
        self._exited = False
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + program.deadline
        self._heard = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def ended(self, stdout: bytes, *, cut: bool) -> Ended:
        """Once it is over."""
        return Ended(cast("int", self._transport.get_returncode()), self._limit, stdout, cut, bytes(self._stderr))

    def end(self, limit: Limit) -> None:
        """SIGTERM for the group, and SIGKILL after the grace. Does nothing when it has ended or is being ended."""
        if self._limit is None and not self._exited:
            self._limit = limit
            self._signal(signal.SIGTERM)
            self._set_timer(self._loop.time() + self._program.grace, lambda: self._signal(signal.SIGKILL))

    def resume(self) -> None:
        """Read on after `feed` said that there is enough."""
        if self._paused and not self._exited:
            self._paused = False
            self._heard = self._loop.time()
            self._pipe(_STDOUT).resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self._check()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._heard = self._loop.time()
        self._size += len(data)
        if fd == _STDERR:
            self._stderr += data
            del self._stderr[:-_STDERR_KEPT]
        elif not self._stdout.feed(data):
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
                for _ in range(_DRAINED_AT_MOST // _CHUNK):
                    try:
                        data = os.read(source, _CHUNK)
                    except BlockingIOError:
                        break
                    if not data:
                        break
                    self.pipe_data_received(fd, data)
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set()
        self._stdout.end()

    def _check(self) -> None:
        """Looks at the clock when one of the limits may have passed."""
        now, idle = self._loop.time(), self._program.idle
        if self._limit is not None or self._exited:
            return
        if now >= self._deadline:
            return self.end(Limit.DEADLINE)
        quiet = None if idle is None else idle + (now if self._paused else self._heard)
        if quiet is not None and now >= quiet:
            return self.end(Limit.IDLE)
        # What arrived at the last moment is delivered before it is judged.
        self._set_timer(min(self._deadline, quiet or self._deadline), lambda: self._loop.call_soon(self._check))

    def _set_timer(self, at: float, call: Callable[[], object]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, call)

    def _pipe(self, fd: int) -> asyncio.ReadTransport:
        return cast("asyncio.ReadTransport", self._transport.get_pipe_transport(fd))

    def _signal(self, number: int) -> None:
        with contextlib.suppress(
            ProcessLookupError, PermissionError
        ):  # the latter is macOS's word for a group of zombies
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
