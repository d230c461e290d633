"""Secrets out of texts, before these are logged, exported or sent on (SAFE-3).

Three kinds of secrets are recognised: keys by their own shape (`sk-ant-...`, `ghp_...`, `AKIA...`, JWTs, PEM blocks),
whatever stands behind a name that says so (`password=...`, `Authorization: Bearer ...`, `https://user:...@host`), and the
values that this process knows to be secret (`known_secrets`). Behind a name a value must look like one: numbers (lease
tokens), placeholders and code stay. Time grows with the length of the
text alone: no pattern reads a character more than a few times.
"""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, cast

from wvo_mcp.domain.known_secrets import known_in, looks_random

REDACTED = "[redacted]"
"""What stands in the place of a secret. It is no secret itself: to redact twice is to redact once."""


class _Rule:
    """`written` is tried only on texts that contain `mark`, which is quickly told, and compiled for the first of them: all
    of them would take part of the start. It is matched against the text in small letters where `mark` is one of
    `_ANY_CASE`: to ignore case in the pattern itself takes ten times as long."""

    def __init__(
        self, mark: str, written: str, replace: Callable[[str, re.Match[str]], str], guard: str | None = None
    ) -> None:
        """`replace`: given the text and a match in it, what to write instead. `guard`: a part of the pattern that is
        quickly searched for, of those whose beginning can be anything."""
        self.mark = mark
        self._written = written
        self._guard = guard
        self.replace = replace

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(self._written)

    @cached_property
    def guard(self) -> re.Pattern[str] | None:
        return None if self._guard is None else re.compile(self._guard)


def _whole(text: str, found: re.Match[str]) -> str:
    return REDACTED


def _behind(text: str, found: re.Match[str]) -> str:
    return text[found.start() : found.end(1)] + REDACTED


def _key(prefix: str, body: str, replace: Callable[[str, re.Match[str]], str] = _whole) -> _Rule:
    """A key that begins so. In front of it stands no letter or digit, unless that is the n of an escaped line break or part of
    what is escaped in an address.

    The prefix comes first in the pattern, for such patterns are searched for many times faster.
    """
    begin = re.escape(prefix)
    before = (
        rf"(?<![A-Za-z0-9]{begin})|(?<=\\[nrt]{begin})|(?<=%[0-9A-Fa-f]{{2}}{begin})|(?<=%25[0-9A-Fa-f]{{2}}{begin})"
    )
    return _Rule(prefix, rf"{begin}(?:{before}){body}", replace)


def _openai(text: str, found: re.Match[str]) -> str:
    # Slugs may begin with sk- too; a key is random: it has digits and capitals.
    key = found.group()
    random = any(c.isdigit() for c in key) and (any(c.isupper() for c in key) or _HEX.fullmatch(key) is not None)
    return REDACTED if random or key.startswith(("sk-ant-", "sk-proj-", "sk-or-", "sk-svcacct-")) else key


_HEX = re.compile(r"sk-(?:lf-)?[0-9a-f-]{32,}")
_BETWEEN = r"(?:[\s>#|\"'+]|\\{1,4}[nrt]|\\[\"'])"
"""What stands between the lines of a key that is quoted, escaped, or written as code."""
_PEM = (
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:\s|\\[nr]){1,4}[A-Z][A-Za-z-]{1,30}: [^\n\\]{0,100})*+"  # Proc-Type, DEK-Info
    rf"(?:{_BETWEEN}*+[A-Za-z0-9+/]{{24,}}+={{0,2}})*+"
    rf"(?:{_BETWEEN}*+[A-Za-z0-9+/=]{{0,80}}{_BETWEEN}*+-----END [A-Z0-9 ]{{0,40}}PRIVATE KEY(?: BLOCK)?-----)?"
)


def _pem(text: str, found: re.Match[str]) -> str:
    return REDACTED if len(found.group()) > 80 else found.group()  # the header alone is no secret


_NAMES = r"pass(?:word|wd|phrase|code)|(?:db|database|sql|mail|smtp|ftp|user|admin|root|redis|proxy)_pass|pwd|secret|token|credential|api[_-]?key|access[_-]?key|private[_-]?key|signing[_-]?key|encryption[_-]?key|auth[_-]?key|account[_-]?key|client-key-data|_key"  # noqa: E501
_ASSIGNED = (
    rf"({_NAMES}|authorization)((?:_access)?(?:_key)?s?)(?![a-z0-9_-])"
    r"(\\{0,7}[\"'`]?\]?[ \t]{0,8}(?:=>|:=|:[ \t]{0,2}&?[a-z][a-z0-9_.\[\]| ]{0,24}=(?!=)|[:=])[ \t]{0,8}"
    r"(?:(?:bearer|basic|token)[ \t]{1,4})?)"
    r"(\\{0,7}[\"'`])?([^\s\"'`\\,;&<>|)\]}]{4,}+)"
    r"(?(4)((?:(?!\4)[^\n]){0,120}+(?=\4))?)"  # the rest of what is in quotes
)
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
    """Is `value`, which stands behind `name`, a secret? `tight`: in quotes, or right behind an equals sign."""
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
    """For what is no assignment: the name is the first group, the value the second; quotes need not stand around it."""
    value = text[found.start(2) : found.end(2)]
    if not _value(found.group(1), value, tight=found.group().startswith("<")):
        return text[found.start() : found.end()]
    return text[found.start() : found.start(2)] + REDACTED + text[found.end(2) : found.end()]


_AUTHORIZATION = (
    r"(authorization\\{0,7}[\"']?[ \t]{0,8}[:=][ \t]{0,8}\\{0,7}[\"']?(?:bearer|basic|token|digest|apikey|bot|negotiate|ntlm)"
    r"[ \t]{1,8})[a-z0-9._~+/=:-]{4,}+"
)
_BEARER = r"(bearer[ \t]{1,8})(?=[a-z._~+/=-]{0,64}+[0-9])[a-z0-9._~+/=-]{16,}+"
_COOKIE = r"(cookie\\{0,7}[\"']?:[ \t]{0,8}\\{0,7}[\"']?)[a-z0-9_.$-]{1,64}=(?!\[redacted)[^\s;\"'\\]{4,}+(?:;[ \t]?[a-z0-9_.$-]{1,64}=[^\s;\"'\\]*+)*+"  # noqa: E501
_FLAG = (
    rf"--(?:[a-z]{{1,12}}-){{0,2}}({_NAMES})[ \t]{{1,4}}[\"']?([^\s\"'`\\,;&<>|)\]}}-][^\s\"'`\\,;&<>|)\]}}]{{3,}}+)"
)
_ELEMENT = rf"<[a-z:_.-]{{0,32}}({_NAMES})>([^<>\s]{{4,256}}+)(?=</)"
_USER = r"[ \t](?:-u|--user)[ \t=]{1,4}[\"']?[^\s:\"']{1,64}(:)([^\s\"'\\]{4,256}+)"
_QUERY = r"([?&](?:key|auth|sig|signature)=)(?=[a-z%+/._~-]{0,64}+[0-9])[a-z0-9%+/=_.~-]{20,}+"


_NETRC = r"(login\s{1,8}\S{1,64}\s{1,8}password[ \t]{1,8})[^\s\"'\\]{4,256}+"
_DOCKER = r"([\"']auth\\{0,7}[\"'][ \t]{0,8}:[ \t]{0,8}\\{0,7}[\"'])(?=[a-z+/]{0,64}+[0-9=])[a-z0-9+/]{16,}+={0,2}(?=\\{0,7}[\"'])"  # noqa: E501


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


_TEXT = r"[A-Za-z0-9_-]"
_RULES = (
    _Rule("PRIVATE KEY", _PEM, _pem),
    _Rule("://", r"(://[^\s/:@\"'<>]{0,256}+:)[^\s/\"'<>]+(?=@)", _address),
    # With a slash in it, but no port and path before a later @.
    _Rule(
        "://",
        r"(://[^\s/:@\"'<>]{0,256}+:)(?![0-9]{1,5}/)[^\s@\"'<>()\[\],]{1,100}+(?:@[^\s/@\"'<>]{1,64}(?=@))*+(?=@)",
        _address,
    ),
    _Rule(":\\/\\/", r"(:\\/\\/[^\s/:@\"'<>\\]{0,256}+:)[^\s/\"'<>]+(?=@)", _address),  # as some write JSON
    _Rule("://", rf"(://)(?=[A-Za-z_-]{{0,64}}+[0-9]){_TEXT}{{20,}}+(?=@)", _behind),
    _key("sk-", rf"{_TEXT}{{20,}}+", _openai),
    _key("AIza", rf"{_TEXT}{{35}}"),
    _key("ya29.", rf"{_TEXT}{{20,}}+"),
    _key("GOCSPX-", rf"{_TEXT}{{24,}}+"),
    _key("1//0", rf"{_TEXT}{{40,}}+"),
    _key("gh", r"[pousr]_[A-Za-z0-9]{36,}+"),
    _key("github_pat_", r"[A-Za-z0-9_]{22,}+"),
    _key("AQ.", rf"Ab{_TEXT}{{40,}}+"),
    _key(
        "gl",
        rf"(?:pat|dt|rt|rtr|cbt|ptt|ft|imt|agent|soat|ffct|oas)-{_TEXT}{{20,}}+(?:\.[0-9a-z]{{2}}\.[0-9a-z]{{7,9}})?",
    ),
    _key("glsa_", r"[A-Za-z0-9]{32}_[0-9a-f]{8}"),
    _key("glc_", r"[A-Za-z0-9+/]{32,}+={0,2}"),
    _key("AKIA", r"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _key("ASIA", r"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    _key("ABSK", r"[A-Za-z0-9+/]{80,}+={0,2}"),
    _Rule("JQQJ99", r"[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{20,40}", _whole),
    _Rule("-Signature=", r"(X-(?:Amz|Goog)-Signature=)[0-9a-f]{64,}+", _behind),
    _Rule("sig=", r"([?&;]sig=)[A-Za-z0-9%+/=_-]{30,}+", _behind),
    _Rule("Q~", r"((?<=[0-9])Q~)[A-Za-z0-9_.~-]{31,34}", _behind),
    _key("xox", r"[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}+"),
    _key("xapp-", r"[A-Za-z0-9-]{10,}+"),
    _Rule("hooks.slack", r"(hooks\.slack\.com/(?:services|workflows)/)[A-Za-z0-9_/]{20,}+", _behind),
    _Rule("/webhooks/", rf"(/api/webhooks/[0-9]{{15,20}}+/){_TEXT}{{40,}}+", _behind),
    _Rule("/IncomingWebhook/", r"(/IncomingWebhook/)[A-Za-z0-9]{16,}+(?:/[A-Za-z0-9-]{16,}+)?", _behind),
    _Rule(":AA", rf"((?<=[0-9]{{8}}):AA){_TEXT}{{33}}(?!{_TEXT})", _behind),
    _key("sk_", r"(?:live|test)_[A-Za-z0-9]{16,}+"),
    _key("rk_", r"(?:live|test)_[A-Za-z0-9]{16,}+"),
    _key("whsec_", r"[A-Za-z0-9+/=]{16,}+"),
    _Rule(
        "key-",
        r"key-(?:(?<![A-Za-z0-9_-]key-)|(?<=\\[nrt]key-)|(?<=%[0-9A-Fa-f]{2}key-)|(?<=%25[0-9A-Fa-f]{2}key-))[0-9a-f]{32}(?![A-Za-z0-9-])",
        _whole,
    ),
    _Rule(
        "-",
        r"(?:(?<![A-Za-z0-9-])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2})|(?<=%25[0-9A-Fa-f]{2}))[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}(?![A-Za-z0-9-])",
        _whole,
        "-[0-9a-f]{8}-[0-9a-f]{8}",
    ),
    _Rule(
        ".",
        rf"(?:(?<![A-Za-z0-9_.-])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{{2}})|(?<=%25[0-9A-Fa-f]{{2}}))[MNO]{_TEXT}{{23,27}}\.{_TEXT}{{6}}\.{_TEXT}{{27,45}}(?![A-Za-z0-9_.-])",
        _whole,
        rf"\.{_TEXT}{{6}}\.{_TEXT}{{27}}",
    ),
    _key("SK", r"[0-9a-f]{32}(?![A-Za-z0-9])"),
    _key("SG.", rf"{_TEXT}{{16,}}+\.{_TEXT}{{32,}}+"),
    _key("hf_", r"[A-Za-z0-9]{30,}+"),
    _key("sq0", rf"(?:atp|csp|idp)-{_TEXT}{{22,}}+"),
    _key("shp", r"(?:at|ss|ca|pa|tka)_[0-9a-fA-F]{32}"),
    _key("secret_", r"[A-Za-z0-9]{43}(?![A-Za-z0-9])"),
    _key("dapi", r"[0-9a-f]{32}(?![A-Za-z0-9])"),
    _key("pat", r"[A-Za-z0-9]{14}\.[0-9a-f]{64}"),
    _key("AGE-SECRET-KEY-", r"[0-9A-Z]{50,}+"),
    _key("fm2_", r"[A-Za-z0-9+/=_-]{40,}+"),
    _key("dp.", r"(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9._-]{40,}+"),
    _key("v1.0-", r"[0-9a-f]{20,40}-[0-9a-f]{100,}+"),
    _key("ops_eyJ", r"[A-Za-z0-9+/=_-]{40,}+"),
    _Rule(".atlasv1.", rf"(\.atlasv1\.){_TEXT}{{50,}}+", _behind),
    *(
        _key(prefix, rf"(?=[A-Za-z_-]{{0,64}}+[0-9]){_TEXT}{{24,}}+")
        for prefix in (
            *("gsk_", "xai-", "npm_", "pypi-", "hvs.", "hvb.", "dop_v1_", "doo_v1_", "dor_v1_", "pplx-", "r8_", "nfp_"),
            *("ATATT3", "lin_api_", "ntn_", "figd_", "dckr_pat_", "sbp_", "sb_secret_", "sntrys_", "sntryu_", "NRAK-"),
            *("PMAK-", "pscale_", "pul-", "rubygems_", "tskey-", "HRKU-", "csk-", "fw_", "nvapi-"),
        )
    ),
    _key("eyJ", rf"{_TEXT}{{8,}}+(?:\.\.?{_TEXT}{{4,}}+){{2,4}}"),  # a JWT
    _Rule("authorization", _AUTHORIZATION, _behind),
    _Rule("bearer", _BEARER, _behind),
    _Rule("cookie", _COOKIE, _behind),
    _Rule("--", _FLAG, _named),
    _Rule("</", _ELEMENT, _named),
    _Rule("-u", _USER, _login),
    _Rule("=", _QUERY, _behind),
    _Rule("login", _NETRC, _behind),
    _Rule("auth", _DOCKER, _behind),
    _Rule("", _ASSIGNED, _assigned),
)
_NAMED = ("cookie", "--", "</", "-u", "=", "login", "auth", "")
"""Rules that go by the name in front of a value."""
_ANY_CASE = ("authorization", "bearer", *_NAMED)
_AS_WRITTEN = tuple((rule.mark, rule) for rule in _RULES if rule.mark not in _ANY_CASE)
_ALL_SMALL = tuple((rule.mark, rule) for rule in _RULES if rule.mark in _ANY_CASE)
_SHAPES_SMALL = tuple((mark, rule) for mark, rule in _ALL_SMALL if mark not in _NAMED)
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
    for form in known_in(text):
        text = text.replace(form, REDACTED)
    small = _small(text)
    # What was put in has no mark: those of the beginning are all.
    rules = [rule for mark, rule in _AS_WRITTEN if mark in text]
    rules += [rule for mark, rule in (_SHAPES_SMALL if shapes_only else _ALL_SMALL) if mark in small]
    for rule in rules:
        if not rule.mark and ":" not in text and "=" not in text:
            continue
        if rule.guard is not None and rule.guard.search(text) is None:
            continue
        searched = small if rule.mark in _ANY_CASE else text
        parts: list[str] = []
        end = 0
        for found in rule.pattern.finditer(searched):
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
