"""JWTs of an issuer: only what it has signed, for us, now."""

import base64
import hmac
import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anyio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.clock import StoppedClock
from tests.support.issuer import AUDIENCE, NAME, URL, Issuer, by_hand, rsa_key
from wvo_mcp.domain.access import Via
from wvo_mcp.domain.lease import Role
from wvo_mcp.errors import Forbidden
from wvo_mcp.execution import jwks
from wvo_mcp.execution.jwks import JwksTokens
from wvo_mcp.ports.access import InvalidToken, KeysUnavailable

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("DASH-5")]


@pytest.fixture
def issuer(clock: StoppedClock) -> Issuer:
    return Issuer(clock)


@pytest.fixture
def tokens(issuer: Issuer) -> JwksTokens:
    return JwksTokens(NAME, AUDIENCE, URL, issuer.clock, issuer.read)


async def refusal(tokens: JwksTokens, text: str) -> InvalidToken:
    with pytest.raises(InvalidToken) as raised:
        await tokens.principal(text)
    return raised.value


@pytest.mark.parametrize(("kid", "algorithm"), [("rsa", "RS256"), ("rsa", "PS256"), ("ec", "ES256"), ("ed", "EdDSA")])
async def test_what_the_issuer_has_signed_is_taken(
    issuer: Issuer, tokens: JwksTokens, kid: str, algorithm: str
) -> None:
    issuer.with_every_kind()

    found = await tokens.principal(issuer.token(kid, algorithm, aud=["other", AUDIENCE]))

    assert (found.name, found.role, found.via, found.key_id) == ("ann", Role.OPERATOR, Via.JWT, "jwt:ann")


async def test_an_algorithm_that_needs_no_private_key_is_never_tried(issuer: Issuer, tokens: JwksTokens) -> None:
    public = rsa_key(0).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for algorithm in ("none", "None", "NONE", "", "HS256", "HS512", "RS512", "ES256K", None, 1, ["RS256"]):
        header = {"alg": algorithm, "kid": "rsa", "typ": "JWT"}
        unsigned = by_hand(header, issuer.claims())
        signed = by_hand(header, issuer.claims(), hmac.digest(public, unsigned.rpartition(".")[0].encode(), "sha256"))
        for text in (unsigned, signed):
            assert (await refusal(tokens, text)).forged
    assert issuer.fetches == 0


async def test_no_key_serves_for_another_algorithm_than_its_own(issuer: Issuer, tokens: JwksTokens) -> None:
    issuer.with_every_kind()
    issuer.more = [
        {"kty": "oct", "kid": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"},
        {**issuer.public("rsa"), "kid": "enc", "use": "enc"},
        {**issuer.public("rsa"), "kid": "ps", "alg": "PS256"},
        {**issuer.public("rsa"), "kid": "hs", "alg": "HS256"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kid": "bare"},
    ]
    assert (await tokens.principal(issuer.token("rsa", "PS256", {"kid": "ps"}))).name == "ann"
    for kid, algorithm, shown in (
        ("rsa", "RS256", "ps"),
        ("rsa", "RS256", "ec"),
        ("rsa", "RS256", "enc"),
        ("rsa", "RS256", "hs"),
        ("rsa", "RS256", "broken"),
        ("rsa", "RS256", "bare"),
        ("ec", "ES256", "rsa"),
        ("ed", "EdDSA", "ec"),
    ):
        assert (await refusal(tokens, issuer.token(kid, algorithm, {"kid": shown}))).forged


async def test_keys_that_a_token_brings_along_are_not_looked_at(issuer: Issuer, tokens: JwksTokens) -> None:
    thief = Issuer(issuer.clock)
    thief.private = {"rsa": rsa_key(1)}
    more = ({}, {"jwk": thief.public("rsa")}, {"jku": "https://evil.example/keys"}, {"x5u": "https://evil.example"})
    for header in more:
        assert (await refusal(tokens, thief.token(header=header))).forged
    assert issuer.fetches == 1


async def test_a_weak_key_proves_nothing(issuer: Issuer, tokens: JwksTokens) -> None:
    issuer.private["weak"] = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    issuer.private["p384"] = ec.generate_private_key(ec.SECP384R1())

    assert (await refusal(tokens, issuer.token("weak"))).forged
    with pytest.raises(InvalidToken):
        await tokens.principal(issuer.token("p384", "ES384"))


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example"},
        {"iss": None},
        {"iss": [NAME]},
        {"aud": "https://other.example"},
        {"aud": f"{AUDIENCE}/"},
        {"aud": []},
        {"aud": None},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 10**400},
        {"nbf": "now"},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
    ],
)
async def test_a_token_that_is_not_for_us_is_refused(
    issuer: Issuer, tokens: JwksTokens, changed: dict[str, Any]
) -> None:
    await refusal(tokens, issuer.token(**changed))
    assert (await tokens.principal(issuer.token())).name == "ann"


async def test_clocks_may_differ_by_a_minute(issuer: Issuer, tokens: JwksTokens) -> None:
    now = issuer.clock.now()
    await tokens.principal(issuer.token(exp=now - timedelta(seconds=59)))
    await tokens.principal(issuer.token(nbf=now + timedelta(seconds=60)))

    for late in (issuer.token(exp=now - timedelta(seconds=60)), issuer.token(nbf=now + timedelta(seconds=61))):
        assert not (await refusal(tokens, late)).forged


@pytest.mark.parametrize("role", [None, "", "root", "ADMIN", "viewer ", 4, ["admin"], {"admin": True}])
async def test_without_a_role_that_we_know_nothing_is_allowed(issuer: Issuer, tokens: JwksTokens, role: Any) -> None:
    with pytest.raises(Forbidden):
        await tokens.principal(issuer.token(wvo_role=role))


@pytest.mark.parametrize(
    "text", ["a.b.c", "..", "é.é.é", "x" * 9_000, "eyJhbGciOiJSUzI1NiJ9.e30.", "W10.W10.", "\0.\0.\0"]
)
async def test_what_is_no_jwt_is_refused(tokens: JwksTokens, text: str) -> None:
    assert (await refusal(tokens, text)).forged


async def test_a_deep_header_is_refused(tokens: JwksTokens) -> None:
    deep = base64.urlsafe_b64encode(b"[" * 4_000).decode().rstrip("=")
    assert (await refusal(tokens, f"{deep}.e30.x")).forged


async def test_a_new_key_is_fetched_once_in_half_a_minute(issuer: Issuer, tokens: JwksTokens) -> None:
    await tokens.principal(issuer.token())
    issuer.private = {"new": rsa_key(1)}
    new = issuer.token("new")
    assert (await refusal(tokens, new)).forged, "it was looked for a moment ago"
    assert issuer.fetches == 1

    issuer.clock.advance(30)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(tokens.principal, new)
    assert issuer.fetches == 2
    for number in range(100):
        issuer.private[f"{number}"] = rsa_key(1)
        await refusal(tokens, issuer.token(f"{number}"))
    assert issuer.fetches == 2


async def test_a_key_that_was_taken_back_is_forgotten(issuer: Issuer, tokens: JwksTokens) -> None:
    old = issuer.token(exp=issuer.clock.now() + timedelta(days=1))
    await tokens.principal(old)
    issuer.private = {"new": rsa_key(1)}

    issuer.clock.advance(599)
    await tokens.principal(old)
    issuer.clock.advance(1)
    assert (await refusal(tokens, old)).forged


async def test_keys_that_are_known_serve_while_their_server_is_away(issuer: Issuer, tokens: JwksTokens) -> None:
    issuer.down = True
    with pytest.raises(KeysUnavailable):
        await tokens.principal(issuer.token())
    issuer.down = False
    issuer.clock.advance(30)
    await tokens.principal(issuer.token())
    issuer.down = True
    issuer.clock.advance(3_600)
    assert (await tokens.principal(issuer.token())).name == "ann"
    issuer.private["new"] = rsa_key(1)
    with pytest.raises(KeysUnavailable):
        await tokens.principal(issuer.token("new"))


@pytest.mark.parametrize(
    "said", [b"", b"no", b"[]", b"{}", b'{"keys": 1}', b'{"keys": [1]}', b'{"keys": [{}]}', b"[" * 9_999]
)
async def test_what_is_no_key_set_is_told_apart_from_a_wrong_token(clock: StoppedClock, said: bytes) -> None:
    async def read(_: str) -> bytes:
        return said

    with pytest.raises(KeysUnavailable, match="not a key set"):
        await JwksTokens(NAME, AUDIENCE, URL, clock, read).principal(Issuer(clock).token())


@contextmanager
def serving(status: int, body: bytes, headers: dict[str, str] | None = None) -> Generator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/keys", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_keys_are_read_where_the_setting_says_and_nowhere_else() -> None:
    with serving(200, b'{"keys": []}') as (url, _):
        assert await jwks.fetch(url) == b'{"keys": []}'
    with serving(302, b"", {"Location": "/other"}) as (url, asked):
        with pytest.raises(KeysUnavailable, match="302"):
            await jwks.fetch(url)
        assert asked == ["/keys"]
    with serving(200, b"x" * (jwks.MOST_BYTES + 1)) as (url, _), pytest.raises(KeysUnavailable, match="bytes"):
        await jwks.fetch(url)
    with pytest.raises(KeysUnavailable, match="cannot be reached"):
        await jwks.fetch("http://127.0.0.1:9/keys")


async def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_SECONDS", 0.05)
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610
        with pytest.raises(KeysUnavailable, match="did not answer"):
            await jwks.fetch(f"http://127.0.0.1:{port}/keys")
