"""Changes to a YAML text in block style that touch only what changes: comments, order and layout of all else stay.

A round trip through a YAML library keeps less: it changes the layout of every line, loses comments inside flow collections and
before `---`, and takes thirty times as long. The caller reads the result again and compares. An item written
as `{...}` is rewritten in block style when it changes; what cannot be changed so is refused.
"""

import json
import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from wvo_mcp.execution.yaml.reading import is_null
from wvo_mcp.execution.yaml.tree import MappingNode, Node, ScalarNode, SequenceNode


class Bare(str):
    """Text that is to be read as something else, such as a date: never quoted."""

    __slots__ = ()


Value = str | int | float | bool | tuple[str, ...] | None

FLOW_WIDTH = 100
"""A new list whose line would be longer is written as a block, and so is one of texts: a comma would split them."""
_FLOW_STYLE = "it is written in flow style, {...} or [...]"
_BEFORE_DASH = re.compile(r"(?:!\S*+|\s++|#[^\r\n]*+)*+")
_LINE_END = re.compile(r"\r\n|\r|\n")
_COMMENT = re.compile(r"[^\r\n#]*?([ \t]+#[^\r\n]*)")
# Quoted is whatever a reader of YAML 1.1 or 1.2 could take for a number, a time, a truth value or nothing.
_PLAIN = re.compile(r"[A-Za-z_/(][^\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ud800-\udfff]*")
_UNSAFE = re.compile(r": |:$| #|\s$|^(?:y|n|yes|no|on|off|true|false|null)$", re.IGNORECASE)
_UNSAFE_IN_FLOW = re.compile(r"[,\[\]{}:? ]")
_HIDDEN = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ud800-\udfff]")


def scalar(text: str, *, flow: bool = False) -> str:
    """The text on one line, which means the same under YAML 1.1 and 1.2: bare where that is safe, else in double quotes.
    `flow` is for a place inside []."""
    unsafe = _UNSAFE.search(text) or (flow and _UNSAFE_IN_FLOW.search(text))
    if _PLAIN.fullmatch(text) and not unsafe:
        return text
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def inline(value: Value) -> str:
    """Any value on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(scalar(item, flow=True) for item in value) + "]"
    if isinstance(value, int | float):
        return f"{value:.9f}".rstrip("0").rstrip(".")
    return value if isinstance(value, Bare) else scalar(value)


def field_lines(key: str, value: Value, indent: str) -> list[str]:
    """The lines of `key: value` in a block mapping."""
    text = inline(value)
    if isinstance(value, tuple) and (
        any(" " in item for item in value) or len(indent) + len(key) + len(text) > FLOW_WIDTH
    ):
        return [f"{indent}{key}:", *(f"{indent}  - {inline(item)}" for item in value)]
    block = block_text(value, indent + "  ") if isinstance(value, str) else None
    if block is not None:
        return [f"{indent}{key}: {block[0]}", *block[1]]
    return [f"{indent}{key}: {text}"]


def block_text(text: str, indent: str) -> tuple[str, list[str]] | None:
    """A text of several lines as its `|` header and its indented lines; None where such a block cannot hold it."""
    body = text.rstrip("\n")
    ends = len(text) - len(body)
    lines = body.split("\n")
    safe = len(lines) > 1 and lines[0][:1] not in ("", " ") and ends <= 1
    if not safe or any(line and (line[-1] == " " or not _PLAIN.fullmatch("x" + line)) for line in lines):
        return None
    return ("|" if ends else "|-"), [indent + line if line else "" for line in lines]


class Unfit(Exception):
    """The layout of the text does not allow the change; the message says why."""


class YamlEditor:
    """Collects edits of one text. Nodes come from `compose` of the same text. Raises Unfit."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self._edits: list[tuple[int, int, str]] = []

    def result(self) -> str:
        """The edited text."""
        parts: list[str] = []
        done = 0
        for start, end, new in sorted(self._edits, key=lambda edit: edit[:2]):
            if start < done and new:
                raise Unfit("two changes meet")
            parts += (self.text[done:start], new)
            done = max(done, end)
        return "".join([*parts, self.text[done:]])

    def set_field(self, node: MappingNode, key: str, value: Value, order: Sequence[str]) -> None:
        """Give the key a value; None takes it out. A new key comes after those that precede it in `order`."""
        indent = " " * self.column(node)
        if key not in node.entries:
            if value is not None:
                before = [name for name in node.entries if name in order[: order.index(key)]]
                last = max(before, key=order.index, default=next(iter(node.entries)))
                self.insert(self.line_after(node.entries[last][1].end), field_lines(key, value, indent))
            return
        at, present = node.entries[key]
        if isinstance(present, SequenceNode) and not present.flow and isinstance(value, tuple):
            self._edit_list(present, value)
            if not value:
                self._rewrite(at, ScalarNode(at.end, at.end, "", True, ""), [f"{key}: []"])
        elif value is None and not self.text[self.line_start(at.start) : at.start].strip(" "):
            self._edits.append((self.line_start(at.start), self.line_after(present.end), ""))
        else:  # a key behind the dash carries the item: it becomes null
            self._rewrite(at, present, field_lines(key, value, indent))

    def rewrite(self, node: MappingNode, fields: Sequence[tuple[str, Value]]) -> None:
        """Write a mapping in flow style, an item of a block list, with these fields in block style."""
        self._refuse_remarks(node)
        column = self.column_of(node.start)
        rest = self._end_of_line(node.end)
        if self.text[self.line_start(node.start) : node.start].strip(" ") != "-":
            raise Unfit(_FLOW_STYLE)
        indent = " " * column
        first, *others = [line for key, value in fields for line in field_lines(key, value, indent)]
        lines = [first[column:] + self.text[node.end : rest], *others]
        self._edits.append((node.start, rest, self.newline.join(lines)))

    def _rewrite(self, key: ScalarNode, old: Node, lines: Sequence[str]) -> None:
        """Put lines in the place of a key and its value; the comment on the key's line stays."""
        colon = self.text.index(":", key.end) + 1
        end = max(old.end, colon)
        head = isinstance(old, ScalarNode) and old.style in ("|", ">")
        if head or (isinstance(old, SequenceNode) and not old.flow):
            comment = _COMMENT.match(self.text, colon)
            end = end - len(self.newline) if self.text[end - 1] in "\r\n" else end
        else:
            self._refuse_remarks(old)
            comment = _COMMENT.match(self.text, end)
        first, *others = lines
        text = self.newline.join([first.lstrip(" ") + (comment.group(1) if comment else ""), *others])
        self._edits.append((key.start, self._end_of_line(end), text))

    def _refuse_remarks(self, node: Node) -> None:
        source = self.text[node.start : node.end]
        if not isinstance(node, ScalarNode) and "\n" in source and "#" in source:
            raise Unfit("there are comments inside of [...] or {...}")

    def _edit_list(self, node: SequenceNode, new: Sequence[str]) -> None:
        """Of texts: lines of items that stay are left alone."""
        old = [item.text if isinstance(item, ScalarNode) else "" for item in node.items]
        begin = self.line_start(node.items[0].start)
        dash = self.text[begin : node.items[0].start]
        for _, i, i_end, j, j_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            if (i_end - i, new[j:j_end]) == (j_end - j, tuple(old[i:i_end])):
                continue
            for item in node.items[i:i_end]:
                self._edits.append((self._item_start(item), self.line_after(item.end), ""))
            at = self.line_after(node.items[i - 1].end) if i else begin
            if dash.strip(" ") != "-":
                raise Unfit("a dash is on a line of its own")
            self.insert(at, [dash + inline(text) for text in new[j:j_end]])

    def append(self, owner: MappingNode, key: str, items: Sequence[Sequence[str]], nested: int) -> None:
        """Append items, each as lines whose dash is in the first column, to the list under `key`, making it where it is
        missing. A new list's dashes are indented by `nested` columns."""
        if owner.flow:
            raise Unfit(_FLOW_STYLE)
        entry = owner.entries.get(key)
        indent = " " * self.column(owner)
        lines = [f"{indent}{key}:", *indented(items, indent + " " * nested)]
        if entry is None:
            self.insert(self.line_after(max(value.end for _, value in owner.entries.values())), lines)
            return
        at, old = entry
        if isinstance(old, SequenceNode) and old.items:
            if old.flow:
                raise Unfit(_FLOW_STYLE)
            gap = ""
            if len(old.items) > 1:
                gap = self.text[self.line_after(old.items[-2].end) : self.line_start(old.items[-1].start)]
            if any(not line.strip() for line in gap.splitlines()):
                items = [["", *item] for item in items]
            self.insert(self.line_after(old.items[-1].end), indented(items, " " * self.dash_column(old)))
        elif is_null(old) or isinstance(old, SequenceNode):
            self._rewrite(at, old, lines)

    def cut(self, node: Node, item: Node) -> list[str]:
        """Take an item out of its list, with the comment lines right above it: its lines, for `append`."""
        if not isinstance(node, SequenceNode) or node.flow:
            raise Unfit(_FLOW_STYLE)
        column = self.dash_column(node)
        begin = self._item_start(item)
        index = next(i for i, each in enumerate(node.items) if each is item)
        least = self.line_after(node.items[index - 1].end) if index else begin
        while begin > least and re.match(f" {{{column}}}#", self.text[(above := self.line_start(begin - 1)) : begin]):
            begin = above
        end = self.line_after(item.end)
        lines = [line if line.strip(" ") else "" for line in _LINE_END.split(self.text[begin:end].rstrip("\r\n"))]
        if any(line and not line.startswith(" " * column) for line in lines):
            raise Unfit("its lines are indented less than its dash")
        self._edits.append((begin, end, ""))
        return [line[column:] for line in lines]

    def dash_column(self, node: SequenceNode) -> int:
        """Of a block list; columns count from 0."""
        begun = _BEFORE_DASH.match(self.text, node.start)
        return self.column_of(begun.end() if begun else node.start)

    def _item_start(self, item: Node) -> int:
        begin = self.line_start(item.start)
        if self.text[begin : item.start].strip(" ") != "-":
            raise Unfit("a dash is on a line of its own")
        return begin

    def column(self, node: MappingNode) -> int:
        """Of the keys; columns count from 0."""
        return self.column_of(min((key.start for key, _ in node.entries.values()), default=node.start))

    def column_of(self, offset: int) -> int:
        return offset - self.line_start(offset)

    def line_start(self, offset: int) -> int:
        return self.text.rfind("\n", 0, offset) + 1

    def line_after(self, end: int) -> int:
        """The offset at which the next line begins, or the end of the text."""
        if end and self.text[end - 1] == "\n":
            return end
        return self.text.find("\n", end) + 1 or len(self.text)

    def _end_of_line(self, offset: int) -> int:
        end = _LINE_END.search(self.text, offset)
        return end.start() if end else len(self.text)

    def insert(self, at: int, lines: Sequence[str]) -> None:
        if at == len(self.text) and self.text and self.text[-1] not in "\r\n":
            new = "".join(self.newline + line for line in lines)
        else:
            new = "".join(line + self.newline for line in lines)
        self._edits.append((at, at, new))


def indented(items: Sequence[Sequence[str]], indent: str) -> list[str]:
    return [indent + line if line else "" for item in items for line in item]
