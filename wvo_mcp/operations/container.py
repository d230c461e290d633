"""The parts that operations work with, by their types."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TypeVar, cast

from wvo_mcp.errors import NotConfigured

T = TypeVar("T")


class Late:
    """A part that is built when it is first asked for: start-up does not wait for its imports."""

    def __init__(self, build: Callable[[], object]) -> None:
        self._build = build

    @cached_property
    def part(self) -> object:
        return self._build()


class Container:
    """One part for each type that an operation may declare as a parameter; `app` builds it, once."""

    def __init__(self, parts: Mapping[type | str, object]) -> None:
        """A type is given itself, or as `module.Name` where importing it would cost time. What is None is not configured."""
        self._parts = {key_of(port): part for port, part in parts.items() if part is not None}

    def get(self, port: type[T]) -> T:
        """Raises NotConfigured."""
        return cast("T", self.part(key_of(port)))

    def part(self, key: str) -> object:
        """The part with this key. Raises NotConfigured."""
        part = self._parts.get(key)
        if part is None:
            name = key.rpartition(".")[2]
            hint = "Run wvo-mcp doctor: it shows what is missing."
            raise NotConfigured(f"{name} is not configured here.", hint=hint, part=name)
        return part.part if isinstance(part, Late) else part

    def having(self, parts: Mapping[type | str, object]) -> "Container":
        """The same with these parts instead of its own, or beside them."""
        return Container({**self._parts, **{key_of(port): part for port, part in parts.items()}})


def key_of(port: type | str) -> str:
    return port if isinstance(port, str) else f"{port.__module__}.{port.__qualname__}"
