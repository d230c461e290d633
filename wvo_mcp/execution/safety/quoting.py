"""What a word of shell text becomes: quotes, backslashes and escapes."""

import itertools

from wvo_mcp.domain.command import Word

MOST_VALUES = 16


def joined(parts: list[Word]) -> Word:
    glob = any(one.glob for one in parts)
    known, values = "", [""]
    for index, one in enumerate(parts):
        if not one.values or len(values) * len(one.values) > MOST_VALUES:
            if len(values) == 1:
                known = values[0] + one.known
            return Word((), known, glob=glob or any(part.glob for part in parts[index:]))
        values = [before + value for before in values for value in one.values]
    return Word(tuple(values), glob=glob)


def plain(text: str) -> Word:
    """Unquoted: a backslash keeps the next character as it is."""
    out, glob, position = "", False, 0
    while position < len(text):
        if text[position] == "\\" and position + 1 < len(text):
            out += "" if text[position + 1] == "\n" else text[position + 1]
            position += 2
            continue
        glob |= text[position] in "*?["
        out += text[position]
        position += 1
    return Word((out,), glob=glob)


def quoted(source: bytes) -> Word:
    """Within double quotes a backslash means something only before these."""
    text, out, position = source.decode(errors="replace"), "", 0
    while position < len(text):
        if text[position] == "\\" and text[position + 1 : position + 2] in ("$", "`", '"', "\\", "\n"):
            out += "" if text[position + 1] == "\n" else text[position + 1]
            position += 2
            continue
        out += text[position]
        position += 1
    return Word((out,))


_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "v": "\v"}
_DIGITS = {
    "x": ("0123456789abcdefABCDEF", 2, 16),
    "u": ("0123456789abcdefABCDEF", 4, 16),
    "U": ("0123456789abcdefABCDEF", 8, 16),
}


def ansi(text: str) -> Word:
    out, position = "", 0
    while position < len(text):
        if text[position] != "\\":
            out += text[position]
            position += 1
            continue
        kind = text[position + 1 : position + 2]
        if kind in _DIGITS or kind in tuple("01234567"):
            allowed, most, base = _DIGITS.get(kind, ("01234567", 3, 8))
            start = position + 2 if kind in _DIGITS else position + 1
            digits = "".join(itertools.takewhile(frozenset(allowed).__contains__, text[start : start + most]))
            try:
                out += chr(int(digits, base)) if digits else kind
            except (ValueError, OverflowError):
                return Word(())
            position = start + len(digits)
        elif kind == "c":
            return Word(())
        else:
            out += _ESCAPES.get(kind, kind)
            position += 2
    return Word((out,))
