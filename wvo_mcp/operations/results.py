"""Results as clients can take them: at most 20,000 characters of compact JSON (CORE-6)."""

import json
import logging
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

from wvo_mcp.domain.redaction import redact, redacted
from wvo_mcp.errors import Internal, InvalidInput, WvoError

MAX_CHARACTERS = 20_000
_ROOM = 600
"""Kept for what stands beside a list or an error, for the `clipped` list, and for the marks that a cut leaves."""
T = TypeVar("T", bound=BaseModel)
_log = logging.getLogger(__name__)


def compact(value: Any) -> str:
    try:
        return to_json(value).decode()
    except PydanticSerializationError:  # an error may quote a lone surrogate, which has no UTF-8
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def fit(result: dict[str, Any], most: int = MAX_CHARACTERS) -> dict[str, Any]:
    """The result itself, or a copy whose longest texts and lists are cut until it fits into `most` characters.

    `clipped` then names what was cut, as `path: how much is left of how much`.
    """
    size = len(compact(result))
    if size <= most:
        return result
    result = json.loads(compact(result))
    cuts: dict[str, str] = {}
    while size > most - _ROOM and len(cuts) < 40:
        path, holder, key = _heaviest(result)
        if holder is None:
            break
        value = holder[key]
        excess = size - (most - _ROOM)
        if isinstance(value, str):
            weight = max(1.0, len(compact(value)) / len(value))
            keep = max(min(200, len(value) // 2), len(value) - int(excess / weight) - 40)
            holder[key] = value[:keep] + " [...]"
            cuts[path] = f"{path}: {keep} of {len(value)} characters"
        else:
            keep = min(len(value) - 1, max(1, int(len(value) * (1 - excess / len(compact(value))))))
            holder[key] = value[:keep]
            cuts[path] = f"{path}: {keep} of {len(value)} entries"
        result["clipped"] = list(cuts.values())
        size = len(compact(result))
    return result


def fit_beside(result: dict[str, Any], notices: Sequence[str]) -> dict[str, Any]:
    """As `fit`, with these among its `notices`, which are never cut: an agent is not told them again."""
    if not notices:
        return fit(result)
    own = fit(result, MAX_CHARACTERS - len(compact(notices)))
    return {**own, "notices": [*own.get("notices", ()), *notices]}


def _heaviest(root: dict[str, Any]) -> tuple[str, Any, Any]:
    """The text that weighs most, or the longest list when no text is worth cutting."""
    best: tuple[int, str, Any, Any] = (0, "", None, None)
    todo: list[tuple[str, Any, Any, Any]] = [(str(k), root, k, v) for k, v in root.items() if k != "clipped"]
    while todo:
        path, holder, key, value = todo.pop()
        weight = 0
        if isinstance(value, str) and len(value) > 200:
            weight = len(compact(value))
        elif isinstance(value, list):
            # A list yields only when its entries are many and small.
            weight = len(compact(value)) // 2 if len(value) > 1 else 0  # pyright: ignore[reportUnknownArgumentType]
            todo.extend((f"{path}[{i}]", value, i, v) for i, v in enumerate(value))  # pyright: ignore
        elif isinstance(value, dict):
            todo.extend((f"{path}.{k}", value, k, v) for k, v in value.items())  # pyright: ignore
        if weight > best[0]:
            best = (weight, path, holder, key)
    return best[1], best[2], best[3]


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


MESSAGE_CHARACTERS = 2_500
DETAIL_CHARACTERS = 500
DETAIL_ENTRIES = 50
"""An error may quote what it refuses, and that may be a megabyte."""
_LONGEST_KEY = 4_000


def payload(error: WvoError) -> dict[str, Any]:
    """{code, message, retryable, hint, details}, at most 20,000 characters as compact JSON, without secrets that it quotes."""
    shown = error.payload()
    shown["message"] = _cut(shown["message"], MESSAGE_CHARACTERS)
    shown["details"] = redacted(_few(shown["details"]))
    for kinds in ((dict, list), (object,)):  # the largest first
        if len(compact(shown)) > MAX_CHARACTERS - _ROOM:
            shown["details"] = {name: part for name, part in shown["details"].items() if not isinstance(part, kinds)}
    return shown


def defect(tool: str, error: Exception) -> WvoError:
    """What is shown instead of an unexpected exception; the log has it in full under the same reference."""
    ref = secrets.token_hex(4)
    _log.error("%s met a defect, ref %s", tool, ref, exc_info=error)
    return Internal(ref)


def _few(value: Any) -> Any:
    """The same, with its texts cut, and its lists and objects after 50 entries."""
    if isinstance(value, str):
        return _cut(value, DETAIL_CHARACTERS)
    if isinstance(value, list):
        return [_few(part) for part in cast("list[Any]", value)[:DETAIL_ENTRIES]]
    if isinstance(value, dict):
        entries = list(cast("dict[str, Any]", value).items())[:DETAIL_ENTRIES]
        return {_cut(name, DETAIL_CHARACTERS): _few(part) for name, part in entries}
    return value


def _cut(text: str, most: int) -> str:
    # What is cut is cut from the redacted text: half a key looks like nothing.
    shown = redact(text[: most + _LONGEST_KEY])
    if len(shown) > most or len(text) > most + _LONGEST_KEY:
        shown = shown[:most] + " [...]"
    # A quoted lone surrogate would make the whole answer impossible to send.
    return shown.encode(errors="backslashreplace").decode()
