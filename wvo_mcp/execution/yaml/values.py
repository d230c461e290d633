"""From nodes to values. A reader gives the value, or None after it has reported what it expected.

Text is taken as it is written: an id `010` and a label `no` are what they look like. Numbers and truth values must not
be quoted.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from wvo_mcp.domain.roadmap import ROADMAP_STATUSES, end_of_day
from wvo_mcp.domain.text import is_id, storable
from wvo_mcp.execution.yaml.tree import AliasNode, MappingNode, Node, ScalarNode, SequenceNode, resolved

Report = Callable[[int, str, str], None]
"""offset, what to append to the field's path (`[3]` for an item), what was expected."""
Reader = Callable[[Node, Report], Any]

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_FLAGS: dict[str, bool] = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_WHOLE = re.compile(r"0|[1-9][0-9]{0,12}")
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PROGRESS = ("in_progress", "in_review", "awaiting_approval", "done", "failed")


def is_null(node: Node) -> bool:
    """True for `key:`, `key: ~` and `key: null`: the key is as good as absent."""
    value = node.target if isinstance(node, AliasNode) else node
    return type(value) is ScalarNode and value.plain and value.text in _NULLS


def text(most: int, *, blank: bool = False) -> Reader:
    """At most `most` characters, not only spaces unless `blank`."""

    def read(node: Node, report: Report) -> str | None:
        value = resolved(node)
        if not isinstance(value, ScalarNode) or is_null(value):
            return _refuse(node, report, "text")
        if len(value.text) > most:
            report(node.start, "", f"expected at most {most:,} characters, found {len(value.text):,}")
            return None
        if not blank and not value.text.strip():
            return _refuse(node, report, "text")
        try:
            return storable(value.text)
        except ValueError as error:
            report(node.start, "", f"expected text that a database can hold; it {error}")
            return None

    return read


def _of(expected: str, convert: Callable[[str], Any], *, plain: bool = False) -> Reader:
    """What `convert` makes of the text; where that is None or a ValueError, it is reported what was expected. `plain`: the
    text must not be quoted."""

    def read(node: Node, report: Report) -> Any:
        value = resolved(node)
        found = None
        if isinstance(value, ScalarNode) and (value.plain or not plain):
            with suppress(ValueError, OverflowError):
                found = convert(value.text)
        return _refuse(node, report, expected) if found is None else found

    return read


name = _of(
    "an id (1 to 64 of letters, digits, '.', '_', '-', the first a letter or digit)",
    lambda text: text if is_id(text) else None,
)
"""An id of the contract."""


def whole(least: int, most: int) -> Reader:
    """A whole number from `least` to `most`."""

    def convert(text: str) -> int | None:
        return int(text) if _WHOLE.fullmatch(text) and least <= int(text) <= most else None

    return _of(f"a whole number from {least} to {most:,}", convert, plain=True)


def number(most: int) -> Reader:
    """A decimal number from 0 to `most`."""

    def convert(text: str) -> float | None:
        return float(text) if _NUMBER.fullmatch(text) and float(text) <= most else None

    return _of(f"a number from 0 to {most}", convert, plain=True)


flag = _of("true or false", lambda text: _FLAGS.get(text.casefold()), plain=True)
"""true or false, also in the spellings of YAML 1.1."""


def choice(choices: tuple[StrEnum, ...]) -> Reader:
    """One of the enumeration's values."""
    known = {each.value: each for each in choices}
    return _of(f"one of {', '.join(known)}", known.get)


_move = choice(ROADMAP_STATUSES)


def status(node: Node, report: Report) -> StrEnum | None:
    """What the file may ask of a task."""
    value = resolved(node)
    if isinstance(value, ScalarNode) and value.text in _PROGRESS:
        return _refuse(node, report, "pending (to reopen), blocked or cancelled; the database keeps progress")
    return _move(node, report)


day = _of(
    "a date that exists, written like 2027-01-15",
    lambda text: end_of_day(date.fromisoformat(text)) if _DAY.fullmatch(text) else None,
)
"""A date, as the end of its day in UTC."""


def _instant(text: str) -> datetime | None:
    at = datetime.fromisoformat(text)
    if _DAY.fullmatch(text):
        at = at.replace(tzinfo=UTC)
    if at.tzinfo is None:
        return None
    at = at.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


instant = _of("a time with its zone, like 2027-01-15T09:00:00Z, or a date", _instant)
"""A time with its zone, or a date as the start of its day in UTC; whole milliseconds."""


def listed(item: Reader, most: int) -> Reader:
    """At most `most` items; gives a tuple of those that are right."""

    def read(node: Node, report: Report) -> tuple[Any, ...] | None:
        value = resolved(node)
        if not isinstance(value, SequenceNode):
            return _refuse(node, report, "a list, like [one, two]")
        if len(value.items) > most:
            report(node.start, "", f"expected at most {most} items, found {len(value.items):,}")
            return None
        found: list[Any] = []
        index = 0

        def report_item(offset: int, _: str, expected: str) -> None:
            report(offset, f"[{index}]", expected)

        for index, each in enumerate(value.items):  # noqa: B007 (the report reads it)
            one = item(each, report_item)
            if one is not None:
                found.append(one)
        return tuple(found)

    return read


def _refuse(node: Node, report: Report, expected: str) -> None:
    value = resolved(node)
    if isinstance(value, MappingNode):
        found = "a mapping"
    elif isinstance(value, SequenceNode):
        found = "a list"
    elif is_null(value):
        found = "nothing"
    else:
        shown = repr(value.text if len(value.text) <= 60 else value.text[:57] + "...")
        found = shown if value.plain or not value.text else f"{shown} in quotes"
    report(node.start, "", f"expected {expected}, found {found}")
