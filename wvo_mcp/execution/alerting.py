"""Ways for news of alerts to reach people: a command of theirs, and a web address."""

import base64
import hashlib
import hmac
import os
import ssl
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import anyio.to_thread
import httpx2
from pydantic_core import to_json

from wvo_mcp.domain.news import Message
from wvo_mcp.ports import Clock
from wvo_mcp.ports.world import Undelivered
from wvo_mcp.processes import Limit, NotStarted, Program, run


class AlertCommand:
    """`ports.AlertChannel`: JSON on stdin, exit code 0 is success. No shell; what it prints is thrown away, but for the end
    of stderr when it fails."""

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


class Webhook:
    """`ports.AlertChannel`: a POST of the JSON, signed as Standard Webhooks has it (github.com/standard-webhooks); a status
    of 200 to 299 is success. No redirect is followed, and nothing of the answer is read but its status."""

    name = "webhook"

    def __init__(self, url: str, secret: str, clock: Clock, deadline_seconds: float = 10.0) -> None:
        """`secret`: `whsec_` and base64, as the specification has it; any other text is the key itself."""
        coded = secret.removeprefix("whsec_")
        self._url = url
        self._key = secret.encode() if coded == secret else base64.b64decode(coded)
        self._clock = clock
        self._deadline = deadline_seconds
        # Without https there is nothing to verify, and loading the certificates takes a tenth of a second.
        self._trusted: ssl.SSLContext | bool = url.lower().startswith("https:")

    async def deliver(self, message: Message) -> None:
        body = to_json(message.body)
        at = self._clock.now()
        headers = {
            "content-type": "application/json",
            "user-agent": "wvo-mcp",
            "webhook-id": message.id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": self.signature(message.id, at, body),
        }
        try:
            with anyio.fail_after(self._deadline):
                if self._trusted is True:
                    self._trusted = await anyio.to_thread.run_sync(ssl.create_default_context)
                async with (
                    httpx2.AsyncClient(verify=self._trusted, follow_redirects=False, timeout=self._deadline) as client,
                    client.stream("POST", self._url, content=body, headers=headers) as answer,
                ):
                    status = answer.status_code
        except (TimeoutError, httpx2.TimeoutException):
            raise Undelivered(f"no answer within {self._deadline:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            # The text of some errors has the address, which may hold a secret.
            raise Undelivered(f"it cannot be reached ({type(error).__name__})") from None
        if not 200 <= status < 300:
            raise Undelivered(f"it answered {status}")

    def signature(self, message_id: str, at: datetime, body: bytes) -> str:
        signed = f"{message_id}.{int(at.timestamp())}.".encode() + body
        return "v1," + base64.b64encode(hmac.digest(self._key, signed, hashlib.sha256)).decode()
