"""The sentences by which programs and servers say why they failed; those of each program are in a data file of its own.

A sentence of an error event is a provider's own, so that any of them classifies it, wherever it stands. In free text (a plain
line, an error that an agent passes on) only those count that nothing else prints, and only where a line begins with them: a
task about rate limits quotes such sentences all the time.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal, plain, signal
from wvo_mcp.domain.providers.signals.times import retry_in

_K = FailureKind
WAITING = frozenset({_K.RATE_LIMIT, _K.QUOTA, _K.CAPACITY, _K.OUTAGE})
"""Kinds that waiting may heal."""

_LONGEST_LINE = 4_000
"""Characters of a line that are looked at; an error says what it is at its beginning."""
_BEGINNING = 1_000
"""Characters of a line of free text in which it must be decided."""

_PROGRAMS = ("claude", "codex", "gemini")
_ORDER = (_K.PERMISSION, _K.CONTEXT, _K.QUOTA, _K.RATE_LIMIT, _K.AUTH, _K.REFUSAL, _K.CAPACITY, _K.OUTAGE)
"""Where several fit. In a provider's own error a model without room comes before them: gemini throws the same error for an
account without quota."""

_QUOTES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u00a0": " ", "\u202f": " ", "\u2013": "-", "\u2014": "-"})
_PREFIX = re.compile(
    r"(?:[^\w\n]{1,8}|(?:claude(?: code)?|codex|gemini(?: cli)?|ollama|provider|error|fatal|warning|api error)"
    r"(?: (?:failed|stopped|exited|ended|said|answered|error|with|exec|code|status|\d{1,3})){0,4} ?[:>\])]+ ?)"
)
"""What may precede such a sentence: names of programs and levels of logs."""
_MOST_PREFIXES = 6
_QUOTING = ("'", '"', "`", "+", "-", "*", "/", "#", "|", ">", "<")
"""How a line begins that shows such a sentence: in a difference, a list, a comment, a table, or between quotes."""


@cache
def data_of(name: str) -> Mapping[str, Any]:
    """What is known of a program: `own`, `words`, `exits`, as its file explains them."""
    return tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8"))


def _sentences(kind: FailureKind) -> list[str]:
    return [one for name in _PROGRAMS for one in data_of(name)["own"].get(kind, ())]


@cache
def _own() -> re.Pattern[str]:
    """The sentences of the programs, in groups named by their kinds."""
    kinds = [kind for kind in sorted(_ORDER, key=lambda kind: kind is not _K.CAPACITY) if _sentences(kind)]
    return re.compile("|".join(f"(?P<{kind}>{'|'.join(_sentences(kind))})" for kind in kinds))


@cache
def _anywhere() -> list[tuple[FailureKind, re.Pattern[str]]]:
    loose: Mapping[str, list[str]] = data_of("errors")["anywhere"]
    first = (_K.CAPACITY, re.compile("|".join(_sentences(_K.CAPACITY))))
    return [first, *((kind, re.compile("|".join([*_sentences(kind), *loose.get(kind, ())]))) for kind in _ORDER)]


def small(text: str) -> str:
    """In small letters, with plain quotes, on one line, and no longer than sentences of errors are."""
    return plain(text[:_LONGEST_LINE]).lower().translate(_QUOTES)


def kind_of(message: str) -> FailureKind | None:
    """Of what a provider's own error says; for free text see `classified_line`."""
    text = small(message)
    return next((kind for kind, pattern in _anywhere() if pattern.search(text)), None)


def _begins(line: str) -> FailureKind | None:
    """The kind of a line of small letters that begins with a program's sentence, maybe behind a program's name."""
    at = 0
    if line.lstrip().startswith(_QUOTING) and not line.lstrip().startswith("--dangerously"):
        return None
    for _ in range(_MOST_PREFIXES):
        if (found := _own().match(line, at)) is not None:
            return FailureKind(str(found.lastgroup))
        if (prefix := _PREFIX.match(line, at)) is None:
            return None
        at = prefix.end()
    return None


def classified_line(line: str, now: datetime, *, model: str | None = None) -> Signal | None:
    """Of one line of free text; strict."""
    kind = _begins(small(line[:_BEGINNING]))
    return None if kind is None else signal_of(kind, line, now, model=model)


def from_text(text: str, now: datetime) -> Signal | None:
    """Of free text, such as the error that a report passes on; None where in doubt. Counts only what nothing but a
    provider's program prints, and only where a line begins with it."""
    return next((found for line in text.splitlines() if (found := classified_line(line, now))), None)


_OF_ACCOUNT = re.compile(r"you've hit your usage limit(?! for )")
"""Codex; `for` names the only model that is meant."""


def signal_of(kind: FailureKind, message: str, now: datetime, *, model: str | None = None) -> Signal:
    """A signal with the wait that its message names, where waiting helps."""
    line = small(message)
    after, resets = retry_in(line, now) if kind in WAITING else (None, None)
    found = signal(kind, message, retry_after=after, resets_at=resets, model=model)
    return replace(found, whole=True) if kind is _K.RATE_LIMIT and _OF_ACCOUNT.search(line) else found
