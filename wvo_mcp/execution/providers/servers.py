"""Do servers of models on this machine answer, and which models do they have?

What answers on a port of this machine may be anything. Nothing is waited for beyond its time; no more than MOST_BYTES of
an answer are read; no proxy is asked, no redirect followed, no key sent.
"""

import json
from dataclasses import dataclass
from typing import Any, cast

import anyio
import httpx2

from wvo_mcp.domain.providers.catalogue import Provider, ProviderKind
from wvo_mcp.domain.providers.state import Presence

MOST_BYTES = 1_000_000
MOST_MODELS = 1_000

Answer = tuple[int, bytes]


@dataclass(slots=True)
class Found:
    """`version` only where a server reports one."""

    presence: Presence
    version: str | None = None


async def check_closed(provider: Provider, seconds: float) -> Found:
    """Of a provider with a `base_url`."""
    base = provider.base_url or ""
    known = Found(Presence(found=False))
    # Where nothing has to be verified the certificates are not loaded, which would take a third of the time.
    verify = base.lower().startswith("https:")
    try:
        with anyio.fail_after(seconds):
            async with httpx2.AsyncClient(
                trust_env=False, follow_redirects=False, verify=verify, timeout=seconds
            ) as client:
                if provider.kind is ProviderKind.OLLAMA:
                    await _ollama(client, base, known)
                else:
                    known.presence = _judged(await _get(client, _models_of(base)), base)
    except (TimeoutError, httpx2.TimeoutException):
        _unless_found(known, f"{base} does not answer within {seconds * 1000:.0f} ms")
    except httpx2.ConnectError:
        _unless_found(known, f"it is not running: nothing listens at {base}")
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        _unless_found(known, f"what answers at {base} cannot be understood ({type(error).__name__})")
    return known


def _unless_found(known: Found, note: str) -> None:
    if not known.presence.found:
        known.presence = Presence(found=False, note=note)


async def _ollama(client: httpx2.AsyncClient, base: str, known: Found) -> None:
    root = base.rstrip("/").removesuffix("/v1")
    status, body = await _get(client, f"{root}/api/version")
    if status != 200:
        known.presence = Presence(found=False, note=f"{base} answers {status}, which Ollama does not")
        return
    version = _field(_json(body), "version")
    if not isinstance(version, str):
        known.presence = Presence(found=False, note=f"what answers at {base} is not Ollama")
        return
    known.version, known.presence = version[:40], Presence(found=True)
    status, body = await _get(client, f"{root}/api/tags")
    names = _named(_field(_json(body), "models"), "name") if status == 200 else None
    if names is not None:
        known.presence = Presence(True, frozenset({*names, *(name.removesuffix(":latest") for name in names)}))


async def _get(client: httpx2.AsyncClient, url: str) -> Answer:
    body = bytearray()
    async with client.stream(
        "GET", url, headers={"accept": "application/json", "accept-encoding": "identity"}
    ) as answer:
        async for chunk in answer.aiter_raw():
            body += chunk
            if len(body) > MOST_BYTES:
                return answer.status_code, b""
        return answer.status_code, bytes(body)


def _models_of(base: str) -> str:
    base = base.rstrip("/")
    return f"{base}/models" if base.count("/") > 2 else f"{base}/v1/models"


def _judged(answer: Answer, base: str) -> Presence:
    status, body = answer
    if status in (401, 403):  # it is there, and lists its models only with a key
        return Presence(found=True)
    if status != 200:
        return Presence(found=False, note=f"{base} answers {status}")
    names = _named(_field(_json(body), "data"), "id")
    if names is None:
        return Presence(found=False, note=f"what answers at {base} does not speak the OpenAI interface")
    return Presence(found=True, models=frozenset(names))


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _field(value: Any, name: str) -> Any:
    return cast("dict[str, Any]", value).get(name) if isinstance(value, dict) else None


def _named(value: Any, key: str) -> list[str] | None:
    if not isinstance(value, list):
        return None
    names = [_field(each, key) for each in cast("list[Any]", value)[:MOST_MODELS]]
    return [name for name in names if isinstance(name, str) and 0 < len(name) <= 200]
