"""Settings files of clients, JSON or TOML (by the file's name): read as data, changed, and written back.

TOML keeps its comments and layout. JSON is formatted again where it changes, as the clients do it themselves; one with
comments is read, and a change of it is refused.
"""

import json
import re
import tomllib
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, cast

from wvo_mcp.errors import InvalidInput

_COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_INDENT = re.compile(r"\{\r?\n([ \t]+)")


def value_at(value: Any, *path: str) -> Any:
    """What nested objects have at `path`, or None."""
    for key in path:
        value = cast("Mapping[str, Any]", value).get(key) if isinstance(value, Mapping) else None
    return value


class Document:
    """`name` is what errors call the file. Raises InvalidInput for a text that is not an object of its format."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self._text = text
        self._is_toml = name.endswith(".toml")
        self._value = self._parsed(text.removeprefix("\ufeff"))
        self._changes: list[str] = []

    def get(self, *path: str) -> Any:
        """The value at `path`, or None."""
        return value_at(self._value, *path)

    def put(self, path: Sequence[str], value: Any) -> None:
        """Set the value at `path`; objects on the way are made. Raises InvalidInput when one of them is not an object."""
        self._put(path, value, f"set {'.'.join(path)} to {json.dumps(value)}")

    def _put(self, path: Sequence[str], value: Any, change: str) -> None:
        holder: Any = self._value
        for depth, key in enumerate(path[:-1], 1):
            holder = cast("MutableMapping[str, Any]", holder).setdefault(key, {})
            if not isinstance(holder, MutableMapping):
                raise self._wrong(f"{'.'.join(path[:depth])}: an object is expected here")
        if path[-1] not in holder or holder[path[-1]] != value:
            holder[path[-1]] = value
            self._changes.append(change)

    def append(self, path: Sequence[str], value: Any) -> None:
        """Add to the array at `path`, made when it is missing, unless the value is there. Raises InvalidInput when it is
        not an array."""
        present = self.get(*path)
        if present is not None and not isinstance(present, list):
            raise self._wrong(f"{'.'.join(path)}: an array is expected here")
        listed = cast("list[Any]", present or [])
        if value not in listed:
            self._put(path, [*listed, value], f"add {json.dumps(value)} to {'.'.join(path)}")

    def remove_from(self, path: Sequence[str], value: Any) -> None:
        """Take the value out of the array at `path`, if it is there; the array too, if it is empty then."""
        present = self.get(*path)
        if isinstance(present, list) and value in present:
            left = [one for one in cast("list[Any]", present) if one != value]
            self.put(path, left) if left else self.remove(*path)

    def remove(self, *path: str) -> None:
        """Take out what is at `path`, which exists; and what holds it, if that is empty then."""
        del self.get(*path[:-1])[path[-1]]
        self._changes.append(f"remove {'.'.join(path)}")
        if len(path) > 1 and not self.get(*path[:-1]):
            self.remove(*path[:-1])

    @property
    def text(self) -> str:
        """As changed; the very same text when nothing was, "" when nothing is left. Raises InvalidInput where a comment
        would be lost."""
        if not self._changes:
            return self._text
        new = self._rendered()
        if lost := [one for one in _comments(self._text, self._is_toml) if one not in new]:
            by_hand = ", ".join(self._changes)
            raise self._wrong(f"the comment {lost[0][:60]!r} would be lost; change it by hand: {by_hand}")
        return re.sub(r"\r?\n", "\r\n", new) if "\r\n" in self._text else new

    def _rendered(self) -> str:
        if not self._value:
            return ""
        if self._is_toml:
            import tomlkit  # only where a file changes

            return tomlkit.dumps(self._value).rstrip() + "\n"
        indent = _INDENT.search(self._text)
        return json.dumps(self._value, indent=indent[1] if indent else 2, ensure_ascii=False) + "\n"

    def _parsed(self, text: str) -> MutableMapping[str, Any]:
        try:
            if self._is_toml:
                import tomlkit

                tomllib.loads(text)  # the stricter of the two
                return tomlkit.parse(text)
            plain = _COMMENT.sub(lambda found: found[1] or re.sub(r"[^\n]", " ", found[0]), text)
            value: Any = json.loads(plain or "{}", object_pairs_hook=_once) if text.strip() else {}
        except json.JSONDecodeError as error:
            raise self._wrong(f"line {error.lineno}: {error.msg}", line=error.lineno) from None
        except (ValueError, RecursionError) as error:
            raise self._wrong(str(error)) from None
        if not isinstance(value, dict):
            raise self._wrong("the file must hold one object")
        return cast("dict[str, Any]", value)

    def _wrong(self, problem: str, **details: Any) -> InvalidInput:
        error = InvalidInput(self.name, problem, message=f"{self.name}: {problem}. Nothing was written.", **details)
        error.hint = "Correct the file (or move it away), then run wvo-mcp init again."
        return error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return value


def _comments(text: str, is_toml: bool) -> list[str]:
    if is_toml:
        return [line.strip() for line in text.splitlines() if line.lstrip().startswith("#")]
    return [found[0] for found in _COMMENT.finditer(text) if not found[1]]
