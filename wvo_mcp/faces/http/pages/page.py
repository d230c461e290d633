"""What a page is: an address, what it reads, and how it looks."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wvo_mcp.domain.access import Principal
from wvo_mcp.domain.lease import Caller
from wvo_mcp.errors import InvalidInput
from wvo_mcp.operations import ALL, Container, Effect

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Visit:
    """One look at a page, in the name of one caller."""

    services: Container
    caller: Caller
    principal: Principal
    path: Mapping[str, str] = field(default_factory=dict[str, str])
    """The parts of the address that its pattern names."""
    query: Mapping[str, str] = field(default_factory=dict[str, str])

    async def ask(self, operation: str, **arguments: Any) -> Data:
        """The result of an operation of the registry; arguments that are None are left out. Raises its typed errors."""
        given = {name: value for name, value in arguments.items() if value is not None}
        return await ALL[operation](self.services, self.caller, given)

    def may(self, operation: str) -> bool:
        """Whether this caller's role may use the operation: what it may not use is not offered."""
        op = ALL.get(operation)
        return op is not None and self.principal.role >= (op.role if op.effect is Effect.READ else op.remote_role)

    def number(self, name: str, default: int, most: int) -> int:
        """A number of the query, from 1. Raises InvalidInput."""
        text = self.query.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 19) or not 1 <= int(text) <= most:
            raise InvalidInput(name, f"a number from 1 to {most}")
        return int(text)

    def filter(self, name: str) -> str | None:
        """A text of the query; None where it is empty or missing."""
        return self.query.get(name) or None


@dataclass(frozen=True, slots=True)
class Page:
    """`address` is a path whose parts in braces are ids, as in `/tasks/{task_id}`. `read` gives what the page shows, ready for
    JSON: the address with `.json` shows just that. Each block of the template whose name begins with `live_` is an element with
    that id, and is kept up to date in open tabs."""

    address: str
    template: str
    title: str
    read: Callable[[Visit], Awaitable[Data]]
    nav: str | None = None
    """Its name in the navigation."""
    query: frozenset[str] = frozenset()
    """The filters that it takes."""
    live: bool = True
    """Is it read again while a tab shows it?"""
    every: Callable[[Data], float | None] | None = None
    """After how many seconds what it shows is read again though the store is as before: something of it is in a file that
    grows. None for data that stays as it is."""

    def check(self, query: Mapping[str, str]) -> None:
        """Raises InvalidInput for a filter that it does not have."""
        for name in query:
            if name not in self.query:
                known = ", ".join(sorted(self.query)) or "none"
                raise InvalidInput(name, f"is not a filter of this page; its filters: {known}")

    def title_for(self, path: Mapping[str, str]) -> str:
        return " ".join([*path.values(), self.title])
