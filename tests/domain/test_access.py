"""Keys as they are shown: what is one, and what proves it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as some

from wvo_mcp.domain.access import IN_ADDRESS, Kind, Shown, name_of_subject
from wvo_mcp.domain.redaction import redact
from wvo_mcp.domain.text import is_id

pytestmark = pytest.mark.requirement("DASH-3")

SECRET = "Ab-_" * 10 + "xyz"
KEY = Shown("0123456789ab", SECRET)


@pytest.mark.parametrize("kind", Kind)
def test_a_key_is_read_as_it_was_written(kind: Kind) -> None:
    assert Shown.parse(kind, KEY.written(kind)) == KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wvo_",
        f"wvo_0123456789ab_{SECRET}x",
        f"wvo_0123456789ab_{SECRET[1:]}",
        f"wvo_0123456789AB_{SECRET}",
        f"wvo_0123456789ab_{SECRET}\n",
        f" wvo_0123456789ab_{SECRET}",
        f"wvo_0123456789ab_{SECRET[1:]}\x00",
        f"wvo_\u0661123456789ab_{SECRET}",
        f"wvo_0123456789ab_{'é' * 43}",
        f"0123456789ab.{SECRET}",
        "wvo_" * 100_000,
        "wvo_%_' OR 1=1 --",
    ],
)
def test_what_only_looks_like_a_token_is_none(text: str) -> None:
    assert Shown.parse(Kind.TOKEN, text) is None


@given(some.text(max_size=200), some.sampled_from(Kind))
def test_whatever_is_shown_is_a_key_or_is_not(text: str, kind: Kind) -> None:
    found = Shown.parse(kind, text)
    assert found is None or found.written(kind) == text


def test_the_value_of_forms_says_nothing_of_the_cookie_and_is_another_for_each() -> None:
    other = Shown(KEY.key_id, SECRET[::-1])

    assert KEY.csrf != other.csrf
    assert SECRET not in KEY.csrf
    assert KEY.csrf != KEY.hash


@pytest.mark.requirement("SAFE-3")
@pytest.mark.parametrize(
    "text",
    [
        f"it said {KEY.written(Kind.TOKEN)}.",
        f"GET /login/{KEY.written(Kind.LINK)} HTTP/1.1",
        f"wvo_session_8737={KEY.written(Kind.SESSION)}; x",
    ],
)
def test_no_secret_of_a_key_is_left_in_a_text(text: str) -> None:
    assert SECRET not in redact(text)


@pytest.mark.parametrize(
    "address",
    ["/api/status?token=x", "/x?a=b&access_token=x", f"/{KEY.written(Kind.TOKEN)}", "/a?q=WVO_0123456789ab_x"],
)
def test_a_token_is_seen_in_an_address(address: str) -> None:
    assert IN_ADDRESS.search(address)


@given(some.lists(some.text(min_size=1, max_size=80), min_size=2, max_size=5, unique=True))
def test_subjects_never_share_a_name(subjects: list[str]) -> None:
    names = [name_of_subject(subject) for subject in subjects]

    assert len(set(names)) == len(subjects)
    assert all(is_id(name) and re.fullmatch(r"[\w.-]+", name) for name in names)
