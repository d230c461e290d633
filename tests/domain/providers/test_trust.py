"""Of providers.yaml, what makes us run or call something holds as far as a person has accepted it."""

from dataclasses import replace
from typing import Any

import pytest

from wvo_mcp.domain.providers.catalogue import Catalogue, Model, Place, Provider, ProviderKind, Tier
from wvo_mcp.domain.providers.trust import held_back, parts_of, waits

pytestmark = pytest.mark.requirement("SAFE-4")

TIERS = {Tier.LOW: Model("m")}
SHIPPED = Provider("codex", ProviderKind.CODEX, Place.CLOUD, TIERS, command=("codex",), key_env="OPENAI_API_KEY")
OWN = Provider(
    "own", ProviderKind.OPENAI, Place.LOCAL, TIERS, base_url="http://10.0.0.5/v1", key_command=("pass", "show", "own")
)
ACCEPTED = parts_of(Catalogue((OWN,)))


def judged(*providers: Provider, accepted: Any = ACCEPTED) -> tuple[Any, Any]:
    return held_back(Catalogue(providers), accepted, parts_of(Catalogue((SHIPPED,))))


@pytest.mark.parametrize("name", ["codex", "mine"])
def test_what_ships_with_the_program_needs_no_acceptance_under_any_name(name: str) -> None:
    catalogue, waiting = judged(replace(SHIPPED, name=name), accepted={})

    assert (catalogue.providers[0].name, waiting) == (name, {})


@pytest.mark.parametrize(
    "change",
    [
        {"base_url": "http://evil.example/v1"},
        {"key_command": ("sh", "-c", "touch planted")},
        {"key_env": "AWS_SECRET_ACCESS_KEY"},
        {"place": Place.CLOUD},
        {"command": ("planted",)},
    ],
)
def test_a_change_of_what_is_run_or_called_waits_and_what_was_accepted_holds(change: dict[str, Any]) -> None:
    catalogue, waiting = judged(replace(OWN, tiers={Tier.HIGH: Model("new")}, **change))

    assert waiting == {"own": tuple(change)}
    assert catalogue.providers == (replace(OWN, tiers={Tier.HIGH: Model("new")}),)
    assert f"own ({', '.join(change)})" in str(waits(waiting))


def test_a_program_that_takes_the_place_of_a_shipped_one_is_not_run() -> None:
    catalogue, waiting = judged(replace(SHIPPED, command=("./codex",)), accepted={})

    assert (catalogue.providers, waiting) == ((SHIPPED,), {"codex": ("command",)})


def test_a_new_provider_is_not_there_until_it_is_accepted() -> None:
    catalogue, waiting = judged(OWN, SHIPPED, accepted={})

    assert catalogue.providers == (SHIPPED,)
    assert waiting == {"own": ("kind", "place", "base_url", "key_command")}


def test_a_provider_that_became_another_kind_is_left_out() -> None:
    assert judged(replace(OWN, kind=ProviderKind.CLAUDE, command=("claude",)))[0].providers == ()


@pytest.mark.parametrize("change", [{"key_command": ()}, {"enabled": False}])
def test_what_only_forbids_more_takes_effect_at_once(change: dict[str, Any]) -> None:
    stated = replace(OWN, **change)

    assert judged(stated) == (Catalogue((stated,)), {})
    assert judged() == (Catalogue(()), {})
    assert waits({}) is None
