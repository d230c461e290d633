"""Gemini CLI, `--output-format stream-json`. Its errors are in the last event, their classes and causes on stderr."""

import re
from datetime import datetime

from wvo_mcp.domain.providers.signals.events import Event, part, words
from wvo_mcp.domain.providers.signals.http import from_http
from wvo_mcp.domain.providers.signals.patterns import Pattern
from wvo_mcp.domain.providers.signals.phrases import classified_line, kind_of, told
from wvo_mcp.domain.providers.signals.reading import FailureKind, Reading, Signal, Usage, plain, signal, tokens
from wvo_mcp.domain.providers.signals.waiting import SILENT, is_silent

_K = FailureKind
_CLASS = Pattern(
    r"Error when talking to Gemini API Full report available at: .{0,300}? "
    r"(TerminalQuotaError|RetryableQuotaError|ModelNotFoundError|ValidationRequiredError)\b"
)
_CLASSES = {
    "TerminalQuotaError": _K.QUOTA,
    "RetryableQuotaError": _K.RATE_LIMIT,
    "ModelNotFoundError": _K.OUTAGE,
    "ValidationRequiredError": _K.AUTH,
}
_API_ERROR = Pattern(r"\[API Error: (.{0,4000}?)\](?:\s|$)", re.DOTALL)
_DENIALS = ("path_not_in_workspace", "policy_violation")
"""What the program itself gives as the reason why a tool did not run."""
_EXITS = {41: _K.AUTH, 55: _K.PERMISSION}
_STATUSES = (401, 403, 429, 500, 502, 503, 504)


class GeminiReader:
    """Takes the events and lines of one run in order."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._model: str | None = None
        self._usage: Usage | None = None
        self._result: Event | None = None
        self._error = ""
        self._denied = ""
        self._class: FailureKind | None = None
        self._plain: Signal | None = None
        self._waiting = False

    def event(self, event: Event) -> None:
        """Takes one JSON event."""
        match event.get("type"):
            case "init":
                self._model = words(event.get("model")) or self._model
                self._waiting = True
            case "message":
                self._waiting = event.get("role") == "user"
            case "tool_use":
                self._waiting = False
            case "tool_result":
                self._waiting = True
                self._tool_failed(part(event, "error"))
            case "error" if event.get("severity") != "warning":
                self._error = words(event.get("message")) or self._error
            case "result":
                self._waiting = False
                self._result = event
                self._use(part(event, "stats"))
            case _:
                pass

    def line(self, line: str) -> None:
        """Takes a line that is no event."""
        if line.startswith("Error when talking to") and (found := _CLASS.match(line[:1_000])):
            self._class = _CLASSES[found[1]]
        self._plain = classified_line(line, self._now) or self._plain

    def reading(self, exit_code: int | None) -> Reading:
        """What all of it says."""
        result = self._result
        if result is not None and result.get("status") == "success":
            denied = signal(_K.PERMISSION, self._denied, model=self._model) if self._denied else None
            return Reading(denied, self._usage, finished=True)
        if exit_code == 0 and result is None:
            return Reading(None, self._usage)
        message = (words(part(result, "error").get("message")) or self._error)[:4_000]
        found = self._of_error(message) or self._plain or self._of_exit(exit_code, message)
        if found is None and is_silent(exit_code, self._waiting):
            found = signal(_K.OUTAGE, SILENT, model=self._model)
        return Reading(found, self._usage)

    def _tool_failed(self, error: Event) -> None:
        # Only for its own checks: in every other error stands what the tool says.
        named, message = words(error.get("type")), words(error.get("message"))
        own = classified_line(message, self._now) if named == "invalid_tool_params" else None
        if named in _DENIALS or (own and own.kind is _K.PERMISSION):
            self._denied = message or named

    def _use(self, stats: Event) -> None:
        read, out, cached = (tokens(stats.get(name)) for name in ("input_tokens", "output_tokens", "cached"))
        # Thoughts are in the sum alone, and paid for as output.
        out = max(out, tokens(stats.get("total_tokens")) - read)
        models = part(stats, "models")
        if models:
            self._model = max(models, key=lambda name: tokens(part(models, name).get("total_tokens")))
        if read or out or cached:
            self._usage = Usage(max(0, read - cached), out, cached, None, self._model)

    def _of_error(self, message: str) -> Signal | None:
        if not message:
            return None
        inner = _API_ERROR.search(message)
        said = inner[1] if inner else message
        if said.startswith("{"):
            status = re.match(r'\{"error":\{"code":(\d{3}),', said)
            if status and (found := from_http(int(status[1]), {}, said, self._now)):
                return signal(found.kind, found.message, retry_after=found.retry_after, model=self._model)
        kind = kind_of(said)
        if kind in (None, _K.RATE_LIMIT, _K.QUOTA, _K.OUTAGE, _K.AUTH) and self._class:
            kind = self._class
        return None if kind is None else told(kind, said, self._now, model=self._model)

    def _of_exit(self, exit_code: int | None, message: str) -> Signal | None:
        """It leaves with the HTTP status, of which the system keeps the last eight bits."""
        if exit_code is None:
            return None
        kind = _EXITS.get(exit_code)
        status = next((status for status in _STATUSES if exit_code == status % 256), None)
        if kind is None and status is not None and (found := from_http(status, {}, "", self._now)):
            kind = found.kind
        return None if kind is None else signal(kind, plain(message) or f"exit {exit_code}", model=self._model)
