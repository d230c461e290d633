"""What can be read from a program's output or a server's answer: why it failed, what it used, whether it came to an end."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from wvo_mcp.domain.redaction import redact

LONGEST_MESSAGE = 300
LONGEST_WAIT = timedelta(days=366)
"""What names a later time than this is no reset time."""


class FailureKind(StrEnum):
    """Why an attempt failed for its provider and not for its task. The last three never trip a breaker."""

    CAPACITY = "capacity"
    """The provider is overloaded; the same request may pass soon, or with another model."""
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    """What was paid for is used up: until a reset, or until a person pays."""
    AUTH = "auth"
    OUTAGE = "outage"
    """Unreachable, broken, silent, or without the model that it should have."""
    REFUSAL = "refusal"
    """The model, or a filter before it, does not want to do this."""
    CONTEXT = "context"
    """The conversation is larger than the model's window."""
    PERMISSION = "permission"
    """The program was not allowed something on this machine: it wants other flags."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A provider's failure. `message`: at most 300 characters, one line, without secrets. `retry_after` in seconds.
    `whole`: a limit of the account, which its other models have no more room in."""

    kind: FailureKind
    message: str
    retry_after: float | None = None
    resets_at: datetime | None = None
    model: str | None = None
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one run. `tokens_in` is without those read from the cache; `cost` in US dollars, if the program gives it."""

    tokens_in: int
    tokens_out: int
    tokens_cached: int = 0
    cost: float | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """`finished`: the program said itself that its work came to a good end. It may still have been denied something on the
    way (a signal of kind PERMISSION). Neither finished nor a signal: it crashed, was stopped, or failed by itself."""

    signal: Signal | None = None
    usage: Usage | None = None
    finished: bool = False


# As texts: compiled when they are first used, for this module is part of the start.
_CODES = r"\x1b(?:\[[0-9;?]{0,32}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)|[@-Z\\-_])"
_CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+"


def plain(text: str) -> str:
    """Without colours and control characters, on one line."""
    if "\x1b" in text:
        text = re.sub(_CODES, "", text)
    return re.sub(_CONTROL, " ", text).strip()


def signal(
    kind: FailureKind,
    message: str,
    *,
    retry_after: float | None = None,
    resets_at: datetime | None = None,
    model: str | None = None,
) -> Signal:
    """A signal whose message is fit to be stored and shown."""
    # Cut twice: what is redacted must be bounded, and a secret must not lose the end by which it is known.
    shown = redact(plain(message[:4_000]))
    if len(shown) > LONGEST_MESSAGE:
        shown = shown[: LONGEST_MESSAGE - 1] + "…"
    return Signal(kind, shown, retry_after, resets_at, model and redact(plain(model))[:200])


@dataclass(frozen=True, slots=True)
class Message:
    """One answer of a model, in tokens; `ends`: the number of bytes of the transcript up to its end."""

    id: str
    model: str
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    ends: int

    def after(self, before: "Message") -> "Message":
        """Each part of a message repeats its usage; while it was written, that grew."""
        return replace(
            self,
            tokens_in=max(self.tokens_in, before.tokens_in),
            tokens_out=max(self.tokens_out, before.tokens_out),
            tokens_cached=max(self.tokens_cached, before.tokens_cached),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Messages by id, in their order, and how far the transcript was read."""

    messages: Mapping[str, Message]
    ends: int
