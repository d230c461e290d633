"""What servers answer when they fail: Anthropic, OpenAI and its like, Google, Ollama."""

import json
import re
from datetime import datetime
from typing import Any, cast

from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal, signal
from wvo_mcp.domain.providers.signals.sentences import WAITING, kind_of, moment_in, retry_in, seconds_in, small

Event = dict[str, Any]

LONGEST_EVENT = 16_000_000
"""Characters; a longer line is a tool's result, which is of no interest here."""
LARGEST_COUNT = 1_000_000_000
"""Tokens; more in one run is no measurement."""
LARGEST_COST = 100_000.0
_AROUND = "\x00 \t\r\n\ufeff"


def parsed(text: str) -> Any:
    """The JSON value, or None for what is none, or nests too deeply."""
    try:
        return json.loads(text.strip(_AROUND))
    except (ValueError, RecursionError):
        return None


def event_of(line: str) -> Event | None:
    """The JSON object that the line is, if it is one. A broken line is none."""
    line = line.strip(_AROUND)
    whole = line.startswith("{") and line.endswith("}") and len(line) <= LONGEST_EVENT
    return part(parsed(line)) or None if whole else None


def is_json_like(line: str) -> bool:
    """Whole or broken, an event and no plain line of the program."""
    return line.lstrip(_AROUND).startswith(("{", "[{", '"'))


def part(value: object, *names: str) -> Event:
    """The object under these names, one inside the other; empty when there is none."""
    for name in names:
        value = cast(Event, value).get(name) if isinstance(value, dict) else None
    return cast(Event, value) if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def words(value: object) -> str:
    """The text, or an empty one for what is no text."""
    return value if isinstance(value, str) else ""


def number(value: object) -> float | None:
    """The number, or None for what is none (a truth value is none)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e18 else None


def dollars(value: object) -> float | None:
    """A cost as a program printed it; None for what is none."""
    cost = number(value)
    return cost if cost is not None and 0 <= cost <= LARGEST_COST else None


def tokens(value: object) -> int:
    """A count of tokens as a program printed it; 0 for what is none."""
    count = number(value)
    return int(count) if count is not None and 0 <= count <= LARGEST_COUNT else 0


_K = FailureKind
_LONGEST_BODY = 1_000_000
_STATUS = re.compile(
    r"(?:unexpected status|last status:|api error:|status code:?|\(status|error:? status|got status:?) ?([45]\d\d)\b"
)


def from_http(status: int, body: str, now: datetime) -> Signal | None:
    """The failure in an HTTP answer; None when it is no failure, or one that the request deserved. `body` as it came, or its
    beginning."""
    error = _error(body[:_LONGEST_BODY])
    message = words(error.get("message")) or re.sub(r"<[^<>]{0,500}>", " ", body[:2_000])
    kind = kind_of_answer(status, _named(error), message)
    if kind is None:
        return None
    after, resets = _waits(error, message, now) if kind in WAITING else (None, None)
    return signal(kind, f"{status}: {message}".rstrip(": "), retry_after=after, resets_at=resets)


def status_in(text: str) -> int | None:
    """The status that a program's error names, from 400 on."""
    found = _STATUS.search(text[:4_000].lower())
    return int(found[1]) if found else None


def kind_of_answer(status: float, named: str, message: str) -> FailureKind | None:
    """By the status, the names that the error goes by, and its text; None for no failure, or one that the request deserved."""
    said = kind_of(f"{named} {message}")
    if status < 400:
        return None
    if said is _K.CONTEXT or status == 413:
        return _K.CONTEXT
    if status == 402 or "insufficient_quota" in named or "billing" in named:
        return _K.QUOTA
    if status == 429:
        return _limit(named, said)
    if status in (401, 407):
        return _K.AUTH
    if status == 403:
        return said if said in (_K.REFUSAL, _K.QUOTA, _K.RATE_LIMIT) else _K.AUTH
    if status == 529 or (status in (500, 502, 503, 504) and said is _K.CAPACITY):
        return _K.CAPACITY
    if status >= 500 or status in (408, 425):
        return _K.OUTAGE
    if status == 404:
        return _K.OUTAGE if "model" in named or "model" in small(message) else None
    return said if said in (_K.REFUSAL, _K.AUTH, _K.QUOTA) else None


def _limit(named: str, said: FailureKind | None) -> FailureKind:
    if "capacity" in named:
        return _K.CAPACITY
    if any(one in named for one in ("quota_exhausted", "perday", "per_day", "credits")):
        return _K.QUOTA
    if any(one in named for one in ("resource_exhausted", "rate_limit", "usage_limit")) and said is _K.QUOTA:
        return _K.RATE_LIMIT  # its text is the same for a minute and for an empty account
    return said if said is _K.QUOTA or said is _K.CAPACITY else _K.RATE_LIMIT


def _error(body: str) -> Event:
    """The object that describes the error, wherever an interface puts it; `message` is a text in it, if there is one."""
    value = parsed(body)
    value = items(value)[0] if items(value) else value  # Google, when a stream was asked for
    inside = part(value).get("error", value)
    if isinstance(inside, str):
        return {"message": inside}
    error = part(inside)
    return part(parsed(words(error.get("message"))), "error") or error  # Google's own message, once more in JSON


def _named(error: Event) -> str:
    """All names that the error goes by, in small letters; in none of them is free text."""
    names = [words(error.get(name)) for name in ("type", "code", "status", "reason")]
    for detail in items(error.get("details")):
        names += [words(part(detail).get("reason")), words(part(detail, "metadata").get("quota_limit"))]
        names += [words(part(violation).get("quotaId")) for violation in items(part(detail).get("violations"))]
    return " ".join(names).lower()


def _waits(error: Event, message: str, now: datetime) -> tuple[float | None, datetime | None]:
    """Seconds to wait and the moment of the reset, as far as the answer names them."""
    delays = [seconds_in(words(part(detail).get("retryDelay"))) for detail in items(error.get("details"))]
    delays.append(number(error.get("resets_in_seconds")))
    after = next((delay for delay in delays if delay is not None and delay >= 0), None)
    resets = moment_in(str(error.get("resets_at"))[:40], now)
    return retry_in(small(message), now) if after is None and resets is None else (after, resets)
