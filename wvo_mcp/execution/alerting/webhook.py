"""Posts alerts to a web address, signed as Standard Webhooks has it (github.com/standard-webhooks/standard-webhooks)."""

import base64
import binascii
import hashlib
import hmac
import ssl
from datetime import datetime

import anyio.to_thread
import httpx2
from pydantic_core import to_json

from wvo_mcp.domain.news import Message
from wvo_mcp.ports import Clock
from wvo_mcp.ports.world import Undelivered

_PREFIX = "whsec_"


class Webhook:
    """`ports.world.AlertChannel`: a POST of the JSON; a status of 200 to 299 is success. No redirect is followed, and
    nothing of the answer is read but its status."""

    name = "webhook"

    def __init__(self, url: str, secret: str, clock: Clock, deadline_seconds: float = 10.0) -> None:
        self._url = url
        self._key = key_of(secret)
        self._clock = clock
        self._deadline = deadline_seconds
        self._trusted: ssl.SSLContext | None = None

    async def deliver(self, message: Message) -> None:
        body = to_json(message.body)
        at = self._clock.now()
        headers = {
            "content-type": "application/json",
            "user-agent": "wvo-mcp",
            "webhook-id": message.id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": signature(self._key, message.id, at, body),
        }
        try:
            with anyio.fail_after(self._deadline):
                async with (
                    httpx2.AsyncClient(
                        verify=await self._verification(), follow_redirects=False, timeout=self._deadline
                    ) as client,
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

    async def _verification(self) -> ssl.SSLContext | bool:
        if not self._url.lower().startswith("https:"):
            return False  # nothing to verify; loading the certificates takes a tenth of a second
        if self._trusted is None:
            self._trusted = await anyio.to_thread.run_sync(ssl.create_default_context)
        return self._trusted


def key_of(secret: str) -> bytes:
    """`whsec_` and base64, as the specification has it; any other text is the key itself. Raises ValueError."""
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("what follows whsec_ is no base64") from None


def signature(key: bytes, message_id: str, at: datetime, body: bytes) -> str:
    signed = f"{message_id}.{int(at.timestamp())}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
