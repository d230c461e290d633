"""New values mean the same to every reader of YAML."""

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.execution.roadmap.texts import TRICKY
from wvo_mcp.execution.yaml.edit import Bare, block_text, field_lines, inline, scalar

pytestmark = pytest.mark.requirement("TASK-5")

SIGNS = "ab01 :#-?,[]{}&*!|>'\"%@`~=<.\\\n\t\r\x07\x85\xa0\u2028é😀\ufeff_+eEoxTZ/"
MORE = ["", "<<", "=", ".inf", "0o7", "1:30", "0x1F", "1_000", "+1", ".5", "5.", "y", "---", "... a", "a:'b'", "NULL"]
texts = st.one_of(st.sampled_from([*TRICKY, *MORE]), st.text(st.sampled_from(SIGNS), max_size=8), st.text(max_size=20))


def both_read(text: str) -> list[Any]:
    """As libyaml reads it by the rules of YAML 1.1, and another library by those of 1.2."""
    newer = YAML(typ="safe", pure=True)
    return [yaml.load(text, Loader=yaml.CSafeLoader), newer.load(text)]


@settings(deadline=None, max_examples=300)
@given(texts, st.booleans())
def test_a_text_stays_that_text(text: str, flow: bool) -> None:
    shown = scalar(text, flow=flow)

    document = f"key: [{shown}, {shown}]\n" if flow else f"key: {shown}\nnext: 1\n"
    assert "\n" not in shown
    for read in both_read(document):
        assert read["key"] == ([text, text] if flow else text)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.text(st.sampled_from("ab :#'\"-\t\x85"), max_size=6), min_size=1, max_size=5).map("\n".join))
def test_a_block_of_lines_is_that_text_or_not_offered(text: str) -> None:
    block = block_text(text, "    ")

    if block is not None:
        head, lines = block
        for read in both_read("\n".join([f"key: {head}", *lines, "next: 1", ""])):
            assert read["key"] == text
    elif text and all(line.isalpha() for line in text.split("\n")):
        assert "\n" not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (12.5, "12.5"),
        (20.0, "20"),
        (("a, b", "c"), '["a, b", c]'),
        ((), "[]"),
        (Bare("2027-01-15"), "2027-01-15"),
        ("2027-01-15", '"2027-01-15"'),
    ],
)
def test_a_value_is_shown_as_what_it_is(value: Any, shown: str) -> None:
    assert inline(value) == shown


def test_a_list_that_is_too_long_for_a_line_becomes_a_block() -> None:
    items = tuple(f"src/module-{i}/**" for i in range(9))

    assert field_lines("files", items[:2], "  ") == ["  files: [src/module-0/**, src/module-1/**]"]
    assert field_lines("files", items, "  ") == ["  files:", *(f"    - {item}" for item in items)]
