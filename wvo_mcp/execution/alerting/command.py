"""A command of the user's, started once for each piece of news."""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import anyio
from anyio.abc import Process
from pydantic_core import to_json

from wvo_mcp.domain.news import Message
from wvo_mcp.ports.alerting import Undelivered

_KEPT_BYTES = 2_000
_TERM_SECONDS = 1.0
_LAST_WORDS_SECONDS = 0.2


class AlertCommand:
    """`ports.alerting.AlertChannel`: JSON on stdin, exit code 0 is success. No shell; what it prints is thrown away, but for
    the end of stderr when it fails."""

    name = "command"

    def __init__(self, argv: Sequence[str], cwd: Path, deadline_seconds: float = 10.0) -> None:
        self._argv = [*argv]
        self._cwd = cwd
        self._deadline = deadline_seconds

    async def deliver(self, message: Message) -> None:
        # A file, for what is left in a pipe that nobody reads would keep the pipe open.
        with tempfile.TemporaryFile(prefix="wvo-news-") as news:
            news.write(to_json(message.body) + b"\n")
            news.seek(0)
            code, said = await self._run(news)
        if code is None:
            raise Undelivered(f"the command took longer than {self._deadline:g} s and was killed")
        if code != 0:
            last = said.decode(errors="replace").strip()[-200:]
            raise Undelivered(f"the command ended with {code}{': ' + last if last else ''}")

    async def _run(self, news: IO[bytes]) -> tuple[int | None, bytes]:
        """Exit code, or None at the deadline; and the end of stderr."""
        try:
            process = await anyio.open_process(
                self._argv,
                stdin=news,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd=self._cwd,
                start_new_session=True,  # a group of its own, so that its children end with it
            )
        except (OSError, ValueError) as error:
            raise Undelivered(f"the command cannot be started: {getattr(error, 'strerror', None) or error}") from None
        said = bytearray()
        code: int | None = None
        try:
            with anyio.move_on_after(self._deadline):
                code = await _attended(process, said)
        finally:
            with anyio.CancelScope(shield=True):
                if process.returncode is None:
                    await _end(process)
                await process.aclose()
        return code, bytes(said)


async def _attended(process: Process, said: bytearray) -> int:
    """Its exit code; also when a child that it left behind keeps stderr open."""
    silent = anyio.Event()

    async def listen() -> None:
        assert process.stderr is not None  # noqa: S101 - as it was opened
        async for chunk in process.stderr:
            said.extend(chunk)
            del said[:-_KEPT_BYTES]
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
