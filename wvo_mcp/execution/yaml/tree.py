"""YAML as a tree that knows its positions in the text.

Built from parser events and not by PyYAML's composer or constructor: those lose the positions that an edit needs, turn
`010` and `no` into other values, recurse as deep as the text does, and take eight times as long for a file of 10,000
tasks. Anchors, aliases and the merge key `<<` are refused: what a line means is on that line.
"""

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

MAX_DEPTH = 12
MAX_KEYS = 100

FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The libyaml parser where PyYAML was built with it, else the slow one."""

# What YAML calls printable, except U+FEFF, which libyaml accepts only at the start.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_TAGS = _TEXT_TAGS | {
    f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null", "timestamp", "seq", "map")
}
_BLOCK_STYLES = ("|", ">")

_PLAINER = (
    ("mapping values are not allowed", "': ' inside unquoted text; expected the value in quotes"),
    ("could not find expected ':'", "expected 'key: value'"),
    (
        "did not find expected key",
        "expected a key at the same indentation as the keys above, or a closed quote before it",
    ),
    ("did not find expected '-' indicator", "expected '- ' at the same indentation as the items above"),
    ("expected <block end>", "expected a line at the same indentation as the lines above"),
    ("unexpected end of stream", "expected a closing quote before the end of the file"),
    ("did not find expected ',' or ']'", "expected ',' or ']'; a list is not closed"),
    ("did not find expected ',' or '}'", "expected ',' or '}'; a mapping is not closed"),
)


_BEGUN_ABOVE = ("could not find expected ':'", "unexpected end of stream", "did not find expected ','")
"""The parser notices these where something else begins; the mistake is where it began to read."""

_KEY = re.compile(r"(?m)^[ ]*[\w-]+$")


class Unreadable(Exception):
    """The text is not YAML as it is read here. `offset` counts characters; `expected` is a sentence for people."""

    def __init__(self, offset: int, expected: str) -> None:
        super().__init__(expected)
        self.offset = offset
        self.expected = expected


@dataclass(slots=True, eq=False)
class ScalarNode:
    """`text` as the reader sees it; `plain` when neither quoted nor tagged as text, so that it may be a number."""

    start: int
    end: int
    text: str
    plain: bool
    style: str


@dataclass(slots=True, eq=False)
class SequenceNode:
    start: int
    end: int
    flow: bool
    items: list["Node"]


@dataclass(slots=True, eq=False)
class MappingNode:
    """`entries`: key -> (key, value). `faults`: (offset, key, what was expected) of keys that are repeated or not text."""

    start: int
    end: int
    flow: bool
    entries: dict[str, tuple[ScalarNode, "Node"]]
    faults: list[tuple[int, str, str]]


Node = ScalarNode | SequenceNode | MappingNode


class Lines:
    """Turns offsets into line and column, both from 1, as editors count them."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(end.end() for end in _LINE_END.finditer(text))]

    def position(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def compose(text: str, loader: Any = None) -> Node | None:
    """The outermost node of a text with at most one document; None when it is empty. Raises Unreadable."""
    unprintable = _UNPRINTABLE.search(text)
    if unprintable:
        raise Unreadable(unprintable.start(), f"expected printable text, found U+{ord(unprintable.group()):04X}")
    parser = (loader or FastLoader)(text)
    try:
        parser.get_event()  # the start of the stream
        if isinstance(parser.get_event(), yaml.StreamEndEvent):
            return None
        root = _node(text, parser.get_event, parser.get_event(), 1)
        parser.get_event()  # the end of the document
        another = parser.get_event()
        if not isinstance(another, yaml.StreamEndEvent):
            raise Unreadable(another.start_mark.index, "expected one document, found a second one ('---')")
        return root
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error, text) from None
    finally:
        parser.dispose()


def _unreadable(error: yaml.MarkedYAMLError, text: str) -> Unreadable:
    problem = error.problem or error.context or "this is not YAML"
    mark = error.problem_mark or error.context_mark
    if error.context_mark is not None and any(known in problem for known in _BEGUN_ABOVE):
        mark = error.context_mark
    offset = min(mark.index, len(text)) if mark is not None else 0
    sign = text[offset : offset + 1]
    if sign == "\t":
        return Unreadable(offset, "expected spaces for indentation, found a tab")
    if "cannot start any token" in problem:
        return Unreadable(offset, f"expected the value in quotes; {sign!r} cannot start one without")
    if "mapping values are not allowed" in problem and _KEY.fullmatch(text[text.rfind("\n", 0, offset) + 1 : offset]):
        return Unreadable(offset, "expected the key at the same indentation as the keys above; it is indented further")
    other = f"expected YAML; {problem}" + (f" {error.context}" if error.context else "")
    return Unreadable(offset, next((plainer for known, plainer in _PLAINER if known in problem), other))


def _node(text: str, following: Callable[[], Any], event: Any, depth: int) -> Node:
    start, end = event.start_mark.index, event.end_mark.index
    if event.anchor is not None:
        sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
        raise Unreadable(start, f"expected the value itself, found '{sign}{event.anchor[:60]}'; write it out")
    if event.tag is not None and event.tag not in _TAGS:
        raise Unreadable(start, f"expected no tag, found {event.tag[:60]!r}")
    if isinstance(event, yaml.ScalarEvent):
        style = event.style or ""
        if style in _BLOCK_STYLES:
            # The parser's mark lies behind the empty lines that follow; they belong to the text only with `+`.
            source = text[start:end]
            end = end if "+" in source.partition("\n")[0].partition("#")[0] else start + len(source.rstrip(" \t\r\n"))
        plain = event.implicit[0] if event.tag is None else event.tag not in _TEXT_TAGS
        return ScalarNode(start, end, event.value, plain, style)
    if depth > MAX_DEPTH:
        raise Unreadable(start, f"expected at most {MAX_DEPTH} levels, one inside the other")
    flow = bool(event.flow_style)
    if isinstance(event, yaml.SequenceStartEvent):
        node = SequenceNode(start, start, flow, [])
        while not isinstance(event := following(), yaml.SequenceEndEvent):
            node.items.append(_node(text, following, event, depth + 1))
            # A block list ends for the parser where the next token starts, behind the comments.
            node.end = node.items[-1].end
    else:
        node = MappingNode(start, start, flow, {}, [])
        while not isinstance(event := following(), yaml.MappingEndEvent):
            key = _node(text, following, event, depth + 1)
            value = _node(text, following, following(), depth + 1)
            node.end = value.end
            if not isinstance(key, ScalarNode):
                node.faults.append((key.start, "", "expected a name before the ':'"))
            elif key.text in node.entries:
                node.faults.append((key.start, key.text, "expected each key once; it is repeated here"))
            elif len(node.entries) >= MAX_KEYS:
                raise Unreadable(key.start, f"expected at most {MAX_KEYS} keys in one mapping")
            else:
                node.entries[key.text] = (key, value)
    node.end = event.end_mark.index if flow else node.end
    return node
