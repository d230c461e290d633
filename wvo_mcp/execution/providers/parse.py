"""From the text of providers.yaml to a Catalogue, or to one error that holds every problem with its line."""

import hashlib
import re
from collections.abc import Collection, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from wvo_mcp.domain.known_secrets import looks_random
from wvo_mcp.domain.providers.catalogue import (
    NO_LIMITS,
    Band,
    Catalogue,
    Cost,
    Limits,
    Mode,
    Model,
    Place,
    Provider,
    ProviderKind,
    Tier,
)
from wvo_mcp.domain.redaction import REDACTED, redact
from wvo_mcp.domain.roadmap import RoadmapProblem
from wvo_mcp.domain.task import TaskType
from wvo_mcp.execution.providers import readers
from wvo_mcp.execution.yaml import source as yaml_source
from wvo_mcp.execution.yaml import values
from wvo_mcp.execution.yaml.fields import Pairs, YamlFields, by_line
from wvo_mcp.execution.yaml.tree import (
    Lines,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    Unreadable,
    compose,
    resolved,
)

E = TypeVar("E", bound=StrEnum)

MAX_BYTES = 2**18
OLLAMA = "http://127.0.0.1:11434"
"""Where Ollama answers unless it was told otherwise."""

_TOKENS = values.whole(1, 1_000_000_000_000)
_LIMITS = {"hourly": _TOKENS, "daily": _TOKENS}
_DOLLARS = values.number(100_000)
_COST = {"input": _DOLLARS, "output": _DOLLARS, "cached": _DOLLARS}
_TIER = values.choice(tuple(Tier))
_PLACE = values.choice(tuple(Place))
_TOP = {
    "mode": values.choice(tuple(Mode)),
    "local_labels": readers.texts(50, 100),
    "cached_weight": values.number(1),
    "count_unreported": values.flag,
    "warn_at": values.number(1),
}
_TOP_PARTS = ("bands", "types", "shares", "estimates", "agent_limits", "task_limits", "providers")
_BAND = {"up_to": values.whole(1, 10), "tier": _TIER, "prefer": values.listed(readers.name, 50)}
_PROVIDER = {
    "kind": values.choice(tuple(ProviderKind)),
    "place": _PLACE,
    "enabled": values.flag,
    "command": readers.command,
    "base_url": readers.address,
    "key_env": readers.variable,
    "key_command": readers.command,
    "capabilities": readers.texts(50, 100),
    "share": values.number(100),
}
_PROVIDER_PARTS = ("limits", "tiers")
_MODEL = {"model": readers.model}
_MODEL_PARTS = ("cost", "limits")
KEYS: Mapping[str, tuple[str, ...]] = {
    "": (*_TOP, *_TOP_PARTS),
    "band": tuple(_BAND),
    "provider": (*_PROVIDER, *_PROVIDER_PARTS),
    "model": (*_MODEL, *_MODEL_PARTS),
    "cost": tuple(_COST),
    "limits": tuple(_LIMITS),
}
"""All that may be said, by what it is said of."""

_WORD = re.compile(r"[A-Za-z0-9+/=_-]{20,}")
_PLACES = {ProviderKind.OLLAMA: Place.LOCAL, ProviderKind.OPENAI: None}
_SECRETS = ("key", "apikey", "token", "secret", "password", "bearer", "authorization", "credential", "auth")


def parse(data: bytes, name: str) -> Catalogue:
    """`name` stands for the file in messages. Raises InvalidInput with every problem; no message holds a secret."""
    text, _ = yaml_source.decoded(data, MAX_BYTES, "providers", name)
    fields = _Fields(Lines(text))
    try:
        catalogue = fields.catalogue(compose(text), hashlib.sha256(data).hexdigest())
    except Unreadable as error:
        here = RoadmapProblem(*fields.place(error.offset), "", _plain(error.expected))
        raise yaml_source.refusal("providers", name, [here, *by_line(fields.problems)], fields.wrong + 1) from None
    if catalogue is None or fields.wrong:
        raise yaml_source.refusal("providers", name, by_line(fields.problems), fields.wrong)
    return catalogue


@cache
def packaged_text() -> str:
    """The file to begin with: defaults that work, with what each means."""
    return (Path(__file__).parent / "providers.yaml").read_text(encoding="utf-8")


def _plain(text: str) -> str:
    """Without what may be a key that was put in the wrong place, whatever it looks like."""
    return _WORD.sub(lambda word: REDACTED if _keylike(word.group()) else word.group(), redact(text))


def _keylike(word: str) -> bool:
    return looks_random(word) or (len(word) >= 24 and any(c.isdigit() for c in word) and word.isalnum())


class _Fields(YamlFields):
    def report(self, offset: int, path: str, message: str) -> None:
        super().report(offset, _plain(path), _plain(message))

    def unknown(self, at: ScalarNode, key: str, prefix: str, known: Collection[str]) -> None:
        plain = key.lower().replace("_", "").replace("-", "")
        if plain.endswith(_SECRETS):
            advice = "expected no key in this file; name its variable in key_env, or what prints it in key_command"
            self.report(at.start, f"{prefix}{key[:60]}", advice)
        else:
            super().unknown(at, key, prefix, known)

    def catalogue(self, root: Node | None, digest: str) -> Catalogue | None:
        if root is None or values.is_null(root):
            self.report(0, "", "expected 'providers:' with at least one provider; without the file the defaults hold")
            return None
        pairs = self.pairs(root, "", KEYS[""], "expected keys such as 'mode:' and 'providers:'")
        if pairs is None:
            return None
        given = self.read(root, pairs, "", _TOP, ("providers",))
        given["local_labels"] = frozenset(given["local_labels"]) if "local_labels" in given else None
        providers, names = self._providers(pairs.get("providers"))
        given |= {
            "bands": self._bands(pairs.get("bands"), names),
            "types": self._map(pairs, "types", TaskType, _PLACE),
            "shares": self._shares(pairs),
            "estimates": self._map(pairs, "estimates", Tier, _TOKENS),
            "agent_limits": self._limits(pairs, "agent_limits", ""),
            "task_limits": self._limits(pairs, "task_limits", ""),
        }
        if "estimates" in pairs:
            given["estimates"] = {**Catalogue(()).estimates, **(given["estimates"] or {})}
        if self.wrong:
            return None
        return Catalogue(providers, digest=digest, **{key: value for key, value in given.items() if value is not None})

    def _bands(self, node: Node | None, names: Collection[str]) -> tuple[Band, ...] | None:
        if node is None or values.is_null(node):
            return None
        listed = resolved(node)
        if not isinstance(listed, SequenceNode) or not listed.items:
            self.report(node.start, "bands", "expected a list of bands, like [{up_to: 10, tier: high}]")
            return None
        bands: list[Band] = []
        for index, item in enumerate(listed.items[:20]):
            path = f"bands[{index}]"
            pairs = self.pairs(item, path, KEYS["band"], "expected a band with 'up_to:' and 'tier:'")
            read = {} if pairs is None else self.read(item, pairs, path, _BAND, ("up_to", "tier"))
            if len(read) < 2 or pairs is None:
                continue
            for wrong in [one for one in read.get("prefer", ()) if one not in names]:
                known = ", ".join(sorted(names)) or "none"
                self.report(pairs["prefer"].start, f"{path}.prefer", f"unknown provider {wrong!r}. Known are {known}.")
            if "up_to" in read and bands and read["up_to"] <= bands[-1].up_to:
                message = f"expected more than {bands[-1].up_to}, as far as the band above reaches"
                self.report(pairs["up_to"].start, f"{path}.up_to", message)
            if "up_to" in read and "tier" in read:
                bands.append(Band(read["up_to"], read["tier"], read.get("prefer", ())))
        if bands and bands[-1].up_to < 10:
            self.report(listed.items[-1].start, "bands", "expected the last band to reach 10, the highest complexity")
        return tuple(bands)

    def _map(self, pairs: Pairs, key: str, names: type[E], reader: values.Reader) -> dict[E, Any] | None:
        """A mapping from the words of an enumeration."""
        node = pairs.get(key)
        if node is None or values.is_null(node):
            return None
        known = {each.value: each for each in names}
        found = self.pairs(node, key, tuple(known), f"expected some of {', '.join(known)}, each with its value")
        read = {} if found is None else self.read(node, found, key, dict.fromkeys(known, reader))
        return {known[name]: value for name, value in read.items()}

    def _shares(self, pairs: Pairs) -> dict[Place, float] | None:
        shares = self._map(pairs, "shares", Place, values.number(100))
        if shares is not None and abs(sum(shares.values()) - 100) > 0.01:
            message = f"expected shares that sum to 100, found {sum(shares.values()):g}"
            self.report(pairs["shares"].start, "shares", message)
        return None if shares is None else {place: shares.get(place, 0.0) for place in Place}

    def _limits(self, pairs: Pairs, key: str, path: str) -> Limits:
        node = pairs.get(key)
        if node is None or values.is_null(node):
            return NO_LIMITS
        path = f"{path}.{key}" if path else key
        found = self.pairs(node, path, KEYS["limits"], "expected 'hourly:' or 'daily:' with tokens")
        return Limits(**({} if found is None else self.read(node, found, path, _LIMITS)))

    def _providers(self, node: Node | None) -> tuple[tuple[Provider, ...], Collection[str]]:
        if node is None or values.is_null(node):
            return (), ()
        mapping = resolved(node)
        if not isinstance(mapping, MappingNode) or not mapping.entries:
            self.report(node.start, "providers", "expected providers, each with its name before the ':'")
            return (), ()
        for offset, key, fault in mapping.faults:
            self.report(offset, f"providers.{key[:60]}" if key else "providers", fault)
        providers: list[Provider] = []
        for name, (at, value, _) in mapping.entries.items():
            if not readers.is_name(name):
                self.report(at.start, f"providers.{name[:60]}", f"expected a name of {readers.NAMES}")
                continue
            provider = self._provider(name, at, value)
            if provider is not None:
                providers.append(provider)
        total = sum(one.share or 0.0 for one in providers)
        if total > 100.01:
            self.report(
                node.start, "providers", f"expected shares of providers that sum to at most 100, found {total:g}"
            )
        return tuple(providers), [*mapping.entries]

    def _provider(self, name: str, at: ScalarNode, node: Node) -> Provider | None:
        path, before = f"providers.{name}", self.wrong
        pairs = self.pairs(node, path, KEYS["provider"], "expected a provider with 'kind:' and 'tiers:'")
        if pairs is None:
            return None
        # Most words of a missing key are told where its provider is named.
        read = self.read(at, pairs, path, _PROVIDER, ("kind", "tiers"))
        kind: ProviderKind | None = read.get("kind")
        limits = self._limits(pairs, "limits", path)
        tiers = self._tiers(pairs.get("tiers"), f"{path}.tiers")
        if kind is not None:
            self._fits(at, pairs, path, kind, read)
        if kind is None or self.wrong > before:
            return None
        read["place"] = read.get("place") or _PLACES.get(kind, Place.CLOUD)
        read["capabilities"] = frozenset(read.get("capabilities", ()))
        if kind is ProviderKind.OLLAMA:
            read.setdefault("base_url", OLLAMA)
        elif kind is not ProviderKind.OPENAI:
            read.setdefault("command", (kind.value,))
        return Provider(name, tiers=tiers, limits=limits, **read)

    def _fits(self, at: ScalarNode, pairs: Pairs, path: str, kind: ProviderKind, read: Mapping[str, Any]) -> None:
        """What a kind needs, and what it has no use for."""
        if kind is ProviderKind.OPENAI:
            if "base_url" not in pairs:
                self.report(
                    at.start, f"{path}.base_url", "expected the address of the server, like http://127.0.0.1:8000/v1"
                )
            if "place" not in pairs:
                message = "expected cloud, or local when data stays with you: it cannot be told from the kind"
                self.report(at.start, f"{path}.place", message)
        if kind in (ProviderKind.OPENAI, ProviderKind.OLLAMA) and "command" in pairs:
            self.report(pairs["command"].start, f"{path}.command", f"expected none: {kind} is an address, no program")
        if "key_env" in read and "key_command" in read:
            message = "expected key_env or key_command, not both"
            self.report(pairs["key_command"].start, f"{path}.key_command", message)

    def _tiers(self, node: Node | None, path: str) -> dict[Tier, Model]:
        if node is None or values.is_null(node):
            return {}
        names = tuple(tier.value for tier in Tier)
        found = self.pairs(node, path, names, f"expected at least one of {', '.join(names)}, each with 'model:'")
        if found is not None and not found:
            self.report(node.start, path, f"expected at least one of {', '.join(names)}")
        tiers: dict[Tier, Model] = {}
        for tier in Tier:
            model = (found or {}).get(tier.value)
            if model is not None:
                tiers[tier] = self._model(model, f"{path}.{tier}")
        return tiers

    def _model(self, node: Node, path: str) -> Model:
        pairs = self.pairs(node, path, KEYS["model"], "expected 'model:' with the name of a model")
        if pairs is None:
            return Model("")
        read = self.read(node, pairs, path, _MODEL, ("model",))
        limits = self._limits(pairs, "limits", path)
        cost = pairs.get("cost")
        if cost is None or values.is_null(cost):
            return Model(read.get("model", ""), limits=limits)
        found = self.pairs(
            cost, f"{path}.cost", KEYS["cost"], "expected 'input:' and 'output:', dollars per million tokens"
        )
        paid = {} if found is None else self.read(cost, found, f"{path}.cost", _COST, ("input", "output"))
        priced = Cost(paid.get("input", 0.0), paid.get("output", 0.0), paid.get("cached", paid.get("input", 0.0)))
        return Model(read.get("model", ""), priced, limits)
