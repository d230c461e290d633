"""What others wrote is shown so that no part of it can hide."""

import shlex
import string
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wvo_mcp.domain.visible import cut, visible

pytestmark = pytest.mark.requirement("APPR-1")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("git push origin main", "git push origin main"),
        ("grüße 名前 'a b'", "grüße 名前 'a b'"),
        ("ls\rrm -rf ~", "ls\\rrm -rf ~"),
        ("ls\nrm -rf ~", "ls\\nrm -rf ~"),
        ("rm -rf ~\x1b[2K\x1b[1Gls", "rm -rf ~\\e[2K\\e[1Gls"),
        ("rm x\b\b\b\bls", "rm x\\x08\\x08\\x08\\x08ls"),
        ("ls \u202eexe.tac", "ls \\u202eexe.tac"),
        ("l\u200bs\u2066\ufeff\u00ad", "l\\u200bs\\u2066\\ufeff\\xad"),
        ("ls\u2028rm\u0085", "ls\\u2028rm\\x85"),
        ("a\u00a0b\u3000c\u2800d\u3164", "a\\xa0b\\u3000c\\u2800d\\u3164"),
        ("x\ufe0f\U000e0041\U000e0101", "x\\ufe0f\\U000e0041\\U000e0101"),
        ("a\ud800", "a\\ud800"),
        ("ls" + " " * 5_000 + "; rm -rf ~", "ls[5000 spaces]; rm -rf ~"),
    ],
)
def test_what_moves_hides_or_reorders_is_escaped(written: str, shown: str) -> None:
    assert visible(written) == shown


@given(st.text(alphabet=st.characters(), max_size=60))
@example("\\x1b \x1b")
def test_nothing_that_is_shown_steers_a_terminal(text: str) -> None:
    shown = visible(text)
    assert all(unicodedata.category(char)[0] != "C" for char in shown)
    assert {char for char in shown if char.isspace()} <= {" "}
    assert visible(shown) == shown


@given(st.text(alphabet=string.ascii_letters + string.digits + " '\"$;|&/.-", max_size=60))
def test_a_usual_command_is_shown_as_it_is(text: str) -> None:
    if " " * 9 not in text:
        assert visible(text) == text
        assert shlex.quote(visible(text)) == shlex.quote(text)


def test_prose_keeps_its_lines_and_no_gap_between_them() -> None:
    assert visible("one\n\n two\x07" + "\n" * 500 + "three", lines=True) == (
        "one\n\n two\\x07\n[499 empty lines]\nthree"
    )


def test_what_is_too_long_shows_its_end_and_how_much_is_missing() -> None:
    text = "echo begin " + "x" * 4_000 + " ; rm -rf ~"
    short = cut(text, 100, ": look there")
    assert short.startswith("echo begin")
    assert short.endswith("; rm -rf ~")
    assert "[... 3,922 more characters: look there ...]" in short
    assert cut("short", 100) == "short"
