"""A program's output, from its first line to its exit code."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.providers.signals.claude import ClaudeReader
from wvo_mcp.domain.providers.signals.codex import CodexReader
from wvo_mcp.domain.providers.signals.events import Event, event_of, is_json_like
from wvo_mcp.domain.providers.signals.gemini import GeminiReader
from wvo_mcp.domain.providers.signals.reading import Reading
from wvo_mcp.domain.providers.signals.served import ServedReader


class _Reader(Protocol):
    def event(self, event: Event) -> None: ...
    def line(self, line: str) -> None: ...
    def reading(self, exit_code: int | None) -> Reading: ...


class _Kind(Protocol):
    def __call__(self, now: datetime) -> _Reader: ...


_READERS: Mapping[ProviderKind, _Kind] = {
    ProviderKind.CLAUDE: ClaudeReader,
    ProviderKind.CODEX: CodexReader,
    ProviderKind.GEMINI: GeminiReader,
    ProviderKind.OLLAMA: ServedReader,
    ProviderKind.OPENAI: ServedReader,
}


def read_output(kind: ProviderKind, lines: Iterable[str], now: datetime, *, exit_code: int | None = None) -> Reading:
    """As the package gives it."""
    reader = _READERS[kind](now)
    for line in lines:
        event = event_of(line)
        if event is not None:
            reader.event(event)
        elif not is_json_like(line):
            reader.line(line)
    return reader.reading(exit_code)
