"""One run of a program, from its first line to its exit code: what its failure means, by the same rules for all programs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from wvo_mcp.domain.providers.signals.answers import kind_of_answer, status_in
from wvo_mcp.domain.providers.signals.events import Event
from wvo_mcp.domain.providers.signals.reading import FailureKind, Reading, Signal, Usage, signal
from wvo_mcp.domain.providers.signals.sentences import WAITING, classified_line, data_of, kind_of, signal_of

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
        found = self.failed() or self.plain or self.of_exit(exit_code)
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

    def of_exit(self, exit_code: int | None) -> Signal | None:
        """What the exit code alone says."""
        kind = data_of(self.program).get("exits", {}).get(str(exit_code))
        message = "" if self.failure is None else self.failure.message
        return None if kind is None else signal(FailureKind(kind), message or f"exit {exit_code}", model=self.model)

    def use(self, counts: Sequence[int], cost: float | None = None, *, sums: bool = False) -> None:
        """Tokens in, out and read from the cache: of the whole run, or to be added to what was used before."""
        if sums and self.usage is not None:
            old = self.usage
            counts = [a + b for a, b in zip((old.tokens_in, old.tokens_out, old.tokens_cached), counts, strict=True)]
            cost = old.cost if cost is None else cost + (old.cost or 0.0)
        if any(counts):
            self.usage = Usage(counts[0], counts[1], counts[2], cost)
