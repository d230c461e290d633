"""Spans that the core opens around what takes time. With telemetry off, they cost nearly nothing."""

# pyright: reportReturnType=false

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from wvo_mcp.domain.lease import Caller

Attribute = str | int | float | bool


class Span(Protocol):
    """One piece of work, while it lasts."""

    def set_attribute(self, key: str, value: Attribute) -> None:
        """Describe it further; the last value of a name counts."""


class Tracer(Protocol):
    """Spans nest by themselves: one that is opened within another is its child. Errors pass through and mark theirs."""

    def span(self, name: str, attributes: Mapping[str, Attribute] | None = None) -> AbstractContextManager[Span]:
        """Any work that deserves to be seen, as `health.cycle`."""

    def measured(self, what: str, seconds: float, attributes: Mapping[str, Attribute] | None = None) -> None:
        """Something took so long: `checkpoint`, `validation` or `noticing` of a workspace. For what has no span."""

    def carrier(self) -> Mapping[str, str]:
        """The W3C trace context of the present span, for whoever goes on elsewhere; empty where there is none."""

    def request(
        self, attributes: Mapping[str, Attribute], carrier: Mapping[str, Any] | None = None
    ) -> AbstractContextManager[None]:
        """For the faces: what happens within answers one request, which has these attributes and came with this W3C trace
        context (`traceparent`, `tracestate`), if it came with a valid one."""

    def call(self, tool: str, caller: Caller, arguments: Mapping[str, Any] | None) -> AbstractContextManager[Span]:
        """The call of one operation, by whatever face: `mcp.tool`."""


class _SilentSpan:
    def set_attribute(self, key: str, value: Attribute) -> None:
        pass


class Silent:
    """Telemetry is off."""

    _SPAN = nullcontext(_SilentSpan())
    _NOTHING = nullcontext()

    def span(self, name: str, attributes: Mapping[str, Attribute] | None = None) -> AbstractContextManager[Span]:
        return self._SPAN

    def measured(self, what: str, seconds: float, attributes: Mapping[str, Attribute] | None = None) -> None:
        pass

    def carrier(self) -> Mapping[str, str]:
        return {}

    def request(
        self, attributes: Mapping[str, Attribute], carrier: Mapping[str, Any] | None = None
    ) -> AbstractContextManager[None]:
        return self._NOTHING

    def call(self, tool: str, caller: Caller, arguments: Mapping[str, Any] | None) -> AbstractContextManager[Span]:
        return self._SPAN


SILENT = Silent()
