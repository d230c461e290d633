"""How alike two errors are, by the lines that say what went wrong (CTX-3)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from wvo_mcp.domain.signature import CODE, EXCEPTION, NAME, WEAK, WORD, Signature, Term

_PRIOR = 1_000
"""So many patterns are imagined beside those that there are: a word of a small store is not taken for common."""
_MINE, _THEIRS = 0.25, 0.65
"""What a word costs that only the asked line has, and one that only the known line has: logs add words, templates do not."""
_TURNED = 0.85
"""What it is worth that the known line has all of the asked one: what was learned may be the longer one."""
_SAME_CODE = 0.5
"""So much less does a word cost where both have the same code."""
_MISSED = 0.4
"""Of a code or a type that only one of them has: it is often left out, or a relative is written."""
_UNKNOWN = 0.5
"""Of a word that no pattern has: mostly somebody's name."""
_NEIGHBOURS = 0.4
"""Of two words that stand together in both; half of it where one of them says little."""
_LATER = 0.9
"""What is found in a later line of a pattern is worth that much of what is found in its first."""
_LEAST_SHARED = 1.5
LEAST = 0.66
"""Under this likeness nothing is offered. It and the weights were found with the tuning half of `tests/retrieval`."""

_Weights = dict[str, tuple[float, float]]
"""By word: what it tells where both have it, and what it costs where one lacks it."""


def rarity(known: int, patterns: int) -> float:
    """How much a word tells that so many of the patterns have, 0 to 1: an inverse document frequency (Spaerck Jones 1972),
    smoothed and scaled to that of a word that nobody has."""
    every = patterns + _PRIOR
    return math.log1p(every / (known + 1)) / math.log1p(every)


class Likeness:
    """Compares what was asked with what is known, 0 to 1: how much the most alike of their lines share, by what the words tell
    (Tversky 1977)."""

    def __init__(self, asked: Signature, frequencies: Mapping[str, int], patterns: int) -> None:
        """`frequencies`: in how many of the patterns a word is; 0 for those that are not in it."""
        self._frequencies = frequencies
        self._patterns = patterns
        self._asked = asked
        self._lines = [(line, self._weighed(line)) for line in asked.terms]

    def to(self, known: Signature) -> float:
        best = 0.0
        for place, theirs in enumerate(known.terms):
            weights = self._weighed(theirs)
            for mine, own in self._lines:
                found = _alike(mine, own, theirs, weights)
                best = max(best, found if place == 0 else found * _LATER)
        frames = len({*self._asked.frames} & {*known.frames})
        return min(1.0, best + 0.01 * frames) if best else 0.0

    def _weighed(self, line: Sequence[Term]) -> _Weights:
        weights: _Weights = {}
        for term in line:
            known = self._frequencies.get(term.word, 0)
            weight = term.weight * rarity(known, self._patterns)
            if known == 0 and term.weight in (WORD, NAME):
                weight *= _UNKNOWN
            missed = weight * _MISSED if term.weight in (CODE, EXCEPTION) else weight
            weights[term.word] = (weight, missed)
        for one, other in pairwise(line):
            strong = (one.weight > WEAK) + (other.weight > WEAK)
            if strong:
                weight = _NEIGHBOURS * strong / 2
                weights[f"{one.word} {other.word}"] = (weight, weight)
        return weights


def _alike(mine: Sequence[Term], own: _Weights, theirs: Sequence[Term], their: _Weights) -> float:
    if [term.word for term in mine] == [term.word for term in theirs]:
        return 1.0
    shared = sum(min(weight, their[word][0]) for word, (weight, _) in own.items() if word in their)
    telling = {term.word for term in mine if term.weight > WEAK} & {term.word for term in theirs}
    if shared < _LEAST_SHARED or not telling or _contradict(mine, theirs):
        return 0.0
    only_mine = sum(missed for word, (_, missed) in own.items() if word not in their)
    only_theirs = sum(missed for word, (_, missed) in their.items() if word not in own)
    if any(term.weight == CODE and term.word in telling for term in theirs):
        only_mine, only_theirs = only_mine * _SAME_CODE, only_theirs * _SAME_CODE
    straight = shared / (shared + _MINE * only_mine + _THEIRS * only_theirs)
    return max(straight, _TURNED * shared / (shared + _THEIRS * only_mine + _MINE * only_theirs))


def _contradict(mine: Iterable[Term], theirs: Iterable[Term]) -> bool:
    """TS2322 is not TS2345, whatever the words."""
    codes = {_family(term.word): term.word for term in mine if term.weight == CODE}
    return any(codes.get(_family(term.word), term.word) != term.word for term in theirs if term.weight == CODE)


def _family(code: str) -> str:
    """What numbers it: ts of ts2345, errno of enoent."""
    bare = code.rstrip("0123456789")
    return "errno" if bare == code and "_" not in code else bare
