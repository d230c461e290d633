"""File scopes: do two sets of globs have a path in common? Unsure means yes (contract, section 6)."""

import itertools
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache

_EXTENDED = re.compile(r"[@+?!*]\(")
# `**/` also matches no folder at all; what braces hold is not read.
_PARTS = re.compile(r"(?P<deep>\*\*[*/]*|\{[^}]*\}?)|(?P<star>\*)|(?P<one>\?|\[(?:.[^\]]*)?\])|.", re.DOTALL)
_ANY, _STAR, _DEEP = 0, 1, 2
"""One character but `/`; any run without `/`; any run at all."""

Token = int | str

_MOST_STATES = 5_000
_MOST_RUNS = 4


@lru_cache(maxsize=4096)
def _tokens(glob: str) -> tuple[Token, ...]:
    text = glob.strip().casefold()  # some file systems do not tell case apart
    if text.startswith("/") or _EXTENDED.search(text):
        return (_DEEP,)  # an absolute path may lead into the workspace; extended globs are not understood
    text = "/".join(part for part in text.split("/") if part not in ("", "."))
    if not text or text.startswith("!") or ".." in text.split("/") or "\\" in text:
        return (_DEEP,)
    tokens = {"deep": _DEEP, "star": _STAR, "one": _ANY}
    return tuple(tokens.get(found.lastgroup or "", found[0]) for found in _PARTS.finditer(text))


@lru_cache(maxsize=16_384)
def overlap(one: str, other: str) -> bool:
    """Can some path match both globs? A glob that names a folder covers what is below it."""
    return counted_overlap(one, other)[0]


def counted_overlap(one: str, other: str) -> tuple[bool, int]:
    """`overlap`, and the states that were looked at for it: for who compares many."""
    left, right = _tokens(one), _tokens(other)
    below = ("/", _DEEP)
    states = 0
    for mine, its in ((left, right), ((*left, *below), right), (left, (*right, *below))):
        met, seen = _meet(mine, its)
        states += seen
        if met:
            return True, states
    return False, states


def _meet(left: tuple[Token, ...], right: tuple[Token, ...]) -> tuple[bool, int]:
    for a, b in zip(left, right, strict=False):
        if isinstance(a, int) or isinstance(b, int):
            break
        if a != b:
            return False, 0
    seen: set[tuple[int, int]] = set()
    todo = [(0, 0)]
    while todo:
        state = todo.pop()
        if state in seen:
            continue
        seen.add(state)
        if len(seen) > _MOST_STATES:
            return True, len(seen)  # hostile globs must not keep a claim waiting
        i, j = state
        if i == len(left) and j == len(right):
            return True, len(seen)
        if i < len(left) and left[i] in (_STAR, _DEEP):
            todo.append((i + 1, j))
            if j < len(right) and (left[i] == _DEEP or right[j] not in ("/", _DEEP)):
                todo.append((i, j + 1))
        if j < len(right) and right[j] in (_STAR, _DEEP):
            todo.append((i, j + 1))
            if i < len(left) and (right[j] == _DEEP or left[i] not in ("/", _DEEP)):
                todo.append((i + 1, j))
        if i < len(left) and j < len(right):
            both = {left[i], right[j]}
            if not both & {_STAR, _DEEP} and (len(both) == 1 or (_ANY in both and "/" not in both)):
                todo.append((i + 1, j + 1))
    return False, len(seen)


def leads_out(glob: str) -> bool:
    """Does it name something that is not in the project?"""
    return glob.strip().startswith("/") or ".." in glob.split("/")


def covers(glob: str, path: str) -> bool:
    """Does the glob match this path, whose letters are all meant as they are?"""
    pattern = _regex(glob)
    if pattern is not None:
        return pattern.fullmatch(path.casefold()) is not None
    left, right = _tokens(glob), tuple(path.casefold())
    return _meet(left, right)[0] or _meet((*left, "/", _DEEP), right)[0]


@lru_cache(maxsize=4096)
def _regex(glob: str) -> re.Pattern[str] | None:
    """None where it might try for too long."""
    tokens = _tokens(glob)
    if sum(one in (_STAR, _DEEP) for one in tokens) > _MOST_RUNS:
        return None
    kinds: dict[Token, str] = {_ANY: "[^/]", _STAR: "[^/]*", _DEEP: ".*"}
    return re.compile("".join(kinds.get(one) or re.escape(str(one)) for one in tokens) + "(?:/.*)?", re.DOTALL)


def scopes_overlap(one: Iterable[str], other: Iterable[str]) -> list[str]:
    """The globs of `one` that overlap with any of `other`; empty when either side names no files."""
    others = list(other)
    return [glob for glob in one if any(overlap(glob, theirs) for theirs in others)]


class InUse:
    """File scopes of work in progress, found by the letters before the first wildcard: two globs have no path in common
    unless those of one begin those of the other. So that whoever is refused thousands of tasks is so in milliseconds."""

    def __init__(self, scopes: Iterable[tuple[str, Sequence[str]]]) -> None:
        """(owner, globs) each."""
        self._scopes = list(scopes)
        self._by_beginning: dict[str, set[int]] = {}
        for place, (_, globs) in enumerate(self._scopes):
            for glob in globs:
                self._by_beginning.setdefault(beginning(glob), set()).add(place)
        self._beginnings = sorted(self._by_beginning)
        self._longest = max(map(len, self._beginnings), default=0)

    def conflict(self, files: Sequence[str]) -> tuple[str, list[str]] | None:
        """(the first owner whose globs overlap with these, those of `files` that do), or None."""
        near: set[int] = set()
        for begun in map(beginning, files):
            for end in range(min(len(begun), self._longest) + 1):
                near |= self._by_beginning.get(begun[:end], set())
            for longer in self._beginnings[bisect_right(self._beginnings, begun) :]:
                if not longer.startswith(begun):
                    break
                near |= self._by_beginning[longer]
        for place in sorted(near):
            owner, globs = self._scopes[place]
            shared = scopes_overlap(files, globs)
            if shared:
                return owner, shared
        return None


@lru_cache(maxsize=4096)
def beginning(glob: str) -> str:
    """Its letters before the first wildcard, in lower case."""
    return "".join(map(str, itertools.takewhile(lambda token: isinstance(token, str), _tokens(glob))))
