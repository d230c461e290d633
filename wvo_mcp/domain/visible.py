"""What others wrote, on one line for a person, so that no part of it can hide."""

import re
import unicodedata

_PLAIN = re.compile(r"[!-\[\]-~]+(?: [!-\[\]-~]+)*")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e"}
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""They have no width, or look like a space, though Unicode counts them among letters, marks and symbols."""
_SPACES = re.compile(" {9,}")


_LINES = re.compile(r"\n{3,}")


def visible(text: str, *, lines: bool = False) -> str:
    """What moves, hides or reorders other characters is written as its escape, a long run of spaces as its length. Nothing
    else is changed, so that a usual command can be pasted. With `lines` prose keeps its lines, and no long gap between them."""
    if lines:
        gaps = _LINES.sub(lambda run: f"\n[{len(run[0]) - 1} empty lines]\n", text)
        return "\n".join(visible(line) for line in gaps.split("\n"))
    if _PLAIN.fullmatch(text) is None:
        text = "".join(_NAMED.get(char) or (_escaped(char) if _hides(char) else char) for char in text)
    return _SPACES.sub(lambda run: f"[{len(run[0])} spaces]", text)


def cut(text: str, most: int, rest: str = "") -> str:
    """Its beginning and its end where it is longer, and how much is between them; `rest` says where all of it is."""
    if len(text) <= most:
        return text
    tail = most // 4
    left = len(text) - most
    return f"{text[: most - tail]} [... {left:,} more characters{rest} ...] {text[-tail:]}"


def _hides(char: str) -> bool:
    if char <= "~":
        return char < " "
    category = unicodedata.category(char)
    variation = "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef" or "\u180b" <= char <= "\u180f"
    return category[0] in "CZ" or variation or char in _UNSEEN


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
