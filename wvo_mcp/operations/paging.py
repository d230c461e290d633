"""Lists a page at a time: what fits one result, and where the next page begins."""

from collections.abc import Iterable
from typing import TypeVar

from pydantic import BaseModel

from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations.results import MAX_CHARACTERS, compact

T = TypeVar("T", bound=BaseModel)
_ROOM = 500
"""Characters of a result for what is beside the list."""


def fitting(entries: Iterable[T]) -> list[T]:
    """The first ones that fit one result; one at least."""
    page: list[T] = []
    size = 0
    for entry in entries:
        size += len(compact(entry.model_dump(mode="json"))) + 1
        if page and size > MAX_CHARACTERS - _ROOM:
            break
        page.append(entry)
    return page


def position(cursor: str | None) -> int | None:
    """The number in a cursor. Raises InvalidInput."""
    if not cursor:
        return None
    if not (cursor.isascii() and cursor.isdigit()) or not 0 < int(cursor) < 2**62:
        raise InvalidInput("cursor", "give the next_cursor of an earlier page, unchanged")
    return int(cursor)
