"""File scopes: do two sets of globs have a path in common? Unsure means yes (contract, section 6)."""

import re
from collections.abc import Iterable
from functools import lru_cache

_EXTENDED = re.compile(r"[@+?!*]\(")
_ANY, _STAR, _DEEP = 0, 1, 2
"""One character but `/`; any run without `/`; any run at all."""

Token = int | str

_MOST_STATES = 5_000


@lru_cache(maxsize=4096)
def _tokens(glob: str) -> tuple[Token, ...]:
    text = glob.strip().casefold()  # some file systems do not tell case apart
    if text.startswith("/") or _EXTENDED.search(text):
        return (_DEEP,)  # an absolute path may lead into the workspace; extended globs are not understood
    text = "/".join(part for part in text.split("/") if part not in ("", "."))
    if not text or text.startswith("!") or ".." in text.split("/") or "\\" in text:
        return (_DEEP,)
    parts: list[Token] = []
    i = 0
    while i < len(text):
        char = text[i]
        if text.startswith("**", i):
            parts.append(_DEEP)
            while i < len(text) and text[i] in "*/":  # `**/` also matches no folder at all
                i += 1
            continue
        if char == "*":
            parts.append(_STAR)
        elif char == "?":
            parts.append(_ANY)
        elif char == "[" and "]" in text[i + 1 :]:
            parts.append(_ANY)
            i = text.index("]", i + 2) if "]" in text[i + 2 :] else text.index("]", i + 1)
        elif char == "{":
            parts.append(_DEEP)
            i = text.index("}", i) if "}" in text[i:] else len(text)
        else:
            parts.append(char)
        i += 1
    return tuple(parts)


@lru_cache(maxsize=16_384)
def overlap(one: str, other: str) -> bool:
    """Can some path match both globs? A glob that names a folder covers what is below it."""
    left, right = _tokens(one), _tokens(other)
    return _meet(left, right) or _meet((*left, "/", _DEEP), right) or _meet(left, (*right, "/", _DEEP))


def _meet(left: tuple[Token, ...], right: tuple[Token, ...]) -> bool:
    for a, b in zip(left, right, strict=False):
        if isinstance(a, int) or isinstance(b, int):
            break
        if a != b:
            return False
    seen: set[tuple[int, int]] = set()
    todo = [(0, 0)]
    while todo:
        state = todo.pop()
        if state in seen:
            continue
        seen.add(state)
        if len(seen) > _MOST_STATES:
            return True  # hostile globs must not keep a claim waiting
        i, j = state
        if i == len(left) and j == len(right):
            return True
        if i < len(left) and left[i] in (_STAR, _DEEP):
            todo.append((i + 1, j))
            if j < len(right) and (left[i] == _DEEP or right[j] not in ("/", _DEEP)):
                todo.append((i, j + 1))
        if j < len(right) and right[j] in (_STAR, _DEEP):
            todo.append((i, j + 1))
            if i < len(left) and (right[j] == _DEEP or left[i] not in ("/", _DEEP)):
                todo.append((i + 1, j))
        if i < len(left) and j < len(right):
            a, b = left[i], right[j]
            literal = isinstance(a, str) and isinstance(b, str)
            if (
                (literal and a == b)
                or (a == _ANY and b not in ("/", _STAR, _DEEP))
                or (b == _ANY and a not in ("/", _STAR, _DEEP))
            ):
                todo.append((i + 1, j + 1))
    return False


def scopes_overlap(one: Iterable[str], other: Iterable[str]) -> list[str]:
    """The globs of `one` that overlap with any of `other`; empty when either side names no files."""
    others = list(other)
    return [glob for glob in one if any(overlap(glob, theirs) for theirs in others)]
