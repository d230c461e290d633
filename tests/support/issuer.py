"""An issuer of JWTs, with keys of its own."""

import base64
import json
import warnings
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt import PyJWS
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.support.clock import StoppedClock
from wvo_mcp.ports.access import KeysUnavailable

NAME = "https://issuer.example"
AUDIENCE = "https://wvo.example/mcp"
URL = f"{NAME}/keys"
_RSA: list[RSAPrivateKey] = []
"""Made once: that takes a while."""


def rsa_key(number: int) -> RSAPrivateKey:
    while len(_RSA) <= number:
        _RSA.append(rsa.generate_private_key(65537, 2048))
    return _RSA[number]


class Issuer:
    """`keys` are those that it publishes; `fetches` counts who asked for them."""

    def __init__(self, clock: StoppedClock) -> None:
        self.clock = clock
        self.private: dict[str, Any] = {"rsa": rsa_key(0)}
        self.fetches = 0
        self.down = False
        self.more: list[dict[str, Any]] = []

    def with_every_kind(self) -> "Issuer":
        self.private |= {"ec": ec.generate_private_key(ec.SECP256R1()), "ed": ed25519.Ed25519PrivateKey.generate()}
        return self

    async def read(self, url: str) -> bytes:
        assert url == URL
        self.fetches += 1
        if self.down:
            raise KeysUnavailable("the server of the keys answered 502")
        return json.dumps({"keys": [*map(self.public, self.private), *self.more]}).encode()

    def public(self, kid: str) -> dict[str, Any]:
        key = self.private[kid].public_key()
        if isinstance(key, rsa.RSAPublicKey):
            made = RSAAlgorithm.to_jwk(key, as_dict=True)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            made = ECAlgorithm.to_jwk(key, as_dict=True)
        else:
            made = OKPAlgorithm.to_jwk(key, as_dict=True)
        return {**made, "kid": kid}

    def claims(self, **changed: Any) -> dict[str, Any]:
        """None leaves one out."""
        now = self.clock.now()
        claims = {"iss": NAME, "aud": AUDIENCE, "sub": "ann", "wvo_role": "operator", "exp": now + timedelta(hours=1)}
        return {name: value for name, value in (claims | changed).items() if value is not None}

    def token(
        self, kid: str = "rsa", algorithm: str = "RS256", header: dict[str, Any] | None = None, **changed: Any
    ) -> str:
        headers = {"kid": kid, **(header or {})}
        with warnings.catch_warnings(action="ignore"):  # keys that are too short are what a test is about
            return PyJWS().encode(_json(self.claims(**changed)), self.private[kid], algorithm, headers)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, default=lambda at: at.timestamp()).encode()


def by_hand(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """What no library makes."""
    parts = [_json(part) for part in (header, claims)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (*parts, signature))
