"""What is remembered: versions of topics."""

from enum import StrEnum

from pydantic import BaseModel

from wvo_mcp.domain.instant import Instant


class Scope(StrEnum):
    PROJECT = "project"
    EPIC = "epic"
    TASK = "task"


class ContextEntry(BaseModel, frozen=True, defer_build=True):
    """One version of a topic. `rank` is set by a search: lower is better (BM25)."""

    topic: str
    version: int
    content: str
    tags: tuple[str, ...]
    at: Instant
    rank: float | None


def tokens(text: str) -> int:
    """Size of a text against a token budget: UTF-8 bytes / 4, rounded up (contract, preface)."""
    return -(-len(text.encode()) // 4)


def within(entries: list[ContextEntry], max_tokens: int) -> list[ContextEntry]:
    """The entries, in order, that fit the budget; one that does not is left out and later, smaller ones still may fit.

    When not even the first fits, its beginning is given, so that an answer is never empty for size alone.
    """
    kept: list[ContextEntry] = []
    left = max_tokens
    for entry in entries:
        size = tokens(entry.topic) + tokens(entry.content)
        if size <= left:
            kept.append(entry)
            left -= size
    if not kept and entries and max_tokens >= 16:
        room = max_tokens * 4 - 16
        cut = entries[0].content.encode()[:room].decode(errors="ignore")
        kept = [entries[0].model_copy(update={"content": cut + " [...]"})]
    return kept


def newest(entries: list[ContextEntry]) -> list[ContextEntry]:
    """One entry a topic, of those given the newest, in the order in which the topics first appear."""
    best: dict[str, ContextEntry] = {}
    for entry in entries:
        known = best.get(entry.topic)
        if known is None or entry.version > known.version:
            best[entry.topic] = entry
    return list(best.values())
