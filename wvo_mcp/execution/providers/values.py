"""Values of providers.yaml. No message shows a value that may be a key."""

import re
import shlex
from typing import Any
from urllib.parse import urlsplit

from wvo_mcp.domain.known_secrets import holds_words, looks_random
from wvo_mcp.domain.redaction import REDACTED, redact
from wvo_mcp.execution.yaml.reading import Reader, Report, listed, text
from wvo_mcp.execution.yaml.tree import Node, ScalarNode, SequenceNode

NAMES = "1 to 32 of small letters, digits, '_', '-', the first a letter or digit"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_HEX = re.compile(r"[0-9a-f]{24,}")
_WORD = re.compile(r"[A-Za-z0-9+/=_-]{20,}")
_ADVICE = "expected no key or password; name its variable in key_env, or what prints it in key_command"

_text = text(1_000)
_listed = listed(_text, 50)


def without_keys(text: str) -> str:
    """Without what may be a key that was put in the wrong place, whatever it looks like."""

    def hidden(word: re.Match[str]) -> str:
        shown = word.group()
        keylike = looks_random(shown) or (len(shown) >= 24 and shown.isalnum() and any(c.isdigit() for c in shown))
        return REDACTED if keylike else shown

    return _WORD.sub(hidden, redact(text))


def is_name(text: str) -> bool:
    """May a provider be called so?"""
    return _NAME.fullmatch(text) is not None


def name(node: Node, report: Report) -> str | None:
    """The name of a provider."""
    if isinstance(node, ScalarNode) and is_name(node.text):
        return node.text
    report(node, f"expected the name of a provider ({NAMES})")
    return None


def variable(node: Node, report: Report) -> str | None:
    """The name of a variable of the environment."""
    value = node.text if isinstance(node, ScalarNode) else ""
    keylike = redact(value) != value or looks_random(value) or _HEX.fullmatch(value)
    if holds_words(value):
        report(node, f"expected the name of a variable that holds a key; {value} holds none")
    elif _VARIABLE.fullmatch(value) and not keylike:
        return value
    else:
        report(node, "expected the name of a variable of the environment (letters, digits, '_'), never the key itself")
    return None


def address(node: Node, report: Report) -> str | None:
    """http or https, with a host; no user, no query."""
    if isinstance(node, ScalarNode) and len(node.text) <= 1_000 and _is_address(node.text):
        return node.text.rstrip("/")
    report(node, "expected an address like http://127.0.0.1:8000/v1, without user, password or query")
    return None


def _is_address(text: str) -> bool:
    if not text.isprintable() or any(sign in text for sign in " ?#") or redact(text) != text:
        return False
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:
        return False


def _without_secrets(read: Reader) -> Reader:
    def judge(node: Node, report: Report) -> Any:
        value = read(node, report)
        stated = value if isinstance(value, str) else "\n".join(value or ())
        # Word by word as well: what follows a flag like --token is then seen by its own shape.
        if redact(stated) == stated and all(redact(word) == word for word in stated.split()):
            return value
        report(node, _ADVICE)
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


command = _without_secrets(_words)
"""A program and its arguments: text, quoted as for a shell, or a list."""

labels = _without_secrets(listed(text(100), 50))
_open_name = _without_secrets(text(200))


def model(node: Node, report: Report) -> str | None:
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
