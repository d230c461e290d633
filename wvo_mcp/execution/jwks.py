"""JWTs of one issuer, checked with the keys that it publishes (RFC 7517)."""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.to_thread
import httpx2
import jwt
from pydantic_core import from_json

from wvo_mcp.domain.access import ROLES, Principal, Via, name_of_subject
from wvo_mcp.errors import Forbidden
from wvo_mcp.ports import Clock
from wvo_mcp.ports.access import InvalidToken, KeysUnavailable

ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""Signatures by a private key, with the type and the curve of the key: neither `none` nor a secret that a public key could
be mistaken for is ever tried."""
LEEWAY_SECONDS = 60.0
FETCH_SECONDS = 5.0
PAUSE_SECONDS = 30.0
"""Between two fetches, whatever is asked meanwhile."""
STALE_SECONDS = 600.0
"""Keys that the issuer has taken back are forgotten after so long."""
MOST_BYTES = 256 << 10
_LONGEST = 8 << 10
_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
_LAST = 1e12
"""Seconds after 1970; no time lies behind it."""
_NOT_FORGED = (jwt.InvalidAudienceError, jwt.InvalidIssuerError, jwt.MissingRequiredClaimError)


async def fetch(url: str) -> bytes:
    """Raises KeysUnavailable. No redirect is followed: the keys are where the setting says."""
    try:
        with anyio.fail_after(FETCH_SECONDS):
            # Loading the certificates takes a tenth of a second, in which nobody else should wait.
            trusted = await anyio.to_thread.run_sync(ssl.create_default_context) if url.startswith("https:") else False
            async with (
                httpx2.AsyncClient(verify=trusted, follow_redirects=False, timeout=FETCH_SECONDS) as client,
                client.stream("GET", url, headers={"accept": "application/json"}) as answer,
            ):
                if answer.status_code != 200:
                    raise KeysUnavailable(f"the server of the keys answered {answer.status_code}")
                body = b""
                async for part in answer.aiter_bytes():
                    body += part
                    if len(body) > MOST_BYTES:
                        raise KeysUnavailable(f"the keys have more than {MOST_BYTES} bytes")
                return body
    except (TimeoutError, httpx2.TimeoutException):
        raise KeysUnavailable(f"the server of the keys did not answer within {FETCH_SECONDS:g} s") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise KeysUnavailable(f"the server of the keys cannot be reached ({type(error).__name__})") from None


class JwksTokens:
    """`ports.access.IdentityTokens`."""

    def __init__(
        self, issuer: str, audience: str, url: str, clock: Clock, read: Callable[[str], Awaitable[bytes]] = fetch
    ) -> None:
        """`read` gives the bytes behind the address of the keys."""
        self.issuer, self._audience, self._url = issuer, audience, url
        self._clock = clock
        self._read = read
        self._keys: Mapping[tuple[str, str], jwt.PyJWK] = {}
        """By key id and algorithm."""
        self._fetched = 0.0
        self._tried: float | None = None
        self._failed: KeysUnavailable | None = None
        self._fetching: anyio.Event | None = None

    async def principal(self, token: str) -> Principal:
        claims = self._claims(token, await self._key(token))
        role = claims.get("wvo_role")
        if not isinstance(role, str) or role not in ROLES:
            raise Forbidden(
                "The token has no role that is known here.",
                hint=f"Its claim wvo_role is one of {', '.join(ROLES)}.",
            )
        name = name_of_subject(claims["sub"])
        until = datetime.fromtimestamp(min(claims["exp"], _LATEST), UTC) + timedelta(seconds=LEEWAY_SECONDS)
        return Principal(name, ROLES[role], Via.JWT, f"jwt:{name}", until=until)

    async def _key(self, token: str) -> jwt.PyJWK:
        """Raises InvalidToken, KeysUnavailable."""
        if len(token) > _LONGEST:
            raise InvalidToken(f"it is longer than {_LONGEST} bytes", forged=True)
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise InvalidToken("it is not a JWT", forged=True) from None
        kid, algorithm = header.get("kid"), header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise InvalidToken(f"its algorithm is not one of {', '.join(ALGORITHMS)}", forged=True)
        if not isinstance(kid, str):
            raise InvalidToken("its header names no key (kid)", forged=True)
        if (kid, algorithm) not in self._keys or self._clock.steady() - self._fetched >= STALE_SECONDS:
            await self._refresh()
        key = self._keys.get((kid, algorithm))
        if key is None:
            if self._failed is not None:
                raise self._failed
            raise InvalidToken("its key is not among those of the issuer", forged=True)
        return key

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[*ALGORITHMS],
                audience=self._audience,
                issuer=self.issuer,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "enforce_minimum_key_length": True,
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except _NOT_FORGED as error:
            raise InvalidToken(str(error), forged=False) from None
        except jwt.PyJWTError as error:
            raise InvalidToken(f"it is not valid ({type(error).__name__})", forged=True) from None
        self._check_times(claims)
        if not isinstance(claims["sub"], str) or not claims["sub"]:
            raise InvalidToken("its subject is not a text", forged=False)
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        """By our clock, which is the one that the tests move."""
        now = self._clock.now().timestamp()
        for claim, otherwise in (("exp", None), ("nbf", 0)):
            at = claims.get(claim, otherwise)
            if isinstance(at, bool) or not isinstance(at, int | float) or not abs(at) < _LAST:
                raise InvalidToken(f"its claim {claim} is not a time", forged=False)
            if claim == "exp" and at + LEEWAY_SECONDS <= now:
                raise InvalidToken("it has expired", forged=False)
            if claim == "nbf" and at - LEEWAY_SECONDS > now:
                raise InvalidToken("it is not valid yet", forged=False)

    async def _refresh(self) -> None:
        """One fetch for all who wait for it; nothing is locked meanwhile, and what keys there are go on being used."""
        if self._fetching is not None:
            await self._fetching.wait()
            return
        if self._tried is not None and self._clock.steady() - self._tried < PAUSE_SECONDS:
            return
        self._tried, self._fetching = self._clock.steady(), anyio.Event()
        try:
            self._keys, self._failed = _parsed(await self._read(self._url)), None
            self._fetched = self._tried
        except KeysUnavailable as error:
            self._failed = error
        finally:
            done, self._fetching = self._fetching, None
            done.set()


def _parsed(text: bytes) -> dict[tuple[str, str], jwt.PyJWK]:
    """The keys by their ids and algorithms; those that are not for signatures of ours are left out. Raises KeysUnavailable."""
    try:
        entries = [entry for entry in from_json(text)["keys"] if isinstance(entry["kid"], str)]
    except (ValueError, KeyError, TypeError):
        raise KeysUnavailable("what is at the address of the keys is not a key set") from None
    keys: dict[tuple[str, str], jwt.PyJWK] = {}
    for entry in entries:
        for algorithm, (kind, curve) in ALGORITHMS.items():
            fits = entry.get("kty") == kind and (curve is None or entry.get("crv") == curve)
            if fits and entry.get("alg", algorithm) == algorithm and entry.get("use", "sig") == "sig":
                with suppress(jwt.PyJWTError, ValueError, TypeError, KeyError):
                    keys[entry["kid"], algorithm] = jwt.PyJWK(entry, algorithm)
    return keys
