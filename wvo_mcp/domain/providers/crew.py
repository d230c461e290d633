"""Who does which part of a plan, out of the programs that are here (WORK-4)."""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from wvo_mcp.domain.providers.catalogue import Provider, ProviderKind

MARK = "part:"
"""A label of a task begins with it, and names its part."""


class Part(StrEnum):
    DESIGN = "design"
    IMPLEMENTATION = "implementation"
    REVIEW = "review"


_CLAUDE, _CODEX, _GEMINI = ProviderKind.CLAUDE, ProviderKind.CODEX, ProviderKind.GEMINI
_ORDER = {
    Part.IMPLEMENTATION: (_CLAUDE, _CODEX, _GEMINI),
    Part.DESIGN: (_GEMINI, _CLAUDE, _CODEX),
    Part.REVIEW: (_CODEX, _GEMINI, _CLAUDE),
}
_TIERS = {frozenset[ProviderKind](): 1, frozenset({_CODEX}): 2, frozenset({_GEMINI}): 3, frozenset({_CLAUDE}): 4}
LAST_TIER = 5
"""At most one of the three is here, and does all, beside whatever else is configured."""


def part_of(labels: Iterable[str]) -> Part | None:
    named = next((label.removeprefix(MARK) for label in labels if label.startswith(MARK)), "")
    return Part(named) if named in set(Part) else None


def crew(able: Sequence[Provider]) -> dict[Part, str]:
    """By part, the name of who does it; nobody reviews what they implement where somebody else is here. Empty without any."""
    found: dict[Part, str] = {}
    for part, order in _ORDER.items():
        ranked = sorted(able, key=lambda one: order.index(one.kind) if one.kind in order else len(order))
        if part is Part.REVIEW:
            ranked = [one for one in ranked if one.name != found.get(Part.IMPLEMENTATION)] or ranked
        if ranked:
            found[part] = ranked[0].name
    return found


def tier(able: Iterable[Provider]) -> int:
    """1: all three programs; 2: without codex; 3: without gemini; 4: without claude; 5: without two or more of them."""
    missing = frozenset(_ORDER[Part.DESIGN]) - {one.kind for one in able}
    return _TIERS.get(missing, LAST_TIER)
