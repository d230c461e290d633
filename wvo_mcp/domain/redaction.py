"""Secrets out of texts, before these are logged, exported or sent on (SAFE-3).

Three kinds of secrets are recognised: keys by their own shape (`sk-ant-...`, `ghp_...`, `AKIA...`, JWTs, PEM blocks),
values after a name that says so (`password=...`, `Authorization: Bearer ...`, `https://user:...@host`), and the
values that this process knows to be secret (`known_secrets`). Behind a name a value must look like one: numbers (lease
tokens), placeholders and code stay. The patterns are data (`secrets.txt`), read with the first text. Time grows with the
length of the text alone.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

from wvo_mcp.domain.known_secrets import known_in, looks_random

REDACTED = "[redacted]"
"""What replaces a secret. It is no secret itself: to redact twice is to redact once."""


@dataclass(frozen=True)
class _Rule:
    """One line of `secrets.txt`, tried on texts that contain `mark` and that `guard` matches. `replace`: given the text and
    a match in it, what to write instead."""

    mark: str
    guard: re.Pattern[str] | None
    written: str
    any_case: bool
    replace: Callable[[str, re.Match[str]], str]

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(self.written)


def _whole(text: str, found: re.Match[str]) -> str:
    return REDACTED


def _behind(text: str, found: re.Match[str]) -> str:
    return text[found.start() : found.end(1)] + REDACTED


def _openai(text: str, found: re.Match[str]) -> str:
    # Slugs may begin with sk- too; a key is random: it has digits and capitals.
    key = found.group()
    random = any(c.isdigit() for c in key) and (any(c.isupper() for c in key) or _HEX.fullmatch(key) is not None)
    return REDACTED if random or key.startswith(("sk-ant-", "sk-proj-", "sk-or-", "sk-svcacct-")) else key


_HEX = re.compile(r"sk-(?:lf-)?[0-9a-f-]{32,}")


def _pem(text: str, found: re.Match[str]) -> str:
    return REDACTED if len(found.group()) > 80 else found.group()  # the header alone is no secret


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


def _assigned(text: str, found: re.Match[str]) -> str:
    name, rest, sign, quote = found.group(1, 2, 3, 4)
    value = text[found.start(5) : found.end(5)]
    tight = quote is not None or sign[-1] == "="
    if not _value(name + rest, value, tight=tight):
        return text[found.start() : found.end()]
    left = "" if found.group(6) else value[len(value.rstrip(".:!?")) :]
    return text[found.start() : found.start(5)] + REDACTED + left


def _named(text: str, found: re.Match[str]) -> str:
    """For what is no assignment: the name is the first group, the value the second; quotes are not needed around it."""
    value = text[found.start(2) : found.end(2)]
    if not _value(found.group(1), value, tight=found.group().startswith("<")):
        return text[found.start() : found.end()]
    return text[found.start() : found.start(2)] + REDACTED + text[found.end(2) : found.end()]


def _login(text: str, found: re.Match[str]) -> str:
    """`curl -u NAME:PASSWORD`; but user and group of a container are numbers or words."""
    value = text[found.start(2) : found.end(2)]
    secret = _NUMBER.fullmatch(value) is None and _value("password", value, tight=False)
    return text[found.start() : found.start(2)] + (REDACTED if secret else value)


_PLACE = re.compile(r"PASSWORD|\$?\{[A-Za-z_.]+\}|\$[A-Z_]+")


def _address(text: str, found: re.Match[str]) -> str:
    # USER:PASSWORD and ${USER}:${PASSWORD} are how such an address is explained.
    value = text[found.end(1) : found.end()]
    return found.group() if _PLACE.fullmatch(value) else _behind(text, found)


_KINDS = {
    "address": _address,
    "assigned": _assigned,
    "behind": _behind,
    "login": _login,
    "named": _named,
    "openai": _openai,
    "pem": _pem,
}
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
            section.append(
                _Rule(mark, guard, pattern, rules.get("[as written]") is not section, _KINDS.get(kind, _whole))
            )
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
            shown = rule.replace(text, found)
            if len(shown) != found.end() - found.start() or shown != text[found.start() : found.end()]:
                parts += text[end : found.start()], shown
                end = found.end()
        if parts:
            text = "".join([*parts, text[end:]])
            small = _small(text)
    return text


_SECRET_NAME = re.compile(rf"(?:{_NAMES})(?:_access)?(?:_key)?s?$|^(?:authorization|cookie|set-cookie)$", re.IGNORECASE)


def redacted(value: Any, name: str = "") -> Any:
    """A copy of a JSON-like value, redacted in every text; `name` is its key, if any."""
    if isinstance(value, str):
        named = _SECRET_NAME.search(name)
        if named and (named.group().lower() in ("authorization", "cookie", "set-cookie") or _secret_of(named, value)):
            return REDACTED
        return redact(value)
    if isinstance(value, Mapping):
        entries = cast("Mapping[Any, Any]", value).items()
        return {_redacted_name(key): redacted(part, str(key)) for key, part in entries}
    if isinstance(value, list | tuple):
        return [redacted(part, name) for part in cast("list[Any]", value)]
    return value


def _secret_of(named: re.Match[str], value: str) -> bool:
    return " " not in value and len(value) >= 4 and _value(named.group(), value, tight=True)


def _redacted_name(key: Any) -> Any:
    return redact(key) if isinstance(key, str) else key
