"""Programs of others, run to their end or to a deadline, in a group of their own so that their children end with them."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import anyio
from anyio.abc import Process

_TERM_SECONDS = 1.0
_LAST_WORDS_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Ended:
    """`code` None: it was killed at the deadline. `said`: what was kept of what was listened to."""

    code: int | None
    said: bytes


async def run(
    argv: Sequence[str],
    deadline: float,
    listen: Literal["stdout", "stderr"],
    *,
    first: int = 0,
    last: int = 0,
    stdin: IO[bytes] | int = subprocess.DEVNULL,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """No shell. Of the stream that is listened to the first or the last so many bytes are kept; the other is thrown away.
    Raises OSError, ValueError when it cannot be started."""
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, listen: subprocess.PIPE}
    process = await anyio.open_process(
        [*argv],
        stdin=stdin,
        stdout=streams["stdout"],
        stderr=streams["stderr"],
        cwd=cwd,
        env=env,
        start_new_session=True,
    )
    said = bytearray()
    code: int | None = None
    try:
        with anyio.move_on_after(deadline):
            code = await _attended(process, said, first, last)
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                await _end(process)
            await process.aclose()
    return Ended(code, bytes(said))


async def _attended(process: Process, said: bytearray, first: int, last: int) -> int:
    """Its exit code; also when a child that it left behind keeps the stream open."""
    silent = anyio.Event()

    async def listen() -> None:
        stream = process.stdout or process.stderr
        assert stream is not None  # noqa: S101 - as it was opened
        async for chunk in stream:
            said.extend(chunk)
            if last:
                del said[:-last]
            else:
                del said[first:]
        silent.set()

    code = -1
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        code = await process.wait()
        with anyio.move_on_after(_LAST_WORDS_SECONDS):
            await silent.wait()
        tasks.cancel_scope.cancel()
    return code


async def _end(process: Process) -> None:
    """SIGTERM to the whole group, and SIGKILL to what is left of it."""
    _signal(process.pid, signal.SIGTERM)
    with anyio.move_on_after(_TERM_SECONDS):
        await process.wait()
    _signal(process.pid, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter is macOS's word for a group of zombies
        os.killpg(group, number)
