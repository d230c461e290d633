"""Codex CLI, `codex exec --json`. Only `error` and `turn.failed` tell failures; items are what the model and its tools say."""

from datetime import datetime

from wvo_mcp.domain.providers.signals.events import Event, part, words
from wvo_mcp.domain.providers.signals.http import from_http
from wvo_mcp.domain.providers.signals.phrases import classified_line, kind_of, told
from wvo_mcp.domain.providers.signals.reading import FailureKind, Reading, Signal, Usage, signal, tokens
from wvo_mcp.domain.providers.signals.statuses import status_in
from wvo_mcp.domain.providers.signals.waiting import SILENT, is_silent

_K = FailureKind


class CodexReader:
    """Takes the events and lines of one run in order."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._usage: Usage | None = None
        self._error = ""
        self._finished = False
        self._plain: Signal | None = None
        self._declined = False
        self._waiting = False

    def event(self, event: Event) -> None:
        """Takes one JSON event."""
        match event.get("type"):
            case "turn.started":
                self._waiting, self._finished, self._error = True, False, ""
            case "error":
                # It says so too when it will try again ("Reconnecting... 1/5"): what counts is how the turn ends.
                self._error = words(event.get("message")) or self._error
                self._waiting = True
            case "turn.failed":
                self._error = words(part(event, "error").get("message")) or self._error or "the turn failed"
                self._waiting = self._finished = False
            case "turn.completed":
                self._finished, self._error = True, ""
                self._waiting = False
                self._use(part(event, "usage"))
            case "item.started":
                self._waiting = False
            case "item.completed":
                self._waiting = True
                self._declined = self._declined or part(event, "item").get("status") == "declined"
            case _:
                pass

    def line(self, line: str) -> None:
        """Takes a line that is no event."""
        self._plain = classified_line(line, self._now) or self._plain

    def reading(self, exit_code: int | None) -> Reading:
        """What all of it says."""
        if self._finished:
            denied = signal(_K.PERMISSION, "a command or a change was declined") if self._declined else None
            return Reading(denied, self._usage, finished=True)
        if exit_code == 0:
            return Reading(None, self._usage)
        found = self._of_error() or self._plain
        if found is None and is_silent(exit_code, self._waiting):
            found = signal(_K.OUTAGE, SILENT)
        return Reading(found, self._usage)

    def _use(self, usage: Event) -> None:
        # It tells the sum of the thread so far, of which the last counts; cached tokens are among those that went in.
        cached = tokens(usage.get("cached_input_tokens"))
        fresh = max(0, tokens(usage.get("input_tokens")) - cached)
        out = tokens(usage.get("output_tokens"))
        if fresh or out or cached:
            self._usage = Usage(fresh, out, cached)

    def _of_error(self) -> Signal | None:
        if not self._error:
            return None
        status = status_in(self._error)
        if status is not None and (found := from_http(status, {}, self._error, self._now)):
            return told(found.kind, self._error, self._now)
        kind = kind_of(self._error)
        return None if kind is None else told(kind, self._error, self._now)
