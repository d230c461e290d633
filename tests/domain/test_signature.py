"""What of an error is the same the next time."""

import re
import time

import hypothesis.strategies as st
import pytest
from hypothesis import example, given

from wvo_mcp.domain.signature import LINE, LINES, signature

pytestmark = [pytest.mark.requirement("CTX-3")]

PYTHON = """\
Traceback (most recent call last):
  File "{path}", line {line}, in load
    return parse(text)
  File "{path}", line {line}, in parse
    raise ParseError(text)
shop.errors.ParseError: token 0x{address} of {path} at {line}:{line} is not closed after {line} ms
"""
NODE = """\
{time} Error: connect ECONNREFUSED 10.0.{octet}.7:{line}
    at TCPConnectWrap.afterConnect [as oncomplete] ({path}:{line}:{line})
    at run ({path}:{line}:{line})
"""
RUST = "error[E0308]: mismatched types\n --> {path}:{line}:{line}\n{line} |     total({address});\n"

PIECES = (
    "error fatal: Error: TypeError: E0308 ENOENT npm ERR! cannot open 'x' \"a b c d e\" `f` /etc/x.conf C:\\a\\b.py:3:4 https://h/p"
    " 0x1f 12:30:01 a.b.c.Exception: (line 3) [x]: ; ... -> <path> <q> no such file or directory denied not found it's don't"
    " DETAIL: Caused by deadbeef1234 \x1b[31m \r FATAL ERROR: == # panic: SQLSTATE[23505] ERROR 1045 f(x)"
)
words = st.sampled_from(re.split(" ", PIECES))
texts = st.lists(st.lists(words, max_size=14).map(" ".join), max_size=12).map("\n".join) | st.text(max_size=300)
places = st.fixed_dictionaries(
    {
        "path": st.sampled_from(["/srv/app/x.py", "/opt/ci/job-7/lib/y.js", "C:\\app\\src\\z.ts", "src/deep/w.rs"]),
        "line": st.integers(1, 9_999),
        "address": st.integers(1 << 20, 1 << 40).map("{:x}0".format),
        "octet": st.integers(0, 255),
        "time": st.sampled_from(["2026-01-02T03:04:05.678Z", "2025-12-31T23:59:59Z", "[12:00:01]"]),
    }
)


@given(texts)
@example("a: b: cannot open the door\nError: x 'y' \"z\"")
def test_to_normalise_a_signature_is_to_get_it_again(text: str) -> None:
    once = signature(text)
    again = signature(once.text)

    assert again.lines == once.lines
    assert again.key == once.key


@given(texts)
def test_a_signature_is_short(text: str) -> None:
    found = signature(text)

    assert len(found.lines) <= LINES
    assert all(0 < len(line) <= LINE and "\n" not in line for line in found.lines)


@pytest.mark.parametrize("template", [PYTHON, NODE, RUST])
@given(places, places)
def test_other_paths_numbers_addresses_and_times_are_the_same_error(
    template: str, one: dict[str, str], other: dict[str, str]
) -> None:
    assert signature(template.format(**one)).key == signature(template.format(**other)).key


def test_other_types_codes_and_functions_are_other_errors_or_other_frames() -> None:
    assert signature("error TS2345: no").key != signature("error TS2322: no").key
    assert signature("TypeError: x is not callable").key != signature("ValueError: x is not callable").key
    assert signature(PYTHON.format(path="/a/b.py", line=1, address="ff00")).frames == ("parse", "load")


def test_names_in_quotes_are_somebodys_but_for_the_kinds_of_nothing() -> None:
    assert signature("KeyError: 'a'").key == signature("KeyError: 'b'").key
    assert "NoneType" in signature("AttributeError: 'NoneType' object has no attribute 'x'").text


@pytest.mark.parametrize(
    "hostile", ["a", "/", "'", '"', "a/", "(", "\x1b[", ".", ":", "a.", "e: ", "\n", "Error ", "<q>", "-", "1,"]
)
def test_the_time_of_hostile_megabytes_grows_with_their_length_alone(hostile: str) -> None:
    """Quadratic would be sixteen times as much of four times the length; of a megabyte only the ends are read."""

    def took(size: int) -> float:
        text = hostile * (size // len(hostile))
        tries: list[float] = []
        for _ in range(2):
            began = time.process_time()
            signature(text)
            tries.append(time.process_time() - began)
        return min(tries)

    assert took(1_000_000) < 8 * took(250_000) + 0.05
    assert took(60_000) < 8 * took(15_000) + 0.05


SECRETS = (
    "sk-ant-api03-Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlZmdoaWprbG1ub3A",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "AKIAIOSFODNN7EXAMPLE",
    "hunter2hunter2",
)


@given(texts, st.integers(0, 3), texts)
def test_no_secret_is_in_a_signature(before: str, which: int, after: str) -> None:
    secret = SECRETS[which]
    said = f"{before}\nError: login failed with password={secret} for the user\n{after}"

    found = signature(said)

    assert secret not in found.text
    assert all(secret.lower() not in word for word in found.index)
