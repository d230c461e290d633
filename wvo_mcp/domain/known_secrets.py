"""Values that this process knows to be secret: they are redacted wherever they appear, whatever they look like.

A value is known until it is forgotten, in every form that it takes in JSON and in addresses.
"""

import json
import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus, unquote, urlsplit

SHORTEST = 8
_ORDINARY = re.compile(r"(?=.{0,15}$)[A-Za-z]*(?:[ ._/:-][A-Za-z]+)*|[0-9.eE+-]+")
"""Words and numbers, as `postgres`, `not-needed` and `12345678`: to take them out of all texts would make these unreadable,
and break JSON. They go behind their names all the same."""
_PATH = re.compile(r"(?:~|\.{1,2})?/[\w.+@~:/ -]*")

_VARIABLE = re.compile(
    r"(?:(?:API|ACCESS|SECRET|PRIVATE|SIGNING|ENCRYPTION|AUTH|ACCOUNT|MASTER)_?KEY|TOKEN|SECRET|PASS|PASSWORD|PASSWD|PASSPHRASE"
    r"|CREDENTIALS?|COOKIE)$",
    re.IGNORECASE,
)
_WORDS = re.compile(
    r"HOME|PATH|PWD|OLDPWD|USER|USERNAME|LOGNAME|SHELL|TERM|LANG|LANGUAGE|HOSTNAME|HOST|TMPDIR|TMP|TEMP|TZ|DISPLAY|EDITOR|VISUAL"
    r"|PAGER|MAIL|ROOT|VIRTUAL_ENV|PYTHONPATH|(?:LC|XDG|WVO)_\w+"
)
_ADDRESSES = frozenset({"WVO_ALERT_WEBHOOK_URL"})
_KEY_IN_ADDRESS = 16
_RANDOM = 20

_forms: tuple[str, ...] = ()


def register_secret(value: str | None) -> None:
    """From now on the value is redacted. Nothing happens with what is shorter than 8 characters, plain words, a number or a
    path."""
    global _forms
    value = (value or "").strip()
    if len(value) < SHORTEST or value in "[redacted]" or _ORDINARY.fullmatch(value) or _is_path(value):
        return
    forms = {value, *_written(value)}
    # The longest first: another secret may be part of it. One assignment: other threads see all of it or nothing.
    _forms = tuple(sorted({*_forms, *forms}, key=lambda form: (-len(form), form)))


def forget_secret(value: str) -> None:
    """It opens nothing any more: every text that is redacted is searched for each that is known."""
    global _forms
    _forms = tuple(form for form in _forms if form not in {value, *_written(value)})


def holds_words(name: str) -> bool:
    """Is it a variable whose value is in many texts, and is not a key?"""
    return _WORDS.fullmatch(name) is not None


def _is_path(value: str) -> bool:
    """Of a file, or of several: keys are kept in files too, and names of folders are in every text. What is written in 64
    characters may begin with a slash as well."""
    return _PATH.fullmatch(value) is not None and not any(looks_random(part) for part in value.split("/"))


def looks_random(word: str) -> bool:
    """Is it long, of digits, capitals and small letters? No word of a language is."""
    return len(word) >= _RANDOM and all(any(map(sign, word)) for sign in (str.isdigit, str.isupper, str.islower))


def register_address(url: str | None) -> None:
    """The password in an address, and what its query calls a password, are secret."""
    if not url:
        return
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError:
        return
    for value in (password, *re.findall(r"(?:^|&)(?:password|sslpassword)=([^&]*)", parts.query)):
        if value:
            register_secret(value)
            register_secret(unquote(value))


def register_environment(environ: Mapping[str, str]) -> None:
    """Values under names of keys, tokens and passwords is secret; so are passwords in addresses, and the addresses that
    are keys themselves."""
    for name, value in environ.items():
        if "://" in value:
            register_address(value)
        if name in _ADDRESSES:
            for part in re.split(r"[/?&=]", value.partition("://")[2])[1:]:
                register_secret(part if len(part) >= _KEY_IN_ADDRESS else None)
        if is_secret_name(name):
            register_secret(value)


def is_secret_name(name: str) -> bool:
    """Is it the name of a variable that holds a key, a token or a password?"""
    return name in _ADDRESSES or _VARIABLE.search(name) is not None


def _written(value: str) -> list[str]:
    """As JSON, as JSON in JSON, and as a part of an address."""
    once = [json.dumps(value, ensure_ascii=ascii_)[1:-1] for ascii_ in (True, False)]
    twice = [json.dumps(form)[1:-1] for form in once]
    return [*once, *twice, quote(value, safe=""), quote(value), quote_plus(value), repr(value)[1:-1]]


def known_in(text: str) -> list[str]:
    """Forms of known secrets that the text contains, the longest first."""
    return [form for form in _forms if form in text]
