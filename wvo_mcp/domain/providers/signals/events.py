"""JSON as programs and servers give it: whatever is wrong with a value, the next one is read."""

import json
from typing import Any, cast

Event = dict[str, Any]

LONGEST_EVENT = 16_000_000
"""Characters; a longer line is a tool's result, which is of no interest here."""
LARGEST_COUNT = 1_000_000_000
"""Tokens; more in one run is no measurement."""
LARGEST_COST = 100_000.0
_AROUND = "\x00 \t\r\n\ufeff"


def parsed(text: str) -> Any:
    """The JSON value, or None for what is none, or nests too deeply."""
    try:
        return json.loads(text.strip(_AROUND))
    except (ValueError, RecursionError):
        return None


def event_of(line: str) -> Event | None:
    """The JSON object that the line is, if it is one. A broken line is none."""
    line = line.strip(_AROUND)
    whole = line.startswith("{") and line.endswith("}") and len(line) <= LONGEST_EVENT
    return part(parsed(line)) or None if whole else None


def is_json_like(line: str) -> bool:
    """Whole or broken, an event and no plain line of the program."""
    return line.lstrip(_AROUND).startswith(("{", "[{", '"'))


def part(value: object, *names: str) -> Event:
    """The object under these names, one inside the other; empty when there is none."""
    for name in names:
        value = cast(Event, value).get(name) if isinstance(value, dict) else None
    return cast(Event, value) if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def words(value: object) -> str:
    """The text, or an empty one for what is no text."""
    return value if isinstance(value, str) else ""


def number(value: object) -> float | None:
    """The number, or None for what is none (a truth value is none)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e18 else None


def dollars(value: object) -> float | None:
    """A cost as a program printed it; None for what is none."""
    cost = number(value)
    return cost if cost is not None and 0 <= cost <= LARGEST_COST else None


def tokens(value: object) -> int:
    """A count of tokens as a program printed it; 0 for what is none."""
    count = number(value)
    return int(count) if count is not None and 0 <= count <= LARGEST_COUNT else 0
