"""What programs print, event by event. Texts of models and results of tools are never looked at."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.providers.signals.reading import FailureKind, Reading, Signal, Usage, signal
from wvo_mcp.domain.providers.signals.sentences import (
    WAITING,
    Event,
    classified_line,
    data_of,
    dollars,
    event_of,
    from_http,
    is_json_like,
    items,
    kind_of,
    kind_of_answer,
    moment_in,
    number,
    parsed,
    part,
    signal_of,
    status_in,
    tokens,
    words,
)

_K = FailureKind
_SILENT = 124
"""The exit code to give for a program that was stopped because it was silent for too long, as timeout(1) gives it."""
_NAMED_WAIT = 1.0
"""Seconds; a shorter delay between two attempts is the program's own."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What the program said of it. `word`: its own name for the kind; `wait` in seconds; `sure`: its request failed, and
    where no answer came back the provider is to blame."""

    message: str
    status: float | None = None
    names: str = ""
    word: str = ""
    wait: float | None = None
    sure: bool = False


class Run:
    """Takes the events and lines of one run in order. `ended` None: it did not say how it ended."""

    program = "errors"

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.model: str | None = None
        self.usage: Usage | None = None
        self.failure: Failure | None = None
        self.limit: Signal | None = None
        self.plain: Signal | None = None
        self.denied = ""
        self.ended: bool | None = None
        self.waiting = False
        """Does the last that it printed show that it waited for its model, and not for a tool?"""

    def event(self, event: Event) -> None:
        """Takes one JSON event."""

    def line(self, line: str) -> None:
        """Takes a line that is no event."""
        self.plain = classified_line(line, self.now) or self.plain

    def reading(self, exit_code: int | None) -> Reading:
        """What all of it says."""
        usage = None if self.usage is None else replace(self.usage, model=self.model)
        denied = signal(_K.PERMISSION, self.denied, model=self.model) if self.denied else None
        if self.ended:
            return Reading(denied, usage, finished=True)
        if self.ended is None and exit_code == 0:
            return Reading(None, usage)
        found = self.failed() or self.plain
        kind = data_of(self.program).get("exits", {}).get(str(exit_code))
        if found is None and kind is not None:
            message = "" if self.failure is None else self.failure.message
            found = signal(FailureKind(kind), message or f"exit {exit_code}", model=self.model)
        if found is None and exit_code == _SILENT and self.waiting:
            found = signal(_K.OUTAGE, "the model gave no answer until the program was stopped", model=self.model)
        return Reading(found or denied, usage)

    def failed(self) -> Signal | None:
        """What the program's own events say of the failure."""
        failure = self.failure
        kind = None if failure is None else self.kind(failure)
        if self.limit is not None and kind in (None, _K.RATE_LIMIT, _K.QUOTA):
            said = self.limit.message if failure is None else signal(_K.QUOTA, failure.message).message
            return replace(self.limit, message=said)
        if failure is None or kind is None:
            return None
        found = signal_of(kind, failure.message, self.now, model=self.model)
        named = found.retry_after is not None or found.resets_at is not None
        waits = kind in WAITING and not named and failure.wait is not None and failure.wait >= _NAMED_WAIT
        return replace(found, retry_after=failure.wait) if waits else found

    def kind(self, failure: Failure) -> FailureKind | None:
        """By what its text says for certain, else by its status, else by the program's word for it."""
        said = kind_of(f"{failure.names} {failure.message}")
        status = failure.status or status_in(failure.message)
        if said in (_K.CONTEXT, _K.QUOTA, _K.CAPACITY):
            return said
        if status is not None and (kind := kind_of_answer(status, failure.names, failure.message)):
            return kind
        word = data_of(self.program).get("words", {}).get(failure.word)
        kind = said if word is None else FailureKind(word)
        return _K.OUTAGE if kind is None and status is None and failure.sure else kind

    def use(self, counts: Sequence[int], cost: float | None = None, *, sums: bool = False) -> None:
        """Tokens in, out and read from the cache: of the whole run, or to be added to what was used before."""
        if sums and self.usage is not None:
            old = self.usage
            counts = [a + b for a, b in zip((old.tokens_in, old.tokens_out, old.tokens_cached), counts, strict=True)]
            cost = old.cost if cost is None else cost + (old.cost or 0.0)
        if any(counts):
            self.usage = Usage(counts[0], counts[1], counts[2], cost)


class _Claude(Run):
    """Claude Code, `--output-format stream-json` (or `json`). A failure may say `subtype: success` with `is_error: true`."""

    program = "claude"

    def event(self, event: Event) -> None:
        match event.get("type"):
            case "system" if event.get("subtype") in ("init", "api_retry"):
                self.waiting = True
                self.model = words(event.get("model")) or self.model
                if event.get("subtype") == "api_retry":
                    self._retried(event)
            case "assistant" if event.get("parent_tool_use_id") is None:
                self.waiting = False
                if event.get("is_api_error_message") is True or event.get("error"):
                    self._failed(event)
                else:
                    self.failure = None
                    self.model = words(part(event, "message").get("model")) or self.model
            case "user":
                self.waiting = True
            case "rate_limit_event":
                self.limit = self._limited(part(event, "rate_limit_info"))
            case "result" if "is_error" in event or "subtype" in event:  # else another program's
                self.waiting = False
                self._use(event)
                self._result(event)
            case _:
                pass

    def _retried(self, event: Event) -> None:
        status, word = number(event.get("error_status")), words(event.get("error"))
        delay = number(event.get("retry_delay_ms"))
        said = f"stopped while it tried again: {'' if status is None else int(status)} {word}".strip()
        self.failure = Failure(said, status, word, word, delay and delay / 1000, sure=True)

    def _failed(self, event: Event) -> None:
        texts = [words(part(block).get("text")) for block in items(part(event, "message").get("content"))]
        status = number(event.get("api_error_status"))
        wait = None if self.failure is None else self.failure.wait
        said = next((text for text in texts if text), "")
        self.failure = Failure(said, status, "", words(event.get("error")), wait, sure=True)

    def _limited(self, info: Event) -> Signal | None:
        if info.get("status") != "rejected" or info.get("isUsingOverage") is True:
            return None
        of = words(info.get("rateLimitType"))
        resets = moment_in(str(info.get("resetsAt"))[:40], self.now)
        said = f"limit reached{': ' if of else ''}{of.replace('_', ' ')}"
        found = signal(_K.RATE_LIMIT, said, resets_at=resets, model=self.model)
        # Limits of a subscriber that hold for every model; those of one are called after it, as `seven_day_opus`.
        return replace(found, whole=of in ("five_hour", "seven_day"))

    def _result(self, result: Event) -> None:
        names = sorted(
            {words(part(one).get("tool_name")) for one in items(result.get("permission_denials"))[:100]} - {""}
        )
        self.denied = f"denied: {', '.join(names) or 'a tool'}" if items(result.get("permission_denials")) else ""
        self.ended = result.get("is_error") is not True and not words(result.get("subtype")).startswith("error")
        status, said = number(result.get("api_error_status")), words(result.get("result"))
        if self.ended:
            return
        if status is None and self.failure is None:
            # These may be the model's last words, or errors of the program itself.
            texts = [said, *(words(error) for error in items(result.get("errors"))[:100])]
            self.plain = next((found for text in texts if (found := classified_line(text, self.now))), None)
            return
        reasons = {words(result.get("terminal_reason")), words(result.get("stop_reason"))} & {
            "prompt_too_long",
            "refusal",
        }
        known = self.failure or Failure("", sure=True)
        names = " ".join((words(result.get("api_error_type")), *reasons))
        status = known.status if status is None else status
        self.failure = replace(known, message=said or known.message, status=status, names=names)

    def _use(self, result: Event) -> None:
        # `usage` leaves subagents out; modelUsage and total_cost_usd count what a resumed session used before.
        models = part(result, "model_usage_since_last_result")
        if "model_usage_since_last_result" in result:
            used = [models[name] for name in models]
            keys = ("inputTokens", "cacheCreationInputTokens", "outputTokens", "cacheReadInputTokens")
            costs = [cost for one in used if (cost := dollars(part(one).get("costUSD"))) is not None]
            cost = sum(costs) if costs else None
            self.model = max(
                models, key=lambda name: tokens(part(models, name).get("outputTokens")), default=self.model
            )
        else:
            used = [part(result, "usage")]
            keys = ("input_tokens", "cache_creation_input_tokens", "output_tokens", "cache_read_input_tokens")
            cost = dollars(result.get("total_cost_usd"))
        fresh, written, out, cached = (sum(tokens(part(one).get(key)) for one in used) for key in keys)
        self.use((fresh + written, out, cached), cost, sums=True)


class _Codex(Run):
    """Codex CLI, `codex exec --json`. Only `error` and `turn.failed` are failures; items are what models and tools say."""

    program = "codex"

    def event(self, event: Event) -> None:
        match event.get("type"):
            case "turn.started":
                self.waiting, self.ended, self.failure = True, None, None
            case "error":
                # It says so too when it will try again ("Reconnecting... 1/5"): what counts is how the turn ends.
                self._fail(words(event.get("message")))
                self.waiting = True
            case "turn.failed":
                self._fail(words(part(event, "error").get("message")))
                self.waiting, self.ended = False, None
            case "turn.completed":
                self.waiting, self.ended, self.failure = False, True, None
                # It gives the sum of the thread so far: the last one counts; cached tokens are among those that went in.
                usage = part(event, "usage")
                cached = tokens(usage.get("cached_input_tokens"))
                self.use(
                    (max(0, tokens(usage.get("input_tokens")) - cached), tokens(usage.get("output_tokens")), cached)
                )
            case "item.started":
                self.waiting = False
            case "item.completed":
                self.waiting = True
                if part(event, "item").get("status") == "declined":
                    self.denied = "a command or a change was declined"
            case _:
                pass

    def _fail(self, message: str) -> None:
        self.failure = Failure(message) if message else self.failure


class _Gemini(Run):
    """Gemini CLI, `--output-format stream-json`. Its errors are in the last event, their classes and causes on stderr."""

    program = "gemini"
    _class = ""

    def event(self, event: Event) -> None:
        match event.get("type"):
            case "init":
                self.model = words(event.get("model")) or self.model
                self.waiting = True
            case "message":
                self.waiting = event.get("role") == "user"
            case "tool_use":
                self.waiting = False
            case "tool_result":
                self.waiting = True
                self._tool_failed(part(event, "error"))
            case "error" if event.get("severity") != "warning":
                self._fail(words(event.get("message")))
            case "result":
                self.waiting = False
                self.ended = event.get("status") == "success"
                self._fail(words(part(event, "error").get("message")))
                self._use(part(event, "stats"))
            case _:
                pass

    def line(self, line: str) -> None:
        if line.startswith("Error when talking to Gemini API"):
            words_ = data_of(self.program)["words"]
            self._class = next((name for name in words_ if f" {name}" in line[:1_000]), self._class)
        super().line(line)

    def kind(self, failure: Failure) -> FailureKind | None:
        """Its class is surer than most texts: those of a minute and of an empty account are the same."""
        kind = super().kind(failure)
        unsure = kind in (None, _K.RATE_LIMIT, _K.QUOTA, _K.OUTAGE, _K.AUTH)
        return FailureKind(data_of(self.program)["words"][self._class]) if self._class and unsure else kind

    def _fail(self, message: str) -> None:
        inner = re.search(r"\[API Error: (.{0,4000}?)\](?:\s|$)", message[:4_000], re.DOTALL)
        said = inner[1] if inner else message[:4_000]
        if said:
            self.failure = Failure(said)

    def failed(self) -> Signal | None:
        """The message may be a server's answer as it came."""
        said = "" if self.failure is None else self.failure.message
        status = number(part(parsed(said), "error").get("code")) if said.startswith("{") else None
        found = None if status is None else from_http(int(status), said, self.now)
        return super().failed() if found is None else replace(found, model=self.model)

    def _tool_failed(self, error: Event) -> None:
        # Only for its own checks: every other error holds what the tool says.
        named, message = words(error.get("type")), words(error.get("message"))
        own = classified_line(message, self.now) if named == "invalid_tool_params" else None
        if named in ("path_not_in_workspace", "policy_violation") or (own and own.kind is _K.PERMISSION):
            self.denied = message or named

    def _use(self, stats: Event) -> None:
        read, out, cached = (tokens(stats.get(name)) for name in ("input_tokens", "output_tokens", "cached"))
        out = max(
            out, tokens(stats.get("total_tokens")) - read
        )  # thoughts are in the sum alone, and paid for as output
        models = part(stats, "models")
        self.model = max(models, key=lambda name: tokens(part(models, name).get("total_tokens")), default=self.model)
        self.use((max(0, read - cached), out, cached))


_RUNS: Mapping[ProviderKind, type[Run]] = {
    ProviderKind.CLAUDE: _Claude,
    ProviderKind.CODEX: _Codex,
    ProviderKind.GEMINI: _Gemini,
}


def run_of(kind: ProviderKind, now: datetime) -> Run:
    """Takes what a program of this kind prints, line by line."""
    return _RUNS.get(kind, Run)(now)


def read_output(kind: ProviderKind, lines: Iterable[str], now: datetime, *, exit_code: int | None = None) -> Reading:
    """What the lines of a run say, those of stdout and stderr in any order; in time and memory of the longest line.

    `exit_code`: None while it is unknown; 124 for a program that was stopped because it was silent for too long. A time
    without a zone is taken to be in the zone of `now`. Of codex, a resumed thread reports the usage of all of it. What
    speaks for a server is no program of ours: its lines are read as plain text.
    """
    run = run_of(kind, now)
    for line in lines:
        event = event_of(line)
        if event is not None:
            run.event(event)
        elif not is_json_like(line):
            run.line(line)
    return run.reading(exit_code)
