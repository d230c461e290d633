"""Changes to a YAML text that touch only what changes: comments, order, quotes and layout of all else stay.

A round trip through a YAML library keeps less: it lays out every line anew, loses comments inside flow collections and
before `---`, and takes thirty times as long. Whoever edits here reads the outcome again and compares.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from wvo_mcp.execution.yaml.render import Value, block_text, field_lines, inline, scalar
from wvo_mcp.execution.yaml.tree import AliasNode, Lines, MappingNode, Node, ScalarNode, SequenceNode, resolved
from wvo_mcp.execution.yaml.values import is_null

_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*+\s*+)*+")
_BEFORE_DASH = re.compile(r"(?:[&!]\S*+|\s++|#[^\r\n]*+)*+")
_LINE_END = re.compile(r"\r\n|\r|\n")
_COMMA = re.compile(r"[ \t]*+,[ \t]*+")
_HEADER_COMMENT = re.compile(r"[^\r\n#]*?([ \t]+#[^\r\n]*)")


class Unfit(Exception):
    """The text is laid out in a way that this change cannot be made in."""


@dataclass(frozen=True, slots=True)
class Item:
    """A new item of a list: how it looks inside [], and its lines when the dash stands behind `indent`."""

    flow: str
    block: Callable[[str], list[str]]


class YamlEditor:
    """Collects edits of one text. Nodes come from `compose` of the same text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = Lines(text)
        end = _LINE_END.search(text)
        self.newline = end.group() if end else "\n"
        self._edits: list[tuple[int, int, str]] = []

    def result(self) -> str:
        """The edited text. Raises Unfit when two edits meet."""
        parts: list[str] = []
        done = 0
        for start, end, new in sorted(self._edits, key=lambda edit: edit[:2]):
            if start < done and new:
                raise Unfit
            parts += (self.text[done:start], new)
            done = max(done, end)
        return "".join([*parts, self.text[done:]])

    # --- mappings ---

    def set_field(self, node: MappingNode, key: str, value: Value, order: Sequence[str]) -> None:
        """Give the key a value; None takes it out. A new key stands behind those that come before it in `order`."""
        old = node.entries.get(key)
        if old is None or not old[2]:
            if old is not None or value is not None:  # an inherited value is covered by an explicit null
                self._add_field(node, key, value, order)
        elif value is None:
            self._remove_field(node, old[0], old[1])
        else:
            self._replace_value(node, old[0], old[1], value)

    def _add_field(self, node: MappingNode, key: str, value: Value, order: Sequence[str]) -> None:
        own = [(name, entry[1]) for name, entry in node.entries.items() if entry[2]]
        place = order.index(key)
        before = [each for each in own if each[0] in order and order.index(each[0]) < place]
        last = max(before, key=lambda each: order.index(each[0]), default=own[0] if own else None)
        flow = f"{key}: {inline(value, flow=True)}"
        self._add_text(node, last[1] if last else None, flow, lambda indent: field_lines(key, value, indent))

    def _add_text(self, node: MappingNode, after: Node | None, flow: str, block: Callable[[str], list[str]]) -> None:
        if node.flow:
            if after is None:
                self._insert(self.text.index("{", node.start) + 1, flow)
            else:
                self._insert(after.end, f", {flow}")
            return
        if after is None:
            raise Unfit
        self._insert_lines(self._line_after(after.end), block(" " * self.column(node)))

    def _remove_field(self, node: MappingNode, key: ScalarNode, value: Node) -> None:
        begin = self.lines.start(key.start)
        alone = not self.text[begin : key.start].strip(" ")
        if _anchored(value) or not (node.flow or alone):
            # An anchor may be used elsewhere; a key behind the dash carries the item.
            self._replace_value(node, key, value, None)
        elif node.flow:
            self._remove_from_flow(key.start, value.end)
        else:
            self._edits.append((begin, self._line_after(value.end), ""))

    def _replace_value(self, node: MappingNode, key: ScalarNode, old: Node, value: Value) -> None:
        if isinstance(old, SequenceNode) and old.items:
            if isinstance(value, tuple) and value:
                self._edit_list(old, value)
                return
            if not old.flow:
                for item in old.items:
                    self._remove_line(item)
                self._put(key, self._behind_properties(key, old), f" {inline(value)}")
                return
        start = self._value_start(old)
        indent = " " * (self.column(node) + 2)
        block = block_text(value, indent) if isinstance(value, str) and not node.flow else None
        head, body = block or (inline(value, flow=node.flow, quote=_quote(old)), [])
        if isinstance(old, ScalarNode) and old.style in ("|", ">"):
            comment = _HEADER_COMMENT.match(self.text, start)
            lines = [head + (comment.group(1) if comment else ""), *body]
            ended = self.newline if self.text[old.end - 1 : old.end] in ("\r", "\n") else ""
            self._edits.append((start, old.end, self.newline.join(lines) + ended))
            return
        self._put(key, start, head, old.end)
        if body:
            self._insert_lines(self._line_after(old.end), body)

    def _put(self, key: ScalarNode, start: int, new: str, end: int | None = None) -> None:
        """Put text between the offsets; where nothing stood, behind the colon and a space."""
        if start == end:
            between = self.text[key.end : start]
            new = ("" if ":" in between else ":") + ("" if between.endswith(" ") else " ") + new
        self._edits.append((start, start if end is None else end, new))

    def _behind_properties(self, key: ScalarNode, node: SequenceNode) -> int:
        """Where the value of a block list could stand on the line of its key."""
        if self.text[node.start] == "-":
            return self.text.index(":", key.end) + 1
        found = self._value_start(node)
        return node.start + len(self.text[node.start : found].rstrip())

    # --- lists of texts ---

    def _edit_list(self, node: SequenceNode, new: Sequence[str]) -> None:
        old = [value.text if isinstance(value := resolved(item), ScalarNode) else "" for item in node.items]
        for kind, i, i_end, j, j_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if kind == "equal":
                continue
            both = min(i_end - i, j_end - j)
            for k in range(both):
                item = node.items[i + k]
                text = inline(new[j + k], flow=node.flow, quote=_quote(item))
                self._edits.append((self._value_start(item), item.end, text))
            if node.flow and i + both < i_end:
                self._remove_from_flow(node.items[i + both].start, node.items[i_end - 1].end)
            for k in range(i + both, 0 if node.flow else i_end):
                self._remove_line(node.items[k])
            self._insert_items(node, i + both, new[j + both : j_end])

    def _remove_line(self, item: Node) -> None:
        begin = self.lines.start(item.start)
        if self.text[begin : item.start].strip(" ") != "-":
            raise Unfit
        self._edits.append((begin, self._line_after(item.end), ""))

    def _insert_items(self, node: SequenceNode, index: int, texts: Sequence[str]) -> None:
        if not texts:
            return
        if node.flow:
            listed = ", ".join(scalar(text, flow=True) for text in texts)
            if index:
                self._insert(node.items[index - 1].end, f", {listed}")
            else:
                self._insert(node.items[0].start, f"{listed}, ")
            return
        begin = self.lines.start(node.items[max(index - 1, 0)].start)
        at = self._line_after(node.items[index - 1].end) if index else begin
        dash = self.text[begin : node.items[max(index - 1, 0)].start]
        if dash.strip(" ") != "-":
            raise Unfit
        self._insert_lines(at, [dash + inline(text) for text in texts])

    # --- lists of mappings ---

    def append(self, owner: MappingNode, key: str, items: Sequence[Item], nested: int) -> None:
        """Append to the list under `key`, making it where it is missing. A new block list's dashes stand `nested`
        columns behind its key."""
        entry = owner.entries.get(key)
        flow = "[" + ", ".join(item.flow for item in items) + "]"
        indent = " " * (self.column(owner) + nested)
        lines = [line for item in items for line in item.block(indent)]
        if entry is None:
            ends = [each[1] for each in owner.entries.values() if each[2]] + [value for _, value in owner.merges]
            last = max(ends, key=lambda value: value.end, default=None)
            self._add_text(owner, last, f"{key}: {flow}", lambda column: [f"{column}{key}:", *lines])
            return
        at, old, _ = entry
        if isinstance(old, SequenceNode) and old.items:
            last = old.items[-1]
            if old.flow:
                self._insert(last.end, f", {flow[1:-1]}")
            else:
                self._insert_lines(self._line_after(last.end), self._like_siblings(old, items))
        elif not (is_null(old) or isinstance(old, SequenceNode)):
            raise Unfit
        elif owner.flow:
            self._put(at, self._value_start(old), flow, old.end)
        else:
            colon = self.text.index(":", at.end) + 1
            self._edits.append((colon, max(old.end, colon), ""))
            self._insert_lines(self._line_after(max(old.end, colon)), lines)

    def cut(self, node: SequenceNode, item: Node) -> Item:
        """Take an item out of its list, with the comment lines right above it, to be put into another list."""
        source = self.text[item.start : item.end]
        if node.flow:
            self._remove_from_flow(item.start, item.end)
            return Item(source, lambda indent: [f"{indent}- {source}"])
        column = self.dash_column(node)
        begin = self.lines.start(item.start)
        if self.text[begin : item.start].strip(" ") != "-":
            raise Unfit
        index = next(i for i, each in enumerate(node.items) if each is item)
        least = self._line_after(node.items[index - 1].end) if index else begin
        while begin > least and re.match(f" {{{column}}}#", self.text[(above := self.lines.start(begin - 1)) : begin]):
            begin = above
        end = self._line_after(item.end)
        lines = [line if line.strip(" ") else "" for line in _LINE_END.split(self.text[begin:end].rstrip("\r\n"))]
        if any(line and not line.startswith(" " * column) for line in lines):
            raise Unfit
        self._edits.append((begin, end, ""))
        return Item(source, lambda indent: [indent + line[column:] if line else "" for line in lines])

    def add_lines(self, behind: int, lines: Sequence[str]) -> None:
        """Put lines below the line of the offset."""
        self._insert_lines(self._line_after(behind), lines)

    def dash_column(self, node: SequenceNode) -> int:
        """Of a block list; columns count from 0."""
        begun = _BEFORE_DASH.match(self.text, node.start) if node.anchor or self.text[node.start] != "-" else None
        return self.lines.place(begun.end() if begun else node.start)[1] - 1

    def _like_siblings(self, node: SequenceNode, items: Sequence[Item]) -> list[str]:
        indent = " " * self.dash_column(node)
        apart = False
        if len(node.items) > 1:
            gap = self.text[self._line_after(node.items[-2].end) : self.lines.start(node.items[-1].start)]
            apart = any(not line.strip() for line in gap.splitlines())
        return [line for item in items for line in ([""] if apart else []) + item.block(indent)]

    # --- places ---

    def column(self, node: MappingNode) -> int:
        """Of the keys; columns count from 0."""
        keys = [key.start for key, _, own in node.entries.values() if own] + [key.start for key, _ in node.merges]
        return self.lines.place(min(keys, default=node.start))[1] - 1

    def _value_start(self, node: Node) -> int:
        """Behind anchor and tag: an anchor stays, since aliases may stand for it."""
        if isinstance(node, AliasNode) or self.text[node.start : node.start + 1] not in ("&", "!"):
            return node.start
        found = _PROPERTIES.match(self.text, node.start, node.end)
        return found.end() if found else node.start

    def _line_after(self, end: int) -> int:
        if end and self.text[end - 1] in "\r\n":
            return end
        return self.lines.next_start(end)

    def _insert(self, at: int, new: str) -> None:
        self._edits.append((at, at, new))

    def _insert_lines(self, at: int, lines: Sequence[str]) -> None:
        if at == len(self.text) and self.text and self.text[-1] not in "\r\n":
            new = "".join(self.newline + line for line in lines)
        else:
            new = "".join(line + self.newline for line in lines)
        self._insert(at, new)

    def _remove_from_flow(self, start: int, end: int) -> None:
        before = start
        while before and self.text[before - 1] in " \t":
            before -= 1
        following = _COMMA.match(self.text, end)
        if before and self.text[before - 1] == ",":
            start = before - 1
        elif following:
            end = following.end()
        self._edits.append((start, end, ""))


def _anchored(node: Node) -> bool:
    if isinstance(node, AliasNode):
        return False
    items = node.items if isinstance(node, SequenceNode) else []
    return node.anchor is not None or any(_anchored(item) for item in items)


def _quote(node: Node) -> str:
    return node.style if isinstance(node, ScalarNode) and node.style in ("'", '"') else ""
