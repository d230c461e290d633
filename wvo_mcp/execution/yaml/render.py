"""New values as YAML text that means the same under YAML 1.1 and 1.2."""

import re


class Bare(str):
    """Text that is to be read as something else, such as a date: never quoted."""

    __slots__ = ()


Value = str | int | float | bool | tuple[str, ...] | None

_PLAIN = re.compile(r"[A-Za-z0-9_/.(+][^\t\n\r\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]*")
_UNSAFE = re.compile(r": |:$| #|^\s|\s$|^---|^\.\.\.")
_UNSAFE_IN_FLOW = re.compile(r"[,\[\]{}:? ]")
# What a reader of YAML 1.1 or 1.2 would take for a number, a time, a truth value or nothing.
_OTHER_TYPE = re.compile(
    r"[-+]?[0-9][0-9_]*|[-+]?(0[xX][0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+)|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?"
    r"|[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?|y|n|yes|no|on|off|true|false|null|~|=|<<|",
    re.IGNORECASE,
)
_ESCAPED = re.compile('[\\x00-\\x1f"\\\\\\x7f-\\xa0\\u2028\\u2029\\ufeff\\ud800-\\udfff]')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
FLOW_WIDTH = 100
"""A new list whose line would be longer is written as a block, and so is one of texts: a comma would split them."""


def scalar(text: str, *, flow: bool = False) -> str:
    """The text on one line: bare where that is safe, else in double quotes. `flow` is for a place inside []."""
    unsafe = _UNSAFE.search(text) or (flow and _UNSAFE_IN_FLOW.search(text)) or _OTHER_TYPE.fullmatch(text)
    if _PLAIN.fullmatch(text) and not unsafe:
        return text
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _ESCAPES.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def inline(value: Value) -> str:
    """Any value on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(scalar(item, flow=True) for item in value) + "]"
    if isinstance(value, int | float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return value if isinstance(value, Bare) else scalar(value)


def field_lines(key: str, value: Value, indent: str) -> list[str]:
    """The lines of `key: value` in a block mapping."""
    text = inline(value)
    if isinstance(value, tuple) and (
        any(" " in item for item in value) or len(indent) + len(key) + len(text) > FLOW_WIDTH
    ):
        return [f"{indent}{key}:", *(f"{indent}  - {inline(item)}" for item in value)]
    block = block_text(value, indent + "  ") if isinstance(value, str) else None
    if block is not None:
        return [f"{indent}{key}: {block[0]}", *block[1]]
    return [f"{indent}{key}: {text}"]


def block_text(text: str, indent: str) -> tuple[str, list[str]] | None:
    """A text of several lines as its `|` header and its indented lines; None where such a block cannot hold it."""
    body = text.rstrip("\n")
    ends = len(text) - len(body)
    lines = body.split("\n")
    safe = len(lines) > 1 and lines[0][:1] not in ("", " ") and ends <= 1
    if not safe or any(line and not _PLAIN.fullmatch("x" + line) for line in lines):
        return None
    if any(line != line.rstrip(" ") for line in lines):
        return None
    return ("|" if ends else "|-"), [indent + line if line else "" for line in lines]
