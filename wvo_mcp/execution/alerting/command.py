"""A command of the user's, started once for each notice."""

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic_core import to_json

from wvo_mcp.domain.news import Message
from wvo_mcp.ports.world import Undelivered
from wvo_mcp.processes import Limit, NotStarted, Program, run


class AlertCommand:
    """`ports.world.AlertChannel`: JSON on stdin, exit code 0 is success. No shell; what it prints is thrown away, but for
    the end of stderr when it fails."""

    name = "command"

    def __init__(self, argv: Sequence[str], cwd: Path, deadline_seconds: float = 10.0) -> None:
        self._argv = [*argv]
        self._cwd = cwd
        self._deadline = deadline_seconds

    async def deliver(self, message: Message) -> None:
        program = Program(
            argv=self._argv,
            env=os.environ,
            cwd=self._cwd,
            stdin=to_json(message.body) + b"\n",
            deadline=self._deadline,
            leaves_children=True,
        )
        try:
            ended = await run(program, keep=0)
        except NotStarted as error:
            raise Undelivered(f"the command cannot be started: {error}") from None
        if ended.limit is Limit.DEADLINE:
            raise Undelivered(f"the command took longer than {self._deadline:g} s and was killed")
        if ended.code != 0:
            last = ended.stderr.decode(errors="replace").strip()[-200:]
            raise Undelivered(f"the command ended with {ended.code}{': ' + last if last else ''}")
