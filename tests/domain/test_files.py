"""Do two globs have a path in common? Judged against a matcher that tries every small path."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wvo_mcp.domain.files import InUse, overlap, scopes_overlap

pytestmark = pytest.mark.requirement("SCHED-3")

_PARTS = ("a", "b", "ab", "c.py")
PATHS = ["/".join(parts) for depth in (1, 2, 3) for parts in itertools.product(_PARTS, repeat=depth)]


_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def matches(glob: str, path: str) -> bool:
    """Shell matching with `**`, where a glob that names a folder covers what is below it."""
    pattern = ""
    for token in re.findall(r"\*\*/|\*\*|\*|\?|[^*?]", glob):
        pattern += _WILD[token] if token in _WILD else re.escape(token)
    return re.fullmatch(pattern + "(?:/.*)?", path) is not None


globs = st.lists(
    st.sampled_from(["a", "b", "ab", "c.py", "*", "**", "?", "a*", "*.py", "?b"]), min_size=1, max_size=3
).map("/".join)


@given(globs, globs)
@settings(max_examples=400, deadline=None)
def test_globs_that_some_path_matches_both_of_overlap(one: str, other: str) -> None:
    if any(matches(one, path) and matches(other, path) for path in PATHS):
        assert overlap(one, other)
        assert overlap(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("src/a.py", "src/b.py"),
        ("src", "src2"),
        ("src/a*", "src/b*"),
        ("src/*.py", "src/a/b.py"),
        ("docs/**", "src/**"),
        ("a?", "abc"),
    ],
)
def test_globs_with_no_path_in_common_do_not_overlap(one: str, other: str) -> None:
    assert not overlap(one, other)
    assert not overlap(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("src", "src/a/b.py"),
        ("src/", "./src/x"),
        ("a/**/c", "a/c"),
        ("{a,b}/x", "c/y"),
        ("[ab].py", "x.py"),
        ("!src", "docs"),
        ("../x", "src/a"),
        ("README.md", "readme.md"),
        ("", "src"),
    ],
)
def test_globs_that_are_not_understood_overlap(one: str, other: str) -> None:
    assert overlap(one, other)
    assert overlap(other, one)


@given(st.text("ab*?[]{}!/.\\", max_size=30), st.text("ab*?[]{}!/.\\", max_size=30))
@settings(max_examples=300, deadline=None)
def test_any_text_gets_an_answer_and_the_same_one_both_ways(one: str, other: str) -> None:
    assert overlap(one, other) == overlap(other, one)
    assert overlap(one, one)


def test_the_globs_of_the_first_scope_that_overlap_are_named() -> None:
    assert scopes_overlap(["src/**", "docs/x.md"], ["src/a.py"]) == ["src/**"]
    assert scopes_overlap([], ["src/**"]) == []
    assert scopes_overlap(["src/**"], []) == []


odd = st.one_of(globs, st.text("abA*?[]{}!/.", max_size=6))
scopes = st.lists(st.lists(odd, max_size=3), max_size=6)


@given(scopes, st.lists(odd, max_size=3))
@settings(max_examples=400, deadline=None)
def test_conflicts_found_by_prefix_equal_those_of_comparing_every_pair(held: list[list[str]], files: list[str]) -> None:
    compared = [(str(place), scopes_overlap(files, theirs)) for place, theirs in enumerate(held)]
    naive = next((found for found in compared if found[1]), None)

    assert InUse([(str(place), theirs) for place, theirs in enumerate(held)]).conflict(files) == naive


def test_files_far_from_all_that_is_in_use_are_compared_with_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []

    def noted(one: str, other: str) -> bool:
        compared.append((one, other))
        return overlap(one, other)

    in_use = InUse([(f"T{n}", [f"src/{n}/**"]) for n in range(100, 200)])
    monkeypatch.setattr("wvo_mcp.domain.files.overlap", noted)

    assert in_use.conflict(["docs/**", "src/99/a.py"]) is None
    assert in_use.conflict(["src/150/a.py"]) == ("T150", ["src/150/a.py"])
    assert compared == [("src/150/a.py", "src/150/**")]
