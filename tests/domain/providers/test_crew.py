"""Who does which part of a plan, for every set of programs that may be here."""

from collections.abc import Sequence
from itertools import combinations, permutations

import pytest

from wvo_mcp.domain.providers.catalogue import Place, Provider, ProviderKind
from wvo_mcp.domain.providers.crew import Part, crew, part_of, tier

pytestmark = pytest.mark.requirement("WORK-4")
THREE = ("claude", "codex", "gemini")
TABLE = [
    (THREE, 1, ("gemini", "claude", "codex")),
    (("claude", "gemini"), 2, ("gemini", "claude", "gemini")),
    (("claude", "codex"), 3, ("claude", "claude", "codex")),
    (("codex", "gemini"), 4, ("gemini", "codex", "gemini")),
    (("claude",), 5, ("claude", "claude", "claude")),
    (("codex",), 5, ("codex", "codex", "codex")),
    (("gemini",), 5, ("gemini", "gemini", "gemini")),
]


def here(names: Sequence[str]) -> list[Provider]:
    return [Provider(name=name, kind=ProviderKind(name), place=Place.CLOUD, tiers={}) for name in names]


@pytest.mark.parametrize(("names", "expected", "who"), TABLE)
def test_each_part_goes_to_who_does_it_best_of_those_who_are_here(
    names: Sequence[str], expected: int, who: Sequence[str]
) -> None:
    for order in permutations(names):
        able = here(order)
        found = crew(able)
        assert tier(able) == expected
        assert tuple(found[part] for part in (Part.DESIGN, Part.IMPLEMENTATION, Part.REVIEW)) == who


def test_nobody_reviews_what_they_implement_where_another_is_here() -> None:
    kinds = [kind.value for kind in ProviderKind]
    for many in range(2, len(kinds) + 1):
        for names in combinations(kinds, many):
            found = crew(here(names))
            assert found[Part.REVIEW] != found[Part.IMPLEMENTATION], names


def test_without_anybody_there_is_no_crew() -> None:
    assert crew([]) == {}


@pytest.mark.parametrize(
    ("labels", "part"),
    [((), None), (("part:design",), Part.DESIGN), (("x", "part:review"), Part.REVIEW), (("part:king",), None)],
)
def test_a_label_names_the_part_of_a_task(labels: Sequence[str], part: Part | None) -> None:
    assert part_of(labels) is part
