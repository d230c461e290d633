"""From bytes to values: readers that judge a value on its line, and that combine to the model of a whole file.

A reader returns the value, or None after reporting what it expected. Text is taken as it is written: an id `010` and
a label `no` are what they look like. Numbers and truth values must not be quoted.
"""

import codecs
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from wvo_mcp.domain.roadmap import end_of_day
from wvo_mcp.domain.text import did_you_mean, is_id, storable
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.yaml.tree import Lines, MappingNode, Node, ScalarNode, SequenceNode, Unreadable, compose

MAX_PROBLEMS = 1_000
SHOWN_PROBLEMS = 20

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_FLAGS: dict[str, bool] = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_WHOLE = re.compile(r"0|[1-9][0-9]{0,12}")
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,8})(\.[0-9]{1,9})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]")


class Report:
    """What is wrong in a text: the first MAX_PROBLEMS in `problems`, their number in `wrong`. `path` names the value that
    is being read, such as `epics[0].title`. `warnings` are lines on what is valid and probably not meant."""

    def __init__(self, text: str) -> None:
        self.problems: list[dict[str, Any]] = []
        self.wrong = 0
        self.warnings: list[str] = []
        self._lines = Lines(text)
        self._path: list[str] = []

    @property
    def path(self) -> str:
        return "".join(self._path).removeprefix(".")

    def line(self, node: Node) -> int:
        return self._lines.position(node.start)[0]

    def __call__(self, node: Node, message: str, inner: str = "") -> None:
        """Report the node; `inner` continues the path."""
        self.add(node.start, f"{self.path}{inner}".removeprefix("."), message)

    def add(self, offset: int, path: str, message: str) -> None:
        self.wrong += 1
        if len(self.problems) < MAX_PROBLEMS:
            line, column = self._lines.position(offset)
            self.problems.append({"line": line, "column": column, "field": path, "problem": message})

    def inside(self, part: str, node: Node, reader: "Reader") -> Any:
        """What the reader returns for a node one step further: the path is extended by `part`."""
        self._path.append(part)
        value = reader(node, self)
        self._path.pop()
        return value

    def keys(self, node: MappingNode, known: Collection[str]) -> None:
        """Report what is wrong with the keys."""
        for offset, key, fault in node.faults:
            self.add(offset, f"{self.path}.{key[:60]}".strip("."), fault)
        for key, (at, _) in node.entries.items():
            if key not in known:
                self.unknown(at, key, known)

    def unknown(self, at: ScalarNode, key: str, known: Collection[str]) -> None:
        meant = did_you_mean(key[:60], known, 1) if self.wrong < MAX_PROBLEMS else ""
        meant = meant or f" Known are {', '.join(known)}."
        self(at, f"unknown key {key[:60]!r}.{meant}", f".{key[:60]}")

    def refusal(self, subject: str, name: str, first: Unreadable | None = None) -> InvalidInput:
        """The error for a broken file. What could not be read at all comes first: what was found above it may only be a
        consequence, such as a key that is indented wrongly."""
        problems = sorted(self.problems, key=lambda each: (each["line"], each["column"]))
        if first is not None:
            self.add(first.offset, "", first.expected)
            problems.insert(0, self.problems[-1])
        return refusal(subject, name, problems, self.wrong)


Reader = Callable[[Node, Report], Any]


def refusal(subject: str, name: str, problems: Sequence[Mapping[str, Any]], count: int = 1) -> InvalidInput:
    """The error for a broken file: the first problem in the message, the first SHOWN_PROBLEMS in `details.problems`,
    and how many there are in `details.count`. `subject` is what the file is about. A problem is {line, column, field,
    problem}; lines count from 1, `field` is a path such as `epics[0].tasks[3].priority`, empty for the file as a whole."""
    first = problems[0]
    problem = f"{first['field']}: {first['problem']}" if first["field"] else first["problem"]
    more = f" (and {count - 1:,} more)" if count > 1 else ""
    message = f"{name}:{first['line']}: {problem}{more}"
    return InvalidInput(subject, problem, message=message, file=name, problems=problems[:SHOWN_PROBLEMS], count=count)


def decoded(data: bytes, most: int, subject: str, name: str) -> str:
    """The text, without its byte order mark. Raises InvalidInput: too large, or not UTF-8."""
    line, column = 1, None
    try:
        if len(data) <= most:
            return data.decode("utf-8-sig")
        problem = f"expected at most {most / 2**20:g} MiB, found more"
    except UnicodeDecodeError as error:
        # The mark is not counted in `start`.
        bad = error.start + len(data) - len(error.object)
        line, begin = data.count(b"\n", 0, bad) + 1, data.rfind(b"\n", 0, bad) + 1
        column = len(data[begin:bad].decode(errors="replace")) + 1
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        problem = f"expected UTF-8, found {'UTF-16' if wide else f'the byte 0x{data[bad]:02X}'}; save the file as UTF-8"
    raise refusal(subject, name, [{"line": line, "column": column, "field": "", "problem": problem}])


def parsed(text: str, report: Report, subject: str, name: str, loader: Any = None) -> Node | None:
    """The tree of the text; None when it is empty. Raises InvalidInput for what is not YAML."""
    try:
        return compose(text, loader)
    except Unreadable as error:
        raise report.refusal(subject, name, error) from None


def node_at(root: Node, path: str) -> Node:
    """The node of a path; where a key is missing, the mapping that lacks it."""
    for key, index in _STEP.findall(path):
        if isinstance(root, SequenceNode) and index:
            root = root.items[int(index)]
        elif isinstance(root, MappingNode) and key in root.entries:
            root = root.entries[key][1]
    return root


def is_null(node: Node) -> bool:
    """True for `key:`, `key: ~` and `key: null`: the key is as good as absent."""
    return type(node) is ScalarNode and node.plain and node.text in _NULLS


def record(readers: Mapping[str, Reader], what: str, required: Collection[str] = ()) -> Reader:
    """A mapping of these keys only: key -> value of those that are right. `what` it should be, and which keys it needs."""

    def read(node: Node, report: Report) -> dict[str, Any] | None:
        if not isinstance(node, MappingNode):
            return report(node, f"expected {what}")
        report.keys(node, readers)
        for key in required:
            if key not in node.entries or is_null(node.entries[key][1]):
                report(node_at(node, key), f"expected '{key}: ...', found nothing", f".{key}")
        found: dict[str, Any] = {}
        for key, (_, value) in node.entries.items():
            reader = readers.get(key)
            if reader is not None and not is_null(value):
                one = report.inside(f".{key}", value, reader)
                if one is not None:
                    found[key] = one
        return found

    return read


def listed(item: Reader, most: int, what: str = "a list, like [one, two]", *, partly: bool = False) -> Reader:
    """At most `most` items, as a tuple; `partly`: of those that are right, else of all or none."""

    def read(node: Node, report: Report) -> tuple[Any, ...] | None:
        if not isinstance(node, SequenceNode):
            return refuse(node, report, what)
        if len(node.items) > most:
            return report(node, f"expected at most {most:,} items, found {len(node.items):,}")
        found = [report.inside(f"[{index}]", each, item) for index, each in enumerate(node.items)]
        right = tuple(each for each in found if each is not None)
        return right if partly or len(right) == len(found) else None

    return read


def text(most: int, *, blank: bool = False) -> Reader:
    """At most `most` characters, not only spaces unless `blank`."""

    def read(node: Node, report: Report) -> str | None:
        if not isinstance(node, ScalarNode) or is_null(node) or not (blank or node.text.strip()):
            return refuse(node, report, "text")
        if len(node.text) > most:
            return report(node, f"expected at most {most:,} characters, found {len(node.text):,}")
        try:
            return storable(node.text)
        except ValueError as error:
            return report(node, f"expected text that a database can hold; it {error}")

    return read


def scalar(expected: str, convert: Callable[[str], Any], *, plain: bool = False) -> Reader:
    """What `convert` makes of the text; where that is None or a ValueError, what was expected is reported. `plain`: the
    text must not be quoted."""

    def read(node: Node, report: Report) -> Any:
        found = None
        if isinstance(node, ScalarNode) and (node.plain or not plain):
            with suppress(ValueError, OverflowError):
                found = convert(node.text)
        return refuse(node, report, expected) if found is None else found

    return read


name = scalar(
    "an id (1 to 64 of letters, digits, '.', '_', '-', the first a letter or digit)",
    lambda text: text if is_id(text) else None,
)
"""An id of the contract."""


def whole(least: int, most: int) -> Reader:
    """A whole number from `least` to `most`."""
    expected, fits = f"a whole number from {least} to {most:,}", range(least, most + 1)
    return scalar(
        expected, lambda text: int(text) if _WHOLE.fullmatch(text) and int(text) in fits else None, plain=True
    )


def number(most: int) -> Reader:
    """A decimal number from 0 to `most`."""
    expected = f"a number from 0 to {most}"
    return scalar(
        expected, lambda text: float(text) if _NUMBER.fullmatch(text) and float(text) <= most else None, plain=True
    )


flag = scalar("true or false", lambda text: _FLAGS.get(text.casefold()), plain=True)
"""true or false, also in the spellings of YAML 1.1."""


def choice(choices: Collection[StrEnum]) -> Reader:
    """One of the enumeration's values."""
    known = {each.value: each for each in choices}
    return scalar(f"one of {', '.join(known)}", known.get)


day = scalar(
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


instant = scalar("a time with its zone, like 2027-01-15T09:00:00Z, or a date", _instant)
"""A time with its zone, or a date as the start of its day in UTC; whole milliseconds."""


def refuse(node: Node, report: Report, expected: str) -> None:
    """Report what was expected, and what is there."""
    if isinstance(node, MappingNode):
        found = "a mapping"
    elif isinstance(node, SequenceNode):
        found = "a list"
    elif is_null(node):
        found = "nothing"
    else:
        shown = repr(node.text if len(node.text) <= 60 else node.text[:57] + "...")
        found = shown if node.plain or not node.text else f"{shown} in quotes"
    report(node, f"expected {expected}, found {found}")
