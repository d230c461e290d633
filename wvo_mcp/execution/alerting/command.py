"""A command of the user's, started once for each piece of news."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic_core import to_json

from wvo_mcp.domain.news import Message
from wvo_mcp.execution.running import run
from wvo_mcp.ports.alerting import Undelivered

_KEPT_BYTES = 2_000


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
            try:
                ended = await run(self._argv, self._deadline, "stderr", last=_KEPT_BYTES, stdin=news, cwd=self._cwd)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                raise Undelivered(f"the command cannot be started: {reason}") from None
        if ended.code is None:
            raise Undelivered(f"the command took longer than {self._deadline:g} s and was killed")
        if ended.code != 0:
            last = ended.said.decode(errors="replace").strip()[-200:]
            raise Undelivered(f"the command ended with {ended.code}{': ' + last if last else ''}")
