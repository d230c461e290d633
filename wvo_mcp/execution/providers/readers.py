"""Values of providers.yaml. No message shows a value that may be a key."""

import re
import shlex
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from wvo_mcp.domain.known_secrets import holds_words, looks_random
from wvo_mcp.domain.redaction import redact
from wvo_mcp.execution.yaml import values
from wvo_mcp.execution.yaml.tree import Node, ScalarNode, SequenceNode, resolved

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_HEX = re.compile(r"[0-9a-f]{24,}")
_MOST_WORDS = 50
NAMES = "1 to 32 of small letters, digits, '_', '-', the first a letter or digit"

_text = values.text(1_000)
_listed = values.listed(_text, _MOST_WORDS)


def is_name(text: str) -> bool:
    """May a provider be called so?"""
    return _NAME.fullmatch(text) is not None


def model(node: Node, report: values.Report) -> str | None:
    """The name of a model: printable, for it is handed to programs, and nothing that looks like a key."""
    value = _open_name(node, report)
    if value is not None and not value.isprintable():
        report(node.start, "", "expected the name of a model, without line breaks and control characters")
        return None
    if value is not None and _keylike(value):
        report(
            node.start, "", "expected the name of a model, found what looks like a key; name its variable in key_env"
        )
        return None
    return value


def _keylike(name: str) -> bool:
    """Long, of letters and digits without any break: names of models have breaks, and many keys have none."""
    return len(name) >= 24 and name.isalnum() and any(c.isdigit() for c in name) and any(c.isalpha() for c in name)


def texts(most: int, characters: int) -> values.Reader:
    return _without_secrets(values.listed(values.text(characters), most))


def name(node: Node, report: values.Report) -> str | None:
    """The name of a provider."""
    value = resolved(node)
    if isinstance(value, ScalarNode) and is_name(value.text):
        return value.text
    report(node.start, "", f"expected the name of a provider ({NAMES})")
    return None


def variable(node: Node, report: values.Report) -> str | None:
    """The name of a variable of the environment."""
    value = resolved(node)
    if isinstance(value, ScalarNode) and holds_words(value.text):
        report(node.start, "", f"expected the name of a variable that holds a key; {value.text} holds none")
        return None
    if isinstance(value, ScalarNode) and _is_variable(value.text):
        return value.text
    report(
        node.start,
        "",
        "expected the name of a variable of the environment (letters, digits, '_'), never the key itself",
    )
    return None


def _is_variable(text: str) -> bool:
    keylike = looks_random(text) or _HEX.fullmatch(text) is not None
    return _VARIABLE.fullmatch(text) is not None and redact(text) == text and not keylike


def _words(node: Node, report: values.Report) -> tuple[str, ...] | None:
    value = resolved(node)
    if isinstance(value, SequenceNode) and not value.items:
        report(node.start, "", "expected a program and its arguments, found an empty list")
        return None
    if not isinstance(value, ScalarNode):
        return _listed(node, report) or None
    line = _text(node, report)
    if line is None:
        return None
    try:
        return tuple(shlex.split(line)) or None
    except ValueError as error:
        report(node.start, "", f"expected a program and its arguments, quoted as for a shell: {error}")
        return None


def address(node: Node, report: values.Report) -> str | None:
    """http or https, with a host; no user, no query."""
    value = resolved(node)
    if isinstance(value, ScalarNode) and len(value.text) <= 1_000 and _is_address(value.text):
        return value.text.rstrip("/")
    report(node.start, "", "expected an address like http://127.0.0.1:8000/v1, without user, password or query")
    return None


def _is_address(text: str) -> bool:
    if not text.isprintable() or " " in text or redact(text) != text:
        return False
    try:
        parts = urlsplit(text)
        there = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    plain = "@" not in parts.netloc and "?" not in text and "#" not in text
    return there and plain and parts.scheme in ("http", "https")


def _without_secrets(read: values.Reader) -> values.Reader:
    def judge(node: Node, report: values.Report) -> Any:
        value = read(node, report)
        told = value if isinstance(value, str) else "\n".join(value or ())
        # Word by word as well: what follows a flag like --token is then seen by its own shape.
        if redact(told) == told and all(redact(word) == word for word in told.split()):
            return value
        report(
            node.start,
            "",
            "expected no key or password; name its variable in key_env, or what prints it in key_command",
        )
        return None

    return judge


command: Callable[[Node, values.Report], tuple[str, ...] | None] = _without_secrets(_words)
"""A program and its arguments: text, quoted as for a shell, or a list."""

_open_name = _without_secrets(values.text(200))
