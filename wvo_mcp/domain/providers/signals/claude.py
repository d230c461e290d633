"""Claude Code, `--output-format stream-json` (or `json`).

A failure may say `subtype: success` with `is_error: true`. Texts of the model and results of tools are never looked at.
"""

from dataclasses import replace
from datetime import UTC, datetime

from wvo_mcp.domain.providers.signals.events import Event, items, number, part, words
from wvo_mcp.domain.providers.signals.phrases import classified_line, kind_of, told
from wvo_mcp.domain.providers.signals.reading import FailureKind, Reading, Signal, Usage, dollars, signal, tokens
from wvo_mcp.domain.providers.signals.times import header_moment
from wvo_mcp.domain.providers.signals.waiting import SILENT, is_silent

_K = FailureKind
_WORDS = {
    "authentication_failed": _K.AUTH,
    "oauth_org_not_allowed": _K.AUTH,
    "account_on_hold": _K.AUTH,
    "verification_required": _K.AUTH,
    "cloud_credential_error": _K.AUTH,
    "billing_error": _K.QUOTA,
    "rate_limit": _K.RATE_LIMIT,
    "overloaded": _K.CAPACITY,
    "model_not_found": _K.OUTAGE,
    "server_error": _K.OUTAGE,
}
"""`error` of an assistant event that tells a failure, and of `api_retry`."""
_STATUSES = {401: _K.AUTH, 402: _K.QUOTA, 403: _K.AUTH, 408: _K.OUTAGE, 429: _K.RATE_LIMIT, 529: _K.CAPACITY}
_PER_MODEL = ("inputTokens", "cacheCreationInputTokens", "outputTokens", "cacheReadInputTokens")
_OF_ACCOUNT = ("five_hour", "seven_day")
"""Limits of a subscriber that hold for every model; those of one are called after it, as `seven_day_opus`."""
_NAMED_WAIT = 1.0
"""Seconds; a shorter delay between two attempts is the program's own."""


class ClaudeReader:
    """Takes the events and lines of one run in order."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._model: str | None = None
        self._result: Event | None = None
        self._failure: Event | None = None
        self._retry: Event | None = None
        self._limit: Event | None = None
        self._plain: Signal | None = None
        self._waiting = False
        self._counts = [0, 0, 0, 0]
        self._cost: float | None = None
        self._used = False

    def event(self, event: Event) -> None:
        """Takes one JSON event."""
        match event.get("type"):
            case "system":
                self._system(event)
            case "assistant" if event.get("parent_tool_use_id") is None:
                self._waiting = False
                if event.get("is_api_error_message") is True or event.get("error"):
                    self._failure = event
                else:
                    self._failure = self._retry = None
                    self._model = words(part(event, "message").get("model")) or self._model
            case "user":
                self._waiting = True
            case "rate_limit_event":
                info = part(event, "rate_limit_info")
                rejected = info.get("status") == "rejected" and info.get("isUsingOverage") is not True
                self._limit = info if rejected else None
            case "result":
                self._waiting = False
                self._result = event
                self._use(event)
            case _:
                pass

    def line(self, line: str) -> None:
        """Takes a line that is no event."""
        self._plain = classified_line(line, self._now) or self._plain

    def reading(self, exit_code: int | None) -> Reading:
        """What all of it says."""
        usage = Usage(*self._tokens(), self._cost, self._model) if self._used else None
        result = self._result
        if result is None or not ("is_error" in result or "subtype" in result):  # another program's result
            return Reading(self._without_result(exit_code), usage)
        if result.get("is_error") is not True and not words(result.get("subtype")).startswith("error"):
            return Reading(self._denied(result), usage, finished=True)
        return Reading(self._of_failure(result), usage)

    def _system(self, event: Event) -> None:
        if event.get("subtype") == "init":
            self._waiting = True
            self._model = words(event.get("model")) or self._model
        elif event.get("subtype") == "api_retry":
            self._waiting = True
            self._retry = event

    def _use(self, result: Event) -> None:
        # `usage` leaves subagents out; modelUsage and total_cost_usd count what a resumed session used before.
        models = part(result, "model_usage_since_last_result")
        if "model_usage_since_last_result" in result:
            counts = [[tokens(part(models, name).get(key)) for key in _PER_MODEL] for name in models]
            costs = [dollars(part(models, name).get("costUSD")) for name in models]
            cost = sum(known) if (known := [cost for cost in costs if cost is not None]) else None
            most = max(models, key=lambda name: tokens(part(models, name).get("outputTokens")), default=None)
            self._model = most or self._model
        else:
            usage = part(result, "usage")
            keys = ("input_tokens", "cache_creation_input_tokens", "output_tokens", "cache_read_input_tokens")
            counts = [[tokens(usage.get(key)) for key in keys]]
            cost = dollars(result.get("total_cost_usd"))
        for of_model in counts:
            self._counts = [old + new for old, new in zip(self._counts, of_model, strict=True)]
        self._used = self._used or any(self._counts)
        if cost is not None:
            self._cost = (self._cost or 0.0) + cost

    def _tokens(self) -> tuple[int, int, int]:
        fresh, written, out, cached = self._counts
        return fresh + written, out, cached

    def _denied(self, result: Event) -> Signal | None:
        denials = items(result.get("permission_denials"))
        if not denials:
            return None
        names = sorted({words(part(denial).get("tool_name")) for denial in denials[:100]} - {""})
        return signal(_K.PERMISSION, f"denied: {', '.join(names) or 'a tool'}", model=self._model)

    def _of_failure(self, result: Event) -> Signal | None:
        said = words(result.get("result"))
        status = number(result.get("api_error_status"))
        failure = self._failure or {}
        if status is None and not failure:
            # The model's last words may stand here, and errors of the program's own.
            lines = [said, *(words(error) for error in items(result.get("errors"))[:100])]
            found = next((found for line in lines if (found := classified_line(line, self._now))), None)
            return found or self._limited("") or self._denied(result)
        kind = self._kind(result, said, status, words(failure.get("error")))
        return self._limited(said) if self._limit and status == 429 else self._told(kind, said)

    def _kind(self, result: Event, said: str, status: float | None, error: str) -> FailureKind | None:
        named = kind_of(f"{words(result.get('api_error_type'))} {said}")
        if result.get("terminal_reason") == "prompt_too_long" or named in (_K.CONTEXT, _K.QUOTA, _K.CAPACITY):
            return _K.CONTEXT if result.get("terminal_reason") == "prompt_too_long" else named
        if result.get("stop_reason") == "refusal":
            return _K.REFUSAL
        if status is not None and (kind := _STATUSES.get(int(status))):
            return kind
        if status is not None and status >= 500:
            return _K.OUTAGE
        # Without a status nothing came back that could blame the request.
        return _WORDS.get(error) or named or (_K.OUTAGE if status is None else None)

    def _told(self, kind: FailureKind | None, said: str) -> Signal | None:
        if kind is None:
            return None
        found = told(kind, said, self._now, model=self._model)
        delay = number((self._retry or {}).get("retry_delay_ms"))
        waits = kind in (_K.RATE_LIMIT, _K.CAPACITY, _K.OUTAGE) and not found.resets_at and not found.retry_after
        if waits and delay is not None and delay >= _NAMED_WAIT * 1000:
            return signal(kind, said, retry_after=delay / 1000, model=self._model)
        return found

    def _limited(self, said: str) -> Signal | None:
        if self._limit is None:
            return None
        resets = header_moment(str(self._limit.get("resetsAt"))[:40], self._now)
        of = words(self._limit.get("rateLimitType")).replace("_", " ")
        said = said or f"limit reached{': ' if of else ''}{of}"
        found = signal(_K.RATE_LIMIT, said, resets_at=resets and resets.astimezone(UTC), model=self._model)
        return replace(found, whole=self._limit.get("rateLimitType") in _OF_ACCOUNT)

    def _without_result(self, exit_code: int | None) -> Signal | None:
        if exit_code == 0:
            return None
        failure = self._failure or {}
        if failure:
            texts = [words(part(block).get("text")) for block in items(part(failure, "message").get("content"))]
            said = next((text for text in texts if text), "")
            kind = self._kind(failure, said, number(failure.get("api_error_status")), words(failure.get("error")))
            return self._told(kind, said)
        if self._limit:
            return self._limited("")
        if self._retry:
            return self._of_retry(self._retry)
        return self._plain or (
            signal(_K.OUTAGE, SILENT, model=self._model) if is_silent(exit_code, self._waiting) else None
        )

    def _of_retry(self, retry: Event) -> Signal | None:
        """It was stopped while it tried again and again."""
        status = number(retry.get("error_status"))
        kind = _STATUSES.get(int(status)) if status is not None else None
        kind = kind or _WORDS.get(words(retry.get("error"))) or _K.OUTAGE
        return self._told(kind, f"stopped while it tried again: {status or ''} {words(retry.get('error'))}".strip())
