"""Files that were made to hurt: small work, a typed answer, nothing expanded."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from wvo_mcp.domain.roadmap import Roadmap
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.roadmap.parse import parse

pytestmark = [pytest.mark.requirement("TASK-5"), pytest.mark.timeout(200)]

NAME = "state/roadmap.yaml"
HEAD = "epics:\n- id: E\n  title: e\n  tasks:\n"
MANY = 300_000


def read(text: str) -> Roadmap:
    return parse(text.encode(), NAME).checked(set())


def refused(text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(text)
    assert len(caught.value.message) < 1_500
    return caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "[" * MANY,
        "{" * MANY,
        "- " * MANY,
        "? " * MANY,
        ": " * MANY,
        "a: " * MANY,
        '"' * MANY,
        "'" * (MANY + 1),
        "*a " * MANY,
        "&a " * MANY,
        "!" * MANY,
        ">" * MANY,
        "%" * MANY,
        "---\n" * MANY,
        "epics: |\n" + " \n" * MANY,
        "epics:\n" + "- k: 1\n" * 20_000,
        "epics:\n" + "- {" + ", ".join(f"k{i}: 1" for i in range(20_000)) + "}\n",
        HEAD + "  - {id: T, title: t, depends_on: [" + "T, " * MANY + "]}\n",
    ],
    ids=lambda text: text[:12].replace("\n", " "),
)
def test_a_long_run_of_one_sign_is_refused(text: str) -> None:
    assert refused(text).startswith(f"{NAME}:")


def test_a_scalar_of_ten_megabytes_is_refused_without_being_repeated_in_the_message() -> None:
    assert refused(f"epics:\n- id: E\n  title: {'x' * 10_000_000}\n") == (
        f"{NAME}:3: epics[0].title: expected at most 500 characters, found 10,000,000"
    )


def test_very_many_problems_are_counted_and_a_few_are_shown() -> None:
    with pytest.raises(InvalidInput) as caught:
        read(HEAD + "".join(f"  - {{id: T{i}, title: t, depends_on: [X{i}]}}\n" for i in range(5_000)))

    assert (caught.value.details["count"], len(caught.value.details["problems"])) == (5_000, 20)


def test_a_cycle_through_thousands_of_tasks_is_named() -> None:
    text = HEAD + "".join(f"  - {{id: T{i}, title: t, depends_on: [T{(i + 1) % 5_000}]}}\n" for i in range(5_000))

    assert "T0 (line 5) -> T1 (line 6)" in refused(text)


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("epics: -[]{},&*!|>'\"%@`#?~<\n\t\r\\ abT01\x00\x85\u2028\ufeff\ud800😀"), max_size=80))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    for loader in (None, yaml.SafeLoader):
        try:
            parse(data, NAME, loader).checked(set())
        except InvalidInput as error:
            assert error.message.startswith(f"{NAME}:")
            assert all(problem["line"] >= 1 for problem in error.details["problems"])


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for sound in (data, HEAD.encode() + data):
        try:
            parse(sound, NAME).checked(set())
        except InvalidInput as error:
            assert error.message.startswith(f"{NAME}:")
