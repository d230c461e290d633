"""Values that the process knows to be secret go wherever they stand; words and numbers do not."""

import json
import secrets
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wvo_mcp.domain import known_secrets
from wvo_mcp.domain.known_secrets import register_address, register_environment, register_secret
from wvo_mcp.domain.redaction import REDACTED, redact, redacted

pytestmark = pytest.mark.requirement("SAFE-3")


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    known_secrets._forms = ()
    yield
    known_secrets._forms = ()


_SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="[]"), min_size=8, max_size=40).filter(
    lambda text: len(text.strip()) >= 8 and any(c.isdigit() for c in text) and any(c in "xyzXYZ" for c in text)
)
_WAYS: tuple[Callable[[str], str], ...] = (
    lambda text: f"see {text} there",
    lambda text: json.dumps({"note": f"first\n{text}"}),
    lambda text: json.dumps({"note": text}, ensure_ascii=False),
    lambda text: json.dumps({"inner": json.dumps({"note": text})}),
    lambda text: f"https://example.org/?q={quote(text, safe='')}&n=1",
    lambda text: f"line one\n{text}\nline three",
    lambda text: str([text]),
)


@given(_SECRETS, st.sampled_from(_WAYS))
@settings(max_examples=200)
def test_a_known_value_goes_in_every_form(secret: str, way: Callable[[str], str]) -> None:
    secret = secret.strip()
    known_secrets._forms = ()
    register_secret(secret)
    shown = redact(way(secret))
    assert secret not in shown and REDACTED in shown
    assert redact(shown) == shown
    event = json.dumps({"note": f"{secret} and {secret}", "n": 7}, ensure_ascii=False)
    assert json.loads(redact(event, shapes_only=True)) == {"note": f"{REDACTED} and {REDACTED}", "n": 7}
    assert redacted({"x": [secret]}) == {"x": [REDACTED]}


def test_the_longest_goes_first_and_several_are_known() -> None:
    register_secret("k3y-of-the-house")
    register_secret("k3y-of-the-house-and-garden")
    assert redact("k3y-of-the-house-and-garden, k3y-of-the-house") == f"{REDACTED}, {REDACTED}"


def test_the_password_of_an_address_is_known_as_it_is_meant_too() -> None:
    register_address("postgresql://wvo:p%40ss-w0rd!x@db.example:5432/wvo?sslpassword=an0ther-one")
    assert redact("password authentication failed: p@ss-w0rd!x") == f"password authentication failed: {REDACTED}"
    assert redact("tried p%40ss-w0rd!x and an0ther-one") == f"tried {REDACTED} and {REDACTED}"


@pytest.mark.parametrize(
    "value",
    [
        None, "", "k3y", "postgres", "password", "redacted", "1234567890123456", "1e10000000", "not-needed", "lm-studio",
        "/var/lib/alice7/work", "~/.config/wvo", "./keys/ca-1.pem", "/usr/local/bin-8:/usr/bin", "/run/secrets/openai_2",
    ],
)  # fmt: skip
def test_words_numbers_and_what_is_short_stay(value: str | None) -> None:
    register_secret(value)
    text = f'{{"task":"set up postgres","password":"redacted","n":1234567890123456,"k":"{value}"}}'
    assert redact(text, shapes_only=True) == text


def test_a_key_that_begins_with_a_slash_is_no_path() -> None:
    key = "/pQ7vRk2mXs9TbLw4NcYh8Zd" + secrets.token_hex(8) + "=="
    register_secret(key)
    assert redact(f"sent {key} to them") == f"sent {REDACTED} to them"


def test_an_address_that_cannot_be_read_or_has_no_password_registers_nothing() -> None:
    for url in (None, "", "postgresql://wvo@db/wvo", "postgresql:///wvo?host=/run/db", "http://[broken"):
        register_address(url)
    key = secrets.token_hex(4)
    assert redact(f"commit {key} of wvo") == f"commit {key} of wvo"


def test_what_the_environment_calls_a_secret_is_known_and_nothing_else_of_it() -> None:
    register_environment(
        {
            "SOME_API_KEY": "first-value-1",
            "gitlab_token": "second-value-2",
            "PGPASSWORD": "third-value-3",
            "STORE": "redis://:fourth-value-4@cache:6379",
            "WVO_ALERT_WEBHOOK_URL": "https://hooks.example/services/fifth-value-which-is-long-5",
            "TLS_PRIVATE_KEY": "/srv/keys/private-6.pem",
            "SORT_KEY": "seventh-value-7",
            "PATH": "/usr/local/bin-8:/usr/bin",
            "MAX_TOKENS": "1234567890",
        }
    )
    shown = redact("first-value-1 second-value-2 third-value-3 fourth-value-4 fifth-value-which-is-long-5")
    assert shown == " ".join([REDACTED] * 5)
    stays = "/srv/keys/private-6.pem seventh-value-7 /usr/local/bin-8:/usr/bin 1234567890 hooks.example services"
    assert redact(stays) == stays
