"""Secrets out of texts, before these are logged, exported or sent on (SAFE-3).

Two kinds of secrets are recognised: keys by their own shape (`sk-ant-...`, `ghp_...`, `AKIA...`, JWTs, PEM blocks), and
whatever stands behind a name that says so (`password=...`, `Authorization: Bearer ...`, `https://user:...@host`). Behind a
name a value must look like one: numbers (lease tokens), placeholders and code stay. Time grows with the length of the
text alone: no pattern reads a character more than a few times.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

REDACTED = "[redacted]"
"""What stands in the place of a secret. It is no secret itself: to redact twice is to redact once."""


class _Rule(NamedTuple):
    """`pattern` is tried only on texts that contain `mark`, which is quickly told. It is matched against the text in small
    letters where `mark` is one of `_ANY_CASE`: to ignore case in the pattern itself takes ten times as long."""

    mark: str
    pattern: re.Pattern[str]
    replace: Callable[[str, re.Match[str]], str]
    """Given the text and a match in it, what to write instead."""


def _whole(text: str, found: re.Match[str]) -> str:
    return REDACTED


def _key(prefix: str, body: str) -> _Rule:
    """A key that begins so. In front of it stands no letter or digit, unless that is the n of an escaped line break.

    The prefix comes first in the pattern, for such patterns are searched for many times faster.
    """
    begin = re.escape(prefix)
    return _Rule(prefix, re.compile(rf"{begin}(?:(?<![A-Za-z0-9]{begin})|(?<=\\[nrt]{begin})){body}"), _whole)


def _openai(text: str, found: re.Match[str]) -> str:
    # Slugs may begin with sk- too; a key is random: it has digits and capitals.
    key = found.group()
    random = any(c.isdigit() for c in key) and any(c.isupper() for c in key)
    return REDACTED if random or key.startswith(("sk-ant-", "sk-proj-", "sk-or-", "sk-svcacct-")) else key


_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:\s|\\[nr]){1,4}[A-Z][A-Za-z-]{1,30}: [^\n\\]{0,100})*+"  # Proc-Type, DEK-Info
    r"(?:(?:\s|\\[nr])*+[A-Za-z0-9+/]{24,}+={0,2})*+"
    r"(?:(?:\s|\\[nr])*+[A-Za-z0-9+/=]{0,80}(?:\s|\\[nr])*+-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?"
)


def _pem(text: str, found: re.Match[str]) -> str:
    return REDACTED if len(found.group()) > 80 else found.group()  # the header alone is no secret


_NAMES = r"pass(?:word|wd|phrase|code)|pwd|secret|token|credential|api[_-]?key|access[_-]?key|private[_-]?key|signing[_-]?key|encryption[_-]?key|auth[_-]?key|account[_-]?key"  # noqa: E501
_ASSIGNED = re.compile(
    rf"({_NAMES})((?:_access)?(?:_key)?s?)(?![a-z0-9_-])"
    r"(\\?[\"'`]?\]?[ \t]{0,8}(?:=>|:=|[:=])[ \t]{0,8}(?:(?:bearer|basic|token)[ \t]{1,4})?)"
    r"(\\?[\"'`])?([^\s\"'`\\,;&<>|)\]}]{4,})"
)
_NOT_VALUES = re.compile(
    r"[$<{%*\[(]"  # placeholders, lists
    r"|[\w.]*[(\[]"  # code
    r"|(?:none|null|true|false|str|string|bytes|optional|required|undefined|redacted|x{3,}|\.{3,})\b",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[A-Za-z_]+(?:\.[A-Za-z_]+)*[.:!?]*")
_NUMBER = re.compile(r"-?\d[\d_]*(?:\.\d+)?[.:!?]*")


def _value(name: str, value: str, *, tight: bool) -> bool:
    """Is `value`, which stands behind `name`, a secret? `tight`: in quotes, or right behind an equals sign."""
    if _NOT_VALUES.match(value):
        return False
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    if name.lower().startswith("pa") or name.lower() == "pwd":
        if not tight:
            return len(value) >= 6 and _WORDS.fullmatch(value) is None
        if _WORDS.fullmatch(value):  # password=settings.password is code, password=swordfish is not
            return not value.lower().rstrip(".").endswith(("password", "passwd", "pwd", "passphrase", "secret"))
        return True
    if _NUMBER.fullmatch(value):
        return False
    if tight:
        return len(value) >= 8 and (mixed or len(value) >= 20) and not _path_like(value)
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
    return text[found.start() : found.start(5)] + REDACTED + value[len(value.rstrip(".:!?")) :]


_AUTHORIZATION = re.compile(
    r"(authorization\\?[\"']?[ \t]{0,8}[:=][ \t]{0,8}\\?[\"']?(?:bearer|basic|token|digest|apikey)[ \t]{1,8})"
    r"[a-z0-9._~+/=:-]{4,}+"
)
_BEARER = re.compile(r"(bearer[ \t]{1,8})(?=[a-z._~+/=-]{0,64}+[0-9])[a-z0-9._~+/=-]{16,}+")


def _behind(text: str, found: re.Match[str]) -> str:
    return text[found.start() : found.end(1)] + REDACTED


_RULES = (
    _Rule("PRIVATE KEY", _PEM, _pem),
    _Rule("://", re.compile(r"(://[^\s/:@\"'<>]{0,256}+:)[^\s/\"'<>]+(?=@)"), _behind),
    _key("sk-", r"[A-Za-z0-9_-]{20,}+")._replace(replace=_openai),
    _key("AIza", r"[A-Za-z0-9_-]{35}"),
    _key("ya29.", r"[A-Za-z0-9_-]{20,}+"),
    _key("gh", r"[pousr]_[A-Za-z0-9]{36,}+"),
    _key("github_pat_", r"[A-Za-z0-9_]{22,}+"),
    _key("glpat-", r"[A-Za-z0-9_-]{20,}+"),
    _key("AKIA", r"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _key("ASIA", r"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _key("xox", r"[abeoprs]-[A-Za-z0-9-]{10,}+"),
    _key("xapp-", r"[A-Za-z0-9-]{10,}+"),
    _Rule("hooks.slack", re.compile(r"(hooks\.slack\.com/(?:services|workflows)/)[A-Za-z0-9_/]{20,}+"), _behind),
    _key("sk_", r"(?:live|test)_[A-Za-z0-9]{16,}+"),
    _key("rk_", r"(?:live|test)_[A-Za-z0-9]{16,}+"),
    _key("whsec_", r"[A-Za-z0-9+/=]{16,}+"),
    *(
        _key(prefix, r"(?=[A-Za-z_-]{0,64}+[0-9])[A-Za-z0-9_-]{24,}+")
        for prefix in ("gsk_", "xai-", "hf_", "npm_", "pypi-", "hvs.", "dop_v1_")
    ),
    _key("eyJ", r"[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]{4,}+){2,4}"),  # a JWT
    _Rule("authorization", _AUTHORIZATION, _behind),
    _Rule("bearer", _BEARER, _behind),
    _Rule("", _ASSIGNED, _assigned),
)
_ANY_CASE = ("authorization", "bearer", "")
_TO_SMALL = {ord(capital): capital.lower() for capital in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def _small(text: str) -> str:
    """In small letters, each where it stood: a few capitals have small letters of another length."""
    small = text.lower()
    return small if len(small) == len(text) else text.translate(_TO_SMALL)


def redact(text: str, *, shapes_only: bool = False) -> str:
    """The same text with `[redacted]` where secrets stood; the very same object when there were none.

    `shapes_only`: only what is a secret beyond doubt, and no value because of the name that it stands behind. JSON stays
    JSON then.
    """
    small = _small(text)
    for mark, pattern, replace in _RULES:
        searched = small if mark in _ANY_CASE else text
        if mark not in searched or (not mark and (shapes_only or (":" not in text and "=" not in text))):
            continue
        parts: list[str] = []
        end = 0
        for found in pattern.finditer(searched):
            shown = replace(text, found)
            if len(shown) != found.end() - found.start() or shown != text[found.start() : found.end()]:
                parts += text[end : found.start()], shown
                end = found.end()
        if parts:
            text = "".join([*parts, text[end:]])
            small = _small(text)
    return text


_SECRET_NAME = re.compile(rf"(?:{_NAMES})(?:_access)?(?:_key)?s?$|^(?:authorization|cookie|set-cookie)$", re.IGNORECASE)


def redacted(value: Any, name: str = "") -> Any:
    """A copy of a JSON-like value, redacted in every text; `name` is the key that it stands under, if any."""
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
