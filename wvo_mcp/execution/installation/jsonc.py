"""Edit a JSON file that people keep by hand: only what is added changes, comments and layout stay."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from wvo_mcp.errors import InvalidInput

_BLANK = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SCALAR = re.compile(r"true|false|null|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_MAX_DEPTH = 100


@dataclass(frozen=True, slots=True)
class Node:
    """A value with the span of the text that it was read from."""

    value: Any
    start: int
    end: int
    members: dict[str, "Node"] = field(default_factory=dict[str, "Node"])
    items: tuple["Node", ...] = ()

    def last(self) -> "Node | None":
        """What stands last in the object or array."""
        return list(self.members.values())[-1] if self.members else self.items[-1] if self.items else None


class Document:
    """One JSON object as text. `name` is what errors call the file."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.text = text if text.strip() else "{}\n"
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._root = self._parse()

    @property
    def is_bare(self) -> bool:
        """True when nothing is in the object, no comment either."""
        return "".join(self.text.removeprefix("\ufeff").split()) == "{}"

    def get(self, *path: str | int) -> Any:
        """The value at `path`, or None."""
        node = self._find(path)
        return None if node is None else node.value

    def put(self, path: Sequence[str], value: Any) -> None:
        """Set the value at `path`; objects on the way are made. Raises InvalidInput when one of them is no object."""
        for depth in range(1, len(path)):
            holder = self._find(path[:depth])
            if holder is None:
                self._insert(path[: depth - 1], path[depth - 1], {})
            elif not isinstance(holder.value, dict):
                raise self._wrong(".".join(path[:depth]), "an object is expected here")
        present = self._find(path)
        if present is None:
            self._insert(path[:-1], path[-1], value)
        else:
            self._splice(present.start, present.end, self._render(value, self._indent_at(present.start)))

    def append(self, path: Sequence[str], value: Any) -> None:
        """Add to the array at `path`, which is made when it is missing. Raises InvalidInput when it is no array."""
        node = self._find(path)
        if node is None:
            self.put(path, [value])
            return
        if not isinstance(node.value, list):
            raise self._wrong(".".join(path), "an array is expected here")
        self._add(node, "", value)

    def remove_from(self, path: Sequence[str], value: Any) -> None:
        """Take the value out of the array at `path`, if it is there."""
        present = self.get(*path)
        if isinstance(present, list) and value in present:
            self.remove(*path, cast("list[Any]", present).index(value))

    def remove(self, *path: str | int) -> None:
        """Take out what is at `path`, which exists; and what holds it, if that is empty then."""
        holder, node = self._find(path[:-1]), self._find(path)
        assert holder is not None and node is not None  # noqa: S101
        parts = list(holder.members.values()) or list(holder.items)
        at = next(place for place, part in enumerate(parts) if part is node)
        if at:
            self._splice(parts[at - 1].end, node.end, "")
        elif len(parts) > 1:
            self._splice(holder.start + 1, self.text.index(",", self._skip(node.end)) + 1, "")
        else:
            self._splice(holder.start + 1, holder.end - 1, "")
            if len(path) > 1:
                self.remove(*path[:-1])

    def _find(self, path: Sequence[str | int]) -> Node | None:
        node = self._root
        for key in path:
            found = node.members.get(key) if isinstance(key, str) else node.items[key]
            if found is None:
                return None
            node = found
        return node

    def _insert(self, path: Sequence[str], key: str, value: Any) -> None:
        holder = self._find(path)
        assert holder is not None  # noqa: S101 - put() made it
        self._add(holder, json.dumps(key, ensure_ascii=False) + ": ", value)

    def _add(self, holder: Node, prefix: str, value: Any) -> None:
        last = holder.last()
        outer = self._indent_at(holder.start)
        inner = outer + self._unit()
        if last is None:
            body = f"{self._newline}{inner}{prefix}{self._render(value, inner)}{self._newline}{outer}"
            self._splice(holder.start + 1, holder.end - 1, body)
        elif "\n" in self.text[holder.start : last.start]:
            inner = self._indent_at(last.start)
            self._splice(last.end, last.end, f",{self._newline}{inner}{prefix}{self._render(value, inner)}")
        else:
            self._splice(last.end, last.end, f", {prefix}{json.dumps(value, ensure_ascii=False)}")

    def _splice(self, start: int, end: int, new: str) -> None:
        self.text = self.text[:start] + new + self.text[end:]
        self._root = self._parse()

    def _render(self, value: Any, indent: str) -> str:
        lines = json.dumps(value, indent=self._unit(), ensure_ascii=False).split("\n")
        return f"{self._newline}{indent}".join(lines)

    def _indent_at(self, position: int) -> str:
        line = self.text[self.text.rfind("\n", 0, position) + 1 : position]
        return line[: len(line) - len(line.lstrip(" \t"))]

    def _unit(self) -> str:
        for node in self._root.members.values():
            if "\n" in self.text[self._root.start : node.start]:
                return self._indent_at(node.start) or "  "
        return "  "

    def _parse(self) -> Node:
        start = self._skip(1 if self.text.startswith("\ufeff") else 0)
        root = self._value(start, 0)
        if self._skip(root.end) != len(self.text):
            raise self._malformed(self._skip(root.end), "nothing more was expected")
        if not isinstance(root.value, dict):
            raise self._malformed(start, "the file must hold one object")
        return root

    def _skip(self, at: int) -> int:
        match = _BLANK.match(self.text, at)
        return match.end() if match else at

    def _value(self, at: int, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise self._malformed(at, "nested too deeply")
        char = self.text[at : at + 1]
        if char == "{":
            return self._object(at, depth)
        if char == "[":
            return self._array(at, depth)
        if char == '"':
            return self._string(at)
        match = _SCALAR.match(self.text, at)
        if match is None:
            raise self._malformed(at, "a value was expected")
        return Node(json.loads(match.group()), at, match.end())

    def _string(self, at: int) -> Node:
        match = _STRING.match(self.text, at)
        if match is None:
            raise self._malformed(at, "a string in double quotes was expected")
        try:
            return Node(json.loads(match.group()), at, match.end())
        except ValueError:
            raise self._malformed(at, "the string has a wrong escape") from None

    def _object(self, start: int, depth: int) -> Node:
        members: dict[str, Node] = {}
        at = self._skip(start + 1)
        if self.text[at : at + 1] == "}":
            return Node({}, start, at + 1)
        while True:
            key = self._string(at)
            if key.value in members:
                raise self._malformed(at, f"the key {key.value!r} stands here twice")
            at = self._expect(self._skip(key.end), ":")
            members[key.value] = node = self._value(at, depth + 1)
            at = self._skip(node.end)
            if self.text[at : at + 1] == "}":
                return Node({name: one.value for name, one in members.items()}, start, at + 1, members)
            at = self._expect(at, ",")

    def _array(self, start: int, depth: int) -> Node:
        items: list[Node] = []
        at = self._skip(start + 1)
        if self.text[at : at + 1] == "]":
            return Node([], start, at + 1)
        while True:
            items.append(self._value(at, depth + 1))
            at = self._skip(items[-1].end)
            if self.text[at : at + 1] == "]":
                return Node([one.value for one in items], start, at + 1, {}, tuple(items))
            at = self._expect(at, ",")

    def _expect(self, at: int, char: str) -> int:
        if self.text[at : at + 1] != char:
            raise self._malformed(at, f"{char!r} was expected")
        return self._skip(at + 1)

    def _malformed(self, at: int, problem: str) -> InvalidInput:
        line = self.text.count("\n", 0, at) + 1
        return self._wrong(f"line {line}", problem, line=line)

    def _wrong(self, where: str, problem: str, **details: Any) -> InvalidInput:
        error = InvalidInput(
            self.name,
            f"{where}: {problem}",
            message=f"{self.name}, {where}: {problem}. Nothing was written.",
            **details,
        )
        error.hint = "Mend the file (or move it away), then run wvo-mcp init again."
        return error
