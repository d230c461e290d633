"""Catalogues of providers to decide with, and a machine on which they were found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from wvo_mcp.domain.providers.catalogue import (
    NO_LIMITS,
    TIERS,
    Catalogue,
    Cost,
    Limits,
    Model,
    Place,
    Provider,
    ProviderKind,
    Tier,
)
from wvo_mcp.domain.providers.state import Presence
from wvo_mcp.errors import InvalidInput
from wvo_mcp.ports.providers import ProviderCheck


def a_provider(
    name: str,
    kind: ProviderKind = ProviderKind.OPENAI,
    place: Place = Place.CLOUD,
    *,
    cost: float = 1.0,
    limits: Limits = NO_LIMITS,
    tier_limits: Mapping[Tier, Limits] | None = None,
    capabilities: tuple[str, ...] = (),
    tiers: tuple[Tier, ...] = TIERS,
    enabled: bool = True,
) -> Provider:
    """Its models are named after it and their tier; the higher, the dearer."""
    models = {
        tier: Model(
            f"{name}-{tier}",
            Cost(cost * (2**place_), 4 * cost * (2**place_), cost / 10),
            (tier_limits or {}).get(tier, NO_LIMITS),
        )
        for place_, tier in enumerate(tiers)
    }
    return Provider(name, kind, place, models, enabled=enabled, capabilities=frozenset(capabilities), limits=limits)


USUAL = Catalogue(
    (
        a_provider("claude", ProviderKind.CLAUDE, cost=3.0),
        a_provider("codex", ProviderKind.CODEX, cost=2.0),
        a_provider("gemini", ProviderKind.GEMINI, cost=1.0),
        a_provider("ollama", ProviderKind.OLLAMA, Place.LOCAL, cost=0.0),
    )
)


def limited(name: str, limits: Limits, catalogue: Catalogue = USUAL) -> Catalogue:
    """The same, with limits for one provider."""
    providers = tuple(replace(one, limits=limits) if one.name == name else one for one in catalogue.providers)
    return replace(catalogue, providers=providers)


def only(*names: str, catalogue: Catalogue = USUAL) -> Catalogue:
    return replace(catalogue, providers=tuple(one for one in catalogue.providers if one.name in names))


@dataclass
class FixedProviders:
    """`ports.Providers` of a file and a machine that are as the test says."""

    catalogue: Catalogue | None = field(default=USUAL)
    found: Mapping[str, Presence] = field(default_factory=dict[str, Presence])
    wrong: str | None = None
    looks: int = 0

    async def refresh(self) -> None:
        pass

    def current(self) -> Catalogue:
        if self.catalogue is None:
            raise InvalidInput("providers", self.wrong or "broken", message=self.wrong or "providers.yaml:1: broken")
        return self.catalogue

    def problem(self) -> str | None:
        return self.wrong

    def unaccepted(self) -> str | None:
        return None

    def presence(self) -> Mapping[str, Presence]:
        return self.found

    async def look(self) -> None:
        self.looks += 1

    async def check(self, providers: Sequence[Provider]) -> dict[str, ProviderCheck]:
        return {one.name: ProviderCheck(one.name, None, None, None, "nobody looked") for one in providers}
