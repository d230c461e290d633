"""Secrets out of texts, before these are logged, exported or sent on (SAFE-3).

Three kinds of secrets are recognised: keys by their own shape (`sk-ant-...`, `ghp_...`, `AKIA...`, JWTs, PEM blocks),
values after a name that says so (`password=...`, `Authorization: Bearer ...`, `https://user:...@host`), and the
values that this process knows to be secret (`known_secrets`). Behind a name a value must look like one: numbers (lease
tokens), placeholders and code stay. The patterns are data (`secrets.txt`), read with the first text. Time grows with the
length of the text alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

from wvo_mcp.domain.known_secrets import known_in, looks_random

REDACTED = "[redacted]"
"""What replaces a secret. It is no secret itself: to redact twice is to redact once."""


@dataclass(frozen=True)
class _Rule:
    """One line of `secrets.txt`, tried on texts that contain `mark` and that `guard` matches."""

    mark: str
    guard: re.Pattern[str] | None
    kind: str
    written: str
    any_case: bool

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(self.written)


_NAMES = r"pass(?:word|wd|phrase|code)|(?:db|database|sql|mail|smtp|ftp|user|admin|root|redis|proxy)_pass|pwd|secret|token|credential|api[_-]?key|access[_-]?key|private[_-]?key|signing[_-]?key|encryption[_-]?key|auth[_-]?key|account[_-]?key|client-key-data|_key"  # noqa: E501
_NOT_VALUES = re.compile(
    r"[$<{%*\[(]"  # placeholders, lists
    r"|[\w.]*[(\[]"  # code
    r"|(?:none|null|true|false|str|string|bytes|optional|required|undefined|redacted|x{3,}|\.{3,})\b",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[A-Za-z_]+(?:\.[A-Za-z_]+)*[.:!?]*")
_NAME = re.compile(r"[A-Za-z]+(?:[._][A-Za-z_]+)+[.:!?]*")
"""Of a variable, or of an attribute of it."""
_NUMBER = re.compile(r"-?\d[\d_]*(?:\.\d+)?[.:!?]*")


def _value(name: str, value: str, *, tight: bool) -> bool:
    """Is `value`, which follows `name`, a secret? `tight`: in quotes, or right behind an equals sign."""
    if _NOT_VALUES.match(value):
        return False
    if name.lower().startswith("_key"):  # OPENAI_KEY, but also cache_key
        return tight and looks_random(value)
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    if "pass" in name.lower() or name.lower() == "pwd":
        if not tight:
            return len(value) >= 6 and _WORDS.fullmatch(value) is None
        if _WORDS.fullmatch(value):  # password=settings.password is code, password=swordfish is not
            return not value.lower().rstrip(".").endswith(("password", "passwd", "pwd", "passphrase", "secret"))
        return True
    if _NUMBER.fullmatch(value):
        return False
    if tight:
        long = len(value) >= 20 and _NAME.fullmatch(value) is None
        return len(value) >= 8 and (mixed or long) and not _path_like(value)
    return len(value) >= 16 and mixed and not _path_like(value)


def _path_like(value: str) -> bool:
    """A path, an address, a time."""
    return value.startswith(("/", "./", "~", "http://", "https://")) or (value[4:5] == "-" and value[:4].isdigit())


_HEX = re.compile(r"sk-(?:lf-)?[0-9a-f-]{32,}")
_SOUND_PREFIXES = ("sk-ant-", "sk-proj-", "sk-or-", "sk-svcacct-")
_PLACE = re.compile(r"PASSWORD|\$?\{[A-Za-z_.]+\}|\$[A-Z_]+")


def _secret(kind: str, text: str, found: re.Match[str]) -> tuple[int, int] | None:
    """Where the secret of a match begins and ends in the text; None when it is none."""
    start, end = found.span()
    if kind in ("behind", "address"):
        start = found.end(1)
    elif kind in ("named", "login"):
        start, end = found.span(2)
    elif kind == "assigned":
        start, end = found.span(5)
    value = text[start:end]
    is_secret = True
    if kind == "openai":
        # Slugs may begin with sk- too; a key is random: it has digits and capitals.
        random = any(c.isdigit() for c in value) and (any(c.isupper() for c in value) or _HEX.fullmatch(value))
        is_secret = bool(random) or value.startswith(_SOUND_PREFIXES)
    elif kind == "pem":  # the header alone is no secret
        is_secret = len(value) > 80
    elif kind == "address":  # USER:PASSWORD and ${USER}:${PASSWORD} are how such an address is explained
        is_secret = _PLACE.fullmatch(value) is None
    elif kind == "login":  # `curl -u NAME:PASSWORD`; but user and group of a container are numbers or words
        is_secret = _NUMBER.fullmatch(value) is None and _value("password", value, tight=False)
    elif kind == "named":  # no assignment: quotes are not needed around the value
        is_secret = _value(found.group(1), value, tight=found.group().startswith("<"))
    elif kind == "assigned":
        name, rest, sign, quote, whole = found.group(1, 2, 3, 4, 6)
        is_secret = _value(name + rest, value, tight=quote is not None or sign[-1] == "=")
        end = found.end() if whole else start + len(value.rstrip(".:!?"))
    return (start, end) if is_secret else None


_START = r"(?:(?<![A-Za-z0-9]<it>)|(?<=\\[nrt]<it>)|(?<=%[0-9A-Fa-f]{2}<it>)|(?<=%25[0-9A-Fa-f]{2}<it>))"
"""No letter or digit precedes it, unless that is the n of an escaped line break or part of what is escaped in
an address."""
_MACROS = {
    "<names>": _NAMES,
    "<between>": r"(?:[\s>#|\"'+]|\\{1,4}[nrt]|\\[\"'])",
    "<start>": _START.replace("<it>", ""),
    "<text>": "[A-Za-z0-9_-]",
}


@cache
def _rules() -> dict[str, list[_Rule]]:
    """Those of each section of the file."""
    rules: dict[str, list[_Rule]] = {}
    section: list[_Rule] = []
    written = (Path(__file__).parent / "secrets.txt").read_text(encoding="utf-8")
    for line in written.replace("\n    ", "").splitlines():
        if line.startswith("["):
            section = rules.setdefault(line, [])
        elif line and not line.startswith("#"):
            mark, kind, pattern = line.split(" ", 2)
            if kind in ("key", "openai"):  # the prefix first: such patterns are searched for many times faster
                prefix = re.escape(mark)
                pattern = prefix + _START.replace("<it>", prefix) + pattern
            for name, meaning in _MACROS.items():
                pattern = pattern.replace(name, meaning)
            mark, guard = ("", re.compile(mark[1:-1])) if mark.startswith("/") else (mark, None)
            section.append(_Rule(mark, guard, kind, pattern, rules.get("[as written]") is not section))
    return rules


_TO_SMALL = {ord(capital): capital.lower() for capital in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def _small(text: str) -> str:
    """In small letters, each where it stood: a few capitals have small letters of another length."""
    small = text.lower()
    return small if len(small) == len(text) else text.translate(_TO_SMALL)


def redact(text: str, *, shapes_only: bool = False) -> str:
    """The same text with `[redacted]` where secrets stood; the very same object when there were none.

    `shapes_only`: only what is a secret beyond doubt, and no value because of the name before it. JSON stays
    JSON then.
    """
    for form in known_in(text):
        text = text.replace(form, REDACTED)
    small = _small(text)
    as_written, any_case, named = _rules().values()
    # What was put in has no mark: those of the beginning are all.
    rules = [rule for rule in as_written if rule.mark in text]
    rules += [rule for rule in (any_case if shapes_only else (*any_case, *named)) if rule.mark in small]
    for rule in rules:
        if rule.guard is not None and rule.guard.search(text) is None:
            continue
        parts: list[str] = []
        end = 0
        for found in rule.pattern.finditer(small if rule.any_case else text):
            place = _secret(rule.kind, text, found)
            if place is not None and text[slice(*place)] != REDACTED:
                parts += text[end : place[0]], REDACTED
                end = place[1]
        if parts:
            text = "".join([*parts, text[end:]])
            small = _small(text)
    return text


_SECRET_NAME = re.compile(rf"(?:{_NAMES})(?:_access)?(?:_key)?s?$|^(?:authorization|cookie|set-cookie)$", re.IGNORECASE)


def redacted(value: Any, name: str = "") -> Any:
    """A copy of a JSON-like value, redacted in every text; `name` is its key, if any."""
    if isinstance(value, str):
        named = _SECRET_NAME.search(name)
        if named is None:
            return redact(value)
        is_word = " " not in value and len(value) >= 4
        if named.group().lower() in ("authorization", "cookie", "set-cookie") or (
            is_word and _value(named.group(), value, tight=True)
        ):
            return REDACTED
        return redact(value)
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value).items()
        return {redact(key) if isinstance(key, str) else key: redacted(part, str(key)) for key, part in entries}
    if isinstance(value, list | tuple):
        return [redacted(part, name) for part in cast("list[Any]", value)]
    return value
