"""Searches as FTS5 takes them: every word quoted, so that no input is an operator."""

import re

_MOST_WORDS = 12


def words(text: str) -> list[str]:
    """Distinct words of letters and digits, in order, at most 12."""
    found = re.findall(r"\w+", text.casefold())
    return list(dict.fromkeys(word for word in found if word))[:_MOST_WORDS]


def match_all(text: str) -> str:
    """Every word must occur; the last one may be a beginning. Matches nothing when there is no word."""
    quoted = [f'"{word}"' for word in words(text)]
    return " AND ".join([*quoted[:-1], quoted[-1] + "*"]) if quoted else '""'


def match_any(text: str) -> str:
    """Some word must occur."""
    return " OR ".join(f'"{word}"' for word in words(text)) or '""'
