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


def listed(value: Any) -> list[Any]:
    """The array; an empty one for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def unsafe(name: str, problem: str, **details: Any) -> InvalidInput:
    """The error for a file that cannot be edited without risk."""
    hint = "Correct the file (or move it away), then run wvo-mcp init again."
    return InvalidInput(name, problem, message=f"{name}: {problem}. Nothing was written.", hint=hint, **details)


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
        holder: Any = self._value
        for depth, key in enumerate(path[:-1], 1):
            holder = cast("MutableMapping[str, Any]", holder).setdefault(key, {})
            if not isinstance(holder, MutableMapping):
                raise unsafe(self.name, f"{'.'.join(path[:depth])}: an object is expected here")
        if path[-1] not in holder or holder[path[-1]] != value:
            holder[path[-1]] = value
            self._changes.append(f"set {'.'.join(path)} to {json.dumps(value)}")

    def append(self, path: Sequence[str], value: Any) -> None:
        """Add to the array at `path`, made when it is missing, unless the value is there. Raises InvalidInput when it is
        not an array."""
        present = self.get(*path)
        if present is not None and not isinstance(present, list):
            raise unsafe(self.name, f"{'.'.join(path)}: an array is expected here")
        if value not in listed(present):
            self.put(path, [*listed(present), value])

    def keep(self, path: Sequence[str], left: list[Any]) -> None:
        """Leave only these in the array at `path`, if there is one; without any left it goes."""
        if listed(self.get(*path)):
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
        if not self._value:
            new = ""
        elif self._is_toml:
            import tomlkit  # only where a file changes

            new = tomlkit.dumps(self._value).rstrip() + "\n"
        else:
            indent = _INDENT.search(self._text)
            new = json.dumps(self._value, indent=indent[1] if indent else 2, ensure_ascii=False) + "\n"
        comments = [found[0] for found in _COMMENT.finditer(self._text) if not found[1]]
        if self._is_toml:
            comments = [line.strip() for line in self._text.splitlines() if line.lstrip().startswith("#")]
        if lost := [one for one in comments if one not in new]:
            by_hand = ", ".join(self._changes)
            raise unsafe(self.name, f"the comment {lost[0][:60]!r} would be lost; change it by hand: {by_hand}")
        return re.sub(r"\r?\n", "\r\n", new) if "\r\n" in self._text else new

    def _parsed(self, text: str) -> MutableMapping[str, Any]:
        try:
            if self._is_toml:
                import tomlkit

                tomllib.loads(text)  # the stricter of the two
                return tomlkit.parse(text)
            plain = _COMMENT.sub(lambda found: found[1] or re.sub(r"[^\n]", " ", found[0]), text)
            value: Any = json.loads(plain, object_pairs_hook=_once) if text.strip() else {}
        except json.JSONDecodeError as error:
            raise unsafe(self.name, f"line {error.lineno}: {error.msg}", line=error.lineno) from None
        except (ValueError, RecursionError) as error:
            raise unsafe(self.name, str(error)) from None
        if not isinstance(value, dict):
            raise unsafe(self.name, "the file must hold one object")
        return cast("dict[str, Any]", value)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return value
