"""`state/providers.yaml`: from the file to a Catalogue, or to one error that holds every problem with its line."""

import hashlib
import re
import shlex
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from wvo_mcp.domain.known_secrets import holds_words, looks_random
from wvo_mcp.domain.providers.catalogue import (
    NO_LIMITS,
    Band,
    Catalogue,
    Cost,
    Limits,
    Mode,
    Model,
    OnLimit,
    Place,
    Provider,
    ProviderKind,
    Tier,
)
from wvo_mcp.domain.redaction import REDACTED, redact
from wvo_mcp.domain.task import TaskType
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.replacement import read_at_most
from wvo_mcp.execution.yaml.reading import (
    Reader,
    Report,
    choice,
    decoded,
    flag,
    is_null,
    listed,
    node_at,
    number,
    parsed,
    record,
    scalar,
    text,
    whole,
)
from wvo_mcp.execution.yaml.tree import MappingNode, Node, ScalarNode, SequenceNode

MAX_BYTES = 2**18
OLLAMA = "http://127.0.0.1:11434"
"""Where Ollama answers unless it is configured otherwise."""

_PLACES = {ProviderKind.OLLAMA: Place.LOCAL, ProviderKind.OPENAI: None}
_SECRETS = ("key", "apikey", "token", "secret", "password", "bearer", "authorization", "credential", "auth")
_NAMES = "1 to 32 of small letters, digits, '_', '-', the first a letter or digit"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_HEX = re.compile(r"[0-9a-f]{24,}")
_WORD = re.compile(r"[A-Za-z0-9+/=_-]{20,}")

_text = text(1_000)
_listed = listed(_text, 50)


def _without_keys(text: str) -> str:
    """Without what may be a key that was put in the wrong place, whatever it looks like."""

    def hidden(word: re.Match[str]) -> str:
        shown = word.group()
        keylike = looks_random(shown) or (len(shown) >= 24 and shown.isalnum() and any(c.isdigit() for c in shown))
        return REDACTED if keylike else shown

    return _WORD.sub(hidden, redact(text))


def _provider_name(node: Node, report: Report) -> str | None:
    if isinstance(node, ScalarNode) and _NAME.fullmatch(node.text):
        return node.text
    report(node, f"expected the name of a provider ({_NAMES})")
    return None


def _variable(node: Node, report: Report) -> str | None:
    value = node.text if isinstance(node, ScalarNode) else ""
    keylike = redact(value) != value or looks_random(value) or _HEX.fullmatch(value)
    if holds_words(value):
        report(node, f"expected the name of a variable that holds a key; {value} holds none")
    elif _VARIABLE.fullmatch(value) and not keylike:
        return value
    else:
        report(node, "expected the name of a variable of the environment (letters, digits, '_'), never the key itself")
    return None


def _address(node: Node, report: Report) -> str | None:
    shown = node.text if isinstance(node, ScalarNode) and len(node.text) <= 1_000 else ""
    if shown.isprintable() and not any(sign in shown for sign in " ?#") and redact(shown) == shown:
        with suppress(ValueError):
            parts = urlsplit(shown)
            if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and "@" not in parts.netloc:
                return shown.rstrip("/")
    report(node, "expected an address like http://127.0.0.1:8000/v1, without user, password or query")
    return None


def _without_secrets(read: Reader) -> Reader:
    def judge(node: Node, report: Report) -> Any:
        value = read(node, report)
        stated = value if isinstance(value, str) else "\n".join(value or ())
        # Word by word as well: what follows a flag like --token is then seen by its own shape.
        if redact(stated) == stated and all(redact(word) == word for word in stated.split()):
            return value
        report(node, "expected no key or password; name its variable in key_env, or what prints it in key_command")
        return None

    return judge


def _words(node: Node, report: Report) -> tuple[str, ...] | None:
    if isinstance(node, SequenceNode) and not node.items:
        report(node, "expected a program and its arguments, found an empty list")
        return None
    if not isinstance(node, ScalarNode):
        return _listed(node, report)
    try:
        return tuple(shlex.split(_text(node, report) or "")) or None
    except ValueError as error:
        report(node, f"expected a program and its arguments, quoted as for a shell: {error}")
        return None


_command = _without_secrets(_words)
"""A program and its arguments: text, quoted as for a shell, or a list."""

_labels = _without_secrets(listed(text(100), 50))
_open_name = _without_secrets(text(200))


def _model_name(node: Node, report: Report) -> str | None:
    """The name of a model: printable, for it is handed to programs, and nothing that looks like a key."""
    value = _open_name(node, report)
    if value is None:
        return None
    if not value.isprintable():
        report(node, "expected the name of a model, without line breaks and control characters")
        return None
    # Names of models have breaks, and many keys are long and have none.
    if len(value) >= 24 and value.isalnum() and not value.isalpha() and not value.isdigit():
        report(node, "expected the name of a model, found what looks like a key; name its variable in key_env")
        return None
    return value


class _Report(Report):
    """No message and no path repeats what may be a key."""

    def add(self, offset: int, path: str, message: str) -> None:
        super().add(offset, _without_keys(path), _without_keys(message))

    def unknown(self, at: ScalarNode, key: str, known: Collection[str]) -> None:
        if key.lower().replace("_", "").replace("-", "").endswith(_SECRETS):
            advice = "expected no key in this file; name its variable in key_env, or what prints it in key_command"
            self(at, advice, f".{key[:60]}")
        else:
            super().unknown(at, key, known)


def _object(
    build: Callable[[dict[str, Any]], Any], keys: Mapping[str, Reader], what: str, required: Collection[str] = ()
) -> Reader:
    """What `build` makes of the fields, when all of them are right."""
    fields = record(keys, what, required)

    def read(node: Node, report: Report) -> Any:
        before = report.wrong
        found = fields(node, report)
        return build(found) if found is not None and report.wrong == before else None

    return read


def _by_word(words: type[StrEnum], item: Reader, what: str = "each with its value") -> Reader:
    """A mapping from the words of an enumeration, in its order."""

    def build(found: dict[str, Any]) -> dict[StrEnum, Any]:
        return {each: found[each] for each in words if each in found}

    return _object(build, {each.value: item for each in words}, f"some of {', '.join(words)}, {what}")


_TOKENS = whole(1, 1_000_000_000_000)
_DOLLARS = number(100_000)
_SPAN = re.compile(r"(\d{1,5})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _span(text: str) -> timedelta | None:
    return (found := _SPAN.fullmatch(text)) and timedelta(seconds=int(found[1]) * _SECONDS[found[2]])


_TIER = choice(Tier)
_PLACE = choice(Place)
_LIMIT_KEYS = {"hourly": _TOKENS, "daily": _TOKENS}
_LIMITS = _object(lambda read: Limits(**read), _LIMIT_KEYS, "'hourly:' or 'daily:' with tokens")
_COST = _object(
    lambda paid: Cost(paid["input"], paid["output"], paid.get("cached", paid["input"])),
    {"input": _DOLLARS, "output": _DOLLARS, "cached": _DOLLARS},
    "'input:' and 'output:', dollars per million tokens",
    ("input", "output"),
)
_EFFORT = re.compile(r"[a-z][a-z_-]{0,19}")
_effort = scalar("a word of its program such as low, medium or high", lambda text: _EFFORT.fullmatch(text) and text)
_MODEL_KEYS = {"model": _model_name, "cost": _COST, "limits": _LIMITS, "effort": _effort}
_MODEL = _object(
    lambda read: Model(read.pop("model"), **read), _MODEL_KEYS, "'model:' with the name of a model", ("model",)
)
_EACH_TIER = _by_word(Tier, _MODEL, "each with 'model:'")
_BAND_KEYS = {"up_to": whole(1, 10), "tier": _TIER, "prefer": listed(_provider_name, 50)}
_BAND = _object(lambda read: Band(**read), _BAND_KEYS, "a band with 'up_to:' and 'tier:'", ("up_to", "tier"))
_EACH_BAND = listed(_BAND, 20, "a list of bands, like [{up_to: 10, tier: high}]", partly=True)
_EACH_SHARE = _by_word(Place, number(100))


def _tiers(node: Node, report: Report) -> Mapping[Tier, Model] | None:
    if isinstance(node, MappingNode) and not node.entries:
        report(node, f"expected at least one of {', '.join(Tier)}")
    return _EACH_TIER(node, report)


def _bands(node: Node, report: Report) -> tuple[Band, ...] | None:
    bands = _EACH_BAND(node, report)
    if bands is None or not isinstance(node, SequenceNode) or len(bands) < len(node.items):
        return bands
    for index in range(1, len(bands)):
        if bands[index].up_to <= bands[index - 1].up_to:
            message = f"expected more than {bands[index - 1].up_to}, as far as the band above reaches"
            report(node_at(node, f"[{index}].up_to"), message, f"[{index}].up_to")
    if not bands:
        report(node, "expected a list of bands, found an empty one")
    elif bands[-1].up_to < 10:
        report(node.items[-1], "expected the last band to reach 10, the highest complexity")
    return bands


def _shares(node: Node, report: Report) -> dict[Place, float] | None:
    shares = _EACH_SHARE(node, report)
    if shares is not None and abs(sum(shares.values()) - 100) > 0.01:
        report(node, f"expected shares that sum to 100, found {sum(shares.values()):g}")
    return None if shares is None else {place: shares.get(place, 0.0) for place in Place}


_PROVIDER = record(
    {
        "kind": choice(ProviderKind),
        "place": _PLACE,
        "enabled": flag,
        "command": _command,
        "base_url": _address,
        "key_env": _variable,
        "key_command": _command,
        "capabilities": _labels,
        "share": number(100),
        "limits": _LIMITS,
        "tiers": _tiers,
    },
    "a provider with 'kind:' and 'tiers:'",
    ("kind", "tiers"),
)


def _provider(name: str, node: Node, report: Report) -> Provider | None:
    before = report.wrong
    read: dict[str, Any] = _PROVIDER(node, report) or {}
    kind: ProviderKind | None = read.get("kind")
    if kind is None or not isinstance(node, MappingNode):
        return None
    keys, is_openai, problems = node.entries.keys(), kind is ProviderKind.OPENAI, dict[str, str]()
    if is_openai and "base_url" not in keys:
        problems["base_url"] = "expected the address of the server, like http://127.0.0.1:8000/v1"
    if is_openai and "place" not in keys:
        problems["place"] = "expected cloud, or local when data stays with you: it does not follow from the kind"
    if kind in (ProviderKind.OPENAI, ProviderKind.OLLAMA) and "command" in keys:
        problems["command"] = f"expected none: {kind} is an address, not a program"
    if "key_env" in read and "key_command" in read:
        problems["key_command"] = "expected key_env or key_command, not both"
    for key, problem in problems.items():
        report(node_at(node, key), problem, f".{key}")
    if report.wrong > before:
        return None
    read["place"] = read.get("place") or _PLACES.get(kind, Place.CLOUD)
    read["capabilities"] = frozenset(read.get("capabilities", ()))
    if kind is ProviderKind.OLLAMA:
        read.setdefault("base_url", OLLAMA)
    elif not is_openai:
        read.setdefault("command", (kind.value,))
    return Provider(name, **read)


def _providers(node: Node, report: Report) -> tuple[Provider, ...] | None:
    if not isinstance(node, MappingNode) or not node.entries:
        report(node, "expected providers, each with its name before the ':'")
        return None
    report.keys(node, node.entries)
    providers: list[Provider] = []
    for name, (at, value) in node.entries.items():
        if not _NAME.fullmatch(name):
            report(at, f"expected a name of {_NAMES}", f".{name[:60]}")
            continue
        provider = report.inside(f".{name}", value, lambda node, report, name=name: _provider(name, node, report))
        if provider is not None:
            providers.append(provider)
    total = sum(one.share or 0.0 for one in providers)
    if total > 100.01:
        report(node, f"expected shares of providers that sum to at most 100, found {total:g}")
    return tuple(providers)


_FILE = record(
    {
        "mode": choice(Mode),
        "local_labels": _labels,
        "cached_weight": number(1),
        "count_unreported": flag,
        "warn_at": number(1),
        "on_limit": choice(OnLimit),
        "wait_at_most": scalar("a duration like 90s, 30m, 6h or 2d", _span),
        "daily_cost": _DOLLARS,
        "bands": _bands,
        "types": _by_word(TaskType, _PLACE),
        "shares": _shares,
        "estimates": _by_word(Tier, _TOKENS),
        "agent_limits": _LIMITS,
        "task_limits": _LIMITS,
        "providers": _providers,
    },
    "keys such as 'mode:' and 'providers:'",
    ("providers",),
)


def parse(data: bytes, name: str) -> Catalogue:
    """`name` stands for the file in messages. Raises InvalidInput with every problem; no message holds a secret."""
    text = decoded(data, MAX_BYTES, "providers", name)
    report = _Report(text)
    root = parsed(text, report, "providers", name)
    given: dict[str, Any] = {}
    if root is None or is_null(root):
        report.add(0, "", "expected 'providers:' with at least one provider; without the file the defaults hold")
    else:
        given = _FILE(root, report) or {}
        providers = node_at(root, "providers")
        names = providers.entries if isinstance(providers, MappingNode) else {}
        for index, band in enumerate(given.get("bands", ())):  # providers may be anywhere in the file
            path = f"bands[{index}].prefer"
            for wrong in [one for one in band.prefer if one not in names]:
                known = ", ".join(sorted(names)) or "none"
                report.add(node_at(root, path).start, path, f"unknown provider {wrong!r}. Known are {known}.")
    if report.wrong:
        raise report.refusal("providers", name)
    if "local_labels" in given:
        given["local_labels"] = frozenset(given["local_labels"])
    if "estimates" in given:
        given["estimates"] = {**Catalogue(()).estimates, **given["estimates"]}
    return Catalogue(digest=hashlib.sha256(data).hexdigest(), **given)


def read(path: Path) -> Catalogue | None:
    """None without a file. Raises InvalidInput with every problem, also for a file that cannot be read."""
    name = f"{path.parent.name}/{path.name}"
    try:
        data = read_at_most(path, MAX_BYTES, "providers", name)
        if data is not None:
            return parse(data, name)
        if not path.is_symlink():
            return None
        reason = f"{name} is a link to a file that is not there"
    except OSError as error:
        reason = f"{name} cannot be read: {error.strerror or error}"
    raise InvalidInput("providers", reason, message=f"{reason}.")


@cache
def packaged_text() -> str:
    """The file to begin with: defaults that work, with what each means."""
    return (Path(__file__).parent / "providers.yaml").read_text(encoding="utf-8")


@cache
def defaults() -> Catalogue:
    """What holds without a file: the packaged text, without its limits: no one is stopped by limits that they never saw."""
    packaged = parse(packaged_text().encode(), "the packaged providers.yaml")
    providers = tuple(
        replace(one, limits=NO_LIMITS, tiers={tier: replace(has, limits=NO_LIMITS) for tier, has in one.tiers.items()})
        for one in packaged.providers
    )
    return replace(packaged, providers=providers, agent_limits=NO_LIMITS, task_limits=NO_LIMITS, digest="")
