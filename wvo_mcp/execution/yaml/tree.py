"""YAML as a tree that knows where in the text everything stands.

Built from parser events and not by PyYAML's composer or constructor: those lose the positions that an edit needs, turn
`010` and `no` into other values, expand aliases without a bound, recurse as deep as the text does, and take eight times
as long for a file of 10,000 tasks.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

MAX_DEPTH = 12
MAX_KEYS = 100
MAX_MERGES = 20

FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The libyaml parser where PyYAML was built with it, else the slow one."""

# What YAML calls printable, but U+FEFF, which libyaml takes at the start only.
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
    """The text is no YAML that is read here. `offset` counts characters; `expected` is a sentence for people."""

    def __init__(self, offset: int, expected: str) -> None:
        super().__init__(expected)
        self.offset = offset
        self.expected = expected


@dataclass(slots=True, eq=False)
class ScalarNode:
    """`text` as the reader sees it; `plain` when neither quoted nor tagged as text, so that it may be a number."""

    start: int
    end: int
    anchor: str | None
    text: str
    plain: bool
    style: str


@dataclass(slots=True, eq=False)
class SequenceNode:
    start: int
    end: int
    anchor: str | None
    flow: bool
    items: list["Node"]


@dataclass(slots=True, eq=False)
class MappingNode:
    """`entries`: key -> (key, value, own); inherited ones (merge key `<<`) are not own. `merges`: the `<<` pairs.
    `faults`: (offset, key, what was expected) of keys that are repeated or no text, and of merges of anything but
    mappings."""

    start: int
    end: int
    anchor: str | None
    flow: bool
    entries: dict[str, tuple[ScalarNode, "Node", bool]]
    merges: list[tuple[ScalarNode, "Node"]]
    faults: list[tuple[int, str, str]]


@dataclass(slots=True, eq=False)
class AliasNode:
    """`*name`; `target` is never an alias."""

    start: int
    end: int
    target: "ScalarNode | SequenceNode | MappingNode"


Node = ScalarNode | SequenceNode | MappingNode | AliasNode
Take = Callable[[tuple[int, ...], Node], Node]


def resolved(node: Node) -> ScalarNode | SequenceNode | MappingNode:
    """The node itself, or what an alias stands for."""
    return node.target if isinstance(node, AliasNode) else node


class Lines:
    """Turns offsets into line and column, both from 1, as editors count them."""

    def __init__(self, text: str) -> None:
        self._length = len(text)
        self._starts = [0, *(end.end() for end in _LINE_END.finditer(text))]

    def place(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def start(self, offset: int) -> int:
        """The offset at which the line begins."""
        return self._starts[bisect_right(self._starts, offset) - 1]

    def next_start(self, offset: int) -> int:
        """The offset at which the next line begins, or the end of the text."""
        following = bisect_right(self._starts, offset)
        return self._starts[following] if following < len(self._starts) else self._length


def compose(text: str, route: Sequence[str] = (), take: Take | None = None, loader: Any = None) -> Node | None:
    """The outermost node of a text with at most one document; None when it is empty.

    `route` names keys from the root whose values are lists, each key inside the items of the one before; every item of
    such a list is replaced by what `take` gives for it, called with the item's indexes along the route as soon as the
    item is complete. So a large file need not be in memory as a tree. Raises Unreadable.
    """
    unprintable = _UNPRINTABLE.search(text)
    if unprintable:
        raise Unreadable(unprintable.start(), f"expected printable text, found U+{ord(unprintable.group()):04X}")
    composer = _Composer(text, tuple(route), take, loader or FastLoader)
    try:
        return composer.document()
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error, text) from None
    finally:
        composer.close()


def _unreadable(error: yaml.MarkedYAMLError, text: str) -> Unreadable:
    problem = error.problem or error.context or "this is no YAML"
    mark = error.problem_mark or error.context_mark
    if error.context_mark is not None and any(known in problem for known in _BEGUN_ABOVE):
        mark = error.context_mark
    offset = min(mark.index, len(text)) if mark is not None else 0
    if text[offset : offset + 1] == "\t":
        return Unreadable(offset, "expected spaces for indentation, found a tab")
    if "cannot start any token" in problem:
        return Unreadable(
            offset, f"expected the value in quotes; {text[offset : offset + 1]!r} cannot start one without"
        )
    if "mapping values are not allowed" in problem and _KEY.fullmatch(text[text.rfind("\n", 0, offset) + 1 : offset]):
        return Unreadable(offset, "expected the key at the same indentation as the keys above; it is indented further")
    for known, plainer in _PLAINER:
        if known in problem:
            return Unreadable(offset, plainer)
    return Unreadable(offset, f"expected YAML; {problem}" + (f" {error.context}" if error.context else ""))


class _Composer:
    def __init__(self, text: str, route: tuple[str, ...], take: Take | None, loader: Any) -> None:
        self._text = text
        self._route = route
        self._take = take
        self._parser = loader(text)
        self._next: Callable[[], Any] = self._parser.get_event
        self._anchors: dict[str, ScalarNode | SequenceNode | MappingNode] = {}
        self._indexes: list[int] = []

    def close(self) -> None:
        self._parser.dispose()

    def document(self) -> Node | None:
        self._next()  # the start of the stream
        if isinstance(self._next(), yaml.StreamEndEvent):
            return None
        root = self._node(self._next(), 1, 0 if self._route else None)
        self._next()  # the end of the document
        another = self._next()
        if not isinstance(another, yaml.StreamEndEvent):
            raise Unreadable(another.start_mark.index, "expected one document, found a second one ('---')")
        return root

    def _node(self, event: Any, depth: int, stage: int | None) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        start = event.start_mark.index
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, start)
        if depth > MAX_DEPTH:
            raise Unreadable(start, f"expected at most {MAX_DEPTH} levels, one inside the other")
        if event.tag is not None:
            self._known_tag(event.tag, start)
        node = (
            self._sequence(event, start, depth, stage)
            if isinstance(event, yaml.SequenceStartEvent)
            else self._mapping(event, start, depth, stage)
        )
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _scalar(self, event: Any) -> ScalarNode:
        start, end = event.start_mark.index, event.end_mark.index
        tag, anchor, style, plain = event.tag, event.anchor, event.style or "", event.implicit[0]
        if tag is not None:
            self._known_tag(tag, start)
            plain = tag not in _TEXT_TAGS
        if style in _BLOCK_STYLES:
            end = self._end_of_block_scalar(start, end)
        node = ScalarNode(start, end, anchor, event.value, plain, style)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _end_of_block_scalar(self, start: int, end: int) -> int:
        # The parser's mark lies behind the empty lines that follow; they belong to the text only with `+`.
        source = self._text[start:end]
        header = source.partition("#")[0].split("\n", 1)[0]
        return end if "+" in header else start + len(source.rstrip(" \t\r\n"))

    def _known_tag(self, tag: str, start: int) -> None:
        if tag not in _TAGS:
            raise Unreadable(start, f"expected no tag, found {tag[:60]!r}")

    def _alias(self, event: Any, start: int) -> AliasNode:
        target = self._anchors.get(event.anchor)
        if target is None:
            raise Unreadable(start, f"expected an anchor &{event.anchor[:60]} above this alias")
        return AliasNode(start, event.end_mark.index, target)

    def _sequence(self, event: Any, start: int, depth: int, stage: int | None) -> SequenceNode:
        node = SequenceNode(start, start, event.anchor, bool(event.flow_style), [])
        below = None if stage is None or stage + 1 >= len(self._route) else stage + 1
        while True:
            following = self._next()
            if type(following) is yaml.SequenceEndEvent:
                break
            if stage is not None:
                self._indexes.append(len(node.items))
            item = self._node(following, depth + 1, below if type(following) is yaml.MappingStartEvent else None)
            # A block list ends for the parser where the next token starts, behind the comments.
            node.end = item.end
            if stage is not None:
                item = self._take(tuple(self._indexes), item) if self._take else item
                self._indexes.pop()
            node.items.append(item)
        if node.flow:
            node.end = following.end_mark.index
        return node

    def _mapping(self, opening: Any, start: int, depth: int, stage: int | None) -> MappingNode:
        node = MappingNode(start, start, opening.anchor, bool(opening.flow_style), {}, [], [])
        wanted = None if stage is None else self._route[stage]
        entries = node.entries
        following = self._next()
        while type(following) is not yaml.MappingEndEvent:
            key = self._node(following, depth + 1, None)
            event = self._next()
            on_route = wanted is not None and type(event) is yaml.SequenceStartEvent and _name(key) == wanted
            value = self._node(event, depth + 1, stage if on_route else None)
            node.end = value.end
            if type(key) is ScalarNode and key.text not in entries and key.text != "<<" and len(entries) < MAX_KEYS:
                entries[key.text] = (key, value, True)
            else:
                self._enter(node, key, value)
            following = self._next()
        if node.flow:
            node.end = following.end_mark.index
        for _, value in node.merges:
            self._inherit(node, value)
        return node

    def _enter(self, node: MappingNode, key: Node, value: Node) -> None:
        """Everything but a new key of an ordinary name."""
        if not isinstance(key, ScalarNode):
            node.faults.append((key.start, "", "expected a name before the ':'"))
        elif key.text == "<<" and key.plain:
            node.merges.append((key, value))
        elif key.text in node.entries:
            node.faults.append((key.start, key.text, "expected each key once; it is repeated here"))
        elif len(node.entries) >= MAX_KEYS:
            raise Unreadable(key.start, f"expected at most {MAX_KEYS} keys in one mapping")
        else:
            node.entries[key.text] = (key, value, True)

    def _inherit(self, node: MappingNode, value: Node) -> None:
        source = resolved(value)
        sources = source.items if isinstance(source, SequenceNode) else [source]
        if len(sources) > MAX_MERGES:
            raise Unreadable(value.start, f"expected at most {MAX_MERGES} mappings to merge")
        for each in sources:
            origin = resolved(each)
            if not isinstance(origin, MappingNode):
                node.faults.append((each.start, "<<", "expected '*name' of a mapping to merge"))
                continue
            for name, (key, inherited, _) in origin.entries.items():
                node.entries.setdefault(name, (key, inherited, False))
        if len(node.entries) > MAX_KEYS:
            raise Unreadable(value.start, f"expected at most {MAX_KEYS} keys in one mapping, those merged included")


def _name(node: Node) -> str | None:
    return node.text if isinstance(node, ScalarNode) else None
