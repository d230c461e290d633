"""Searches as the databases take them: every word quoted, so that no input is an operator."""

import re

from wvo_mcp.store.sql import Dialect

_MOST_WORDS = 12


def words(text: str) -> list[str]:
    """Distinct words of letters and digits, in order, at most 12."""
    found = re.findall(r"\w+", text.casefold())
    return list(dict.fromkeys(word for word in found if word))[:_MOST_WORDS]


def match_all(dialect: Dialect, text: str) -> str:
    """Every word must occur; the last one may be a beginning. Matches nothing when there is no word."""
    quoted = _quoted(dialect, text)
    return dialect.both.join([*quoted[:-1], quoted[-1] + dialect.start])


def match_any(dialect: Dialect, text: str) -> str:
    """Some word must occur. Matches nothing when there is no word."""
    return dialect.either.join(_quoted(dialect, text))


def _quoted(dialect: Dialect, text: str) -> list[str]:
    return [f"{dialect.quote}{word}{dialect.quote}" for word in words(text) or ["_"]]
