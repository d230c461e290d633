"""Results as clients can take them: at most 20,000 characters of compact JSON (CORE-6)."""

import json
from typing import Any

from pydantic_core import PydanticSerializationError, to_json

MAX_CHARACTERS = 20_000
_ROOM = 600
"""Kept for the `clipped` list and for the marks that a cut leaves."""


def compact(value: Any) -> str:
    try:
        return to_json(value).decode()
    except PydanticSerializationError:  # an error may quote a lone surrogate, which has no UTF-8
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def fit(result: dict[str, Any]) -> dict[str, Any]:
    """The result itself, or a copy whose longest texts and lists are cut until it fits.

    `clipped` then names what was cut, as `path: how much is left of how much`.
    """
    size = len(compact(result))
    if size <= MAX_CHARACTERS:
        return result
    result = json.loads(compact(result))
    cuts: dict[str, str] = {}
    while size > MAX_CHARACTERS - _ROOM and len(cuts) < 40:
        path, holder, key = _heaviest(result)
        if holder is None:
            break
        value = holder[key]
        excess = size - (MAX_CHARACTERS - _ROOM)
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
