"""What a plain HTTP client wrote down of a server's answer: JSON lines (Ollama), or `data:` lines (OpenAI and its like)."""

from datetime import datetime

from wvo_mcp.domain.providers.signals.events import Event, event_of, part, words
from wvo_mcp.domain.providers.signals.phrases import classified_line, kind_of, told
from wvo_mcp.domain.providers.signals.reading import FailureKind, Reading, Signal, Usage, signal, tokens
from wvo_mcp.domain.providers.signals.waiting import SILENT, is_silent


class ServedReader:
    """Takes the events and lines of one answer, or of several, in order."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._counts = (0, 0, 0)
        self._model: str | None = None
        self._signal: Signal | None = None
        self._plain: Signal | None = None
        self._finished = False
        self._waiting = True

    def event(self, event: Event) -> None:
        """Takes one JSON event."""
        self._waiting = False
        response = part(event, "response") or event
        self._model = words(response.get("model")) or self._model
        error = event.get("error") or response.get("error")
        if error:
            self._finished = False
            self._signal = self._of_error(error)
        elif event.get("done") is True:  # Ollama
            self._finished, self._signal = True, None
            self._use(tokens(event.get("prompt_eval_count")), tokens(event.get("eval_count")), 0)
        elif usage := part(response, "usage"):
            self._finished, self._signal = True, None
            read = tokens(usage.get("prompt_tokens", usage.get("input_tokens")))
            details = part(usage, "prompt_tokens_details") or part(usage, "input_tokens_details")
            cached = min(read, tokens(details.get("cached_tokens")))
            self._use(read - cached, tokens(usage.get("completion_tokens", usage.get("output_tokens"))), cached)

    def line(self, line: str) -> None:
        """Takes a line that is no event."""
        data = line.removeprefix("data:")
        if data is not line and (event := event_of(data)):
            self.event(event)
        elif data.strip() == "[DONE]":
            self._finished = self._signal is None
        else:
            self._plain = classified_line(line, self._now) or self._plain

    def reading(self, exit_code: int | None) -> Reading:
        """What all of it says."""
        usage = Usage(*self._counts, None, self._model) if any(self._counts) else None
        if self._finished and self._signal is None:
            return Reading(None, usage, finished=True)
        found = self._signal or (self._plain if exit_code != 0 else None)
        if found is None and is_silent(exit_code, self._waiting):
            found = signal(FailureKind.OUTAGE, SILENT, model=self._model)
        return Reading(found, usage)

    def _use(self, fresh: int, out: int, cached: int) -> None:
        old = self._counts
        self._counts = (old[0] + fresh, old[1] + out, old[2] + cached)

    def _of_error(self, error: object) -> Signal | None:
        message = error if isinstance(error, str) else words(part(error).get("message"))
        named = " ".join(words(part(error).get(name)) for name in ("type", "code", "status"))
        kind = kind_of(f"{named} {message}")
        return None if kind is None else told(kind, message or named, self._now, model=self._model)
