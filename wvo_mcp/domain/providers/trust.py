"""What of providers.yaml makes us run or call something, and what holds of it until a person has accepted it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from wvo_mcp.domain.providers.catalogue import Catalogue, Place, Provider, ProviderKind

Parts = Mapping[str, Any]
"""Of one provider, JSON-ready: `FIELDS` and their values."""

FIELDS = ("kind", "place", "command", "base_url", "key_env", "key_command")
"""Which programs we run, which addresses we call, with which key, and whether data that must stay here may go there."""

_MAY_GO = ("key_env", "key_command")
"""Without these, less is done than was accepted."""


def parts_of(catalogue: Catalogue) -> dict[str, Parts]:
    """By the provider's name."""
    return {one.name: _parts(one) for one in catalogue.providers}


def _parts(provider: Provider) -> Parts:
    values: Parts = {name: getattr(provider, name) for name in FIELDS}
    return {**values, "command": list(provider.command), "key_command": list(provider.key_command)}


def held_back(
    catalogue: Catalogue, accepted: Mapping[str, Parts], shipped: Mapping[str, Parts]
) -> tuple[Catalogue, dict[str, tuple[str, ...]]]:
    """The catalogue with accepted parts only, and the fields of each provider that wait for a person.

    `shipped` comes with the program and needs no acceptance, under whatever name. A provider of which something waits keeps
    what was accepted of it, or is usual for its kind; one of which nothing is, or that became another kind, is left out.
    """
    kept: list[Provider] = []
    waiting: dict[str, tuple[str, ...]] = {}
    for provider in catalogue.providers:
        stated = _parts(provider)
        # The program or server of a kind as it is for everybody; addresses of `openai` are each one's own.
        alike = [one for one in shipped.values() if one["kind"] == provider.kind != ProviderKind.OPENAI]
        known = accepted.get(provider.name) or shipped.get(provider.name) or next(iter(alike), None)
        if any(_within(stated, one) for one in (known, *shipped.values()) if one is not None):
            kept.append(provider)
            continue
        waiting[provider.name] = tuple(
            name for name in FIELDS if stated[name] and stated[name] != (known or {}).get(name)
        )
        if known is not None and known["kind"] == stated["kind"]:
            kept.append(_with(provider, known))
    return (replace(catalogue, providers=tuple(kept)) if waiting else catalogue), waiting


def waits(waiting: Mapping[str, tuple[str, ...]]) -> str | None:
    """One line for people, or None when nothing waits."""
    if not waiting:
        return None
    named = ", ".join(f"{name} ({', '.join(fields)})" for name, fields in waiting.items())
    return (
        f"providers.yaml names what no person has accepted: {named}. What was accepted before holds; see wvo-mcp trust"
    )


def _within(stated: Parts, accepted: Parts) -> bool:
    return all(stated[name] == accepted.get(name) or (name in _MAY_GO and not stated[name]) for name in FIELDS)


def _with(provider: Provider, parts: Parts) -> Provider:
    kept = {name: parts[name] for name in FIELDS} | {
        "kind": ProviderKind(parts["kind"]),
        "place": Place(parts["place"]),
    }
    return replace(provider, **kept | {name: tuple(parts[name]) for name in ("command", "key_command")})
