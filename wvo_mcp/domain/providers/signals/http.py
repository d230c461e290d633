"""What servers answer when they fail: Anthropic, OpenAI and its like, Google, Ollama."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from wvo_mcp.domain.providers.signals.events import Event, items, number, parsed, part, words
from wvo_mcp.domain.providers.signals.patterns import Pattern
from wvo_mcp.domain.providers.signals.phrases import kind_of, small
from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal, signal
from wvo_mcp.domain.providers.signals.times import header_moment, header_wait, retry_in

_K = FailureKind
_LONGEST_BODY = 1_000_000
_TAGS = Pattern(r"<[^<>]{0,500}>")


def from_http(status: int, headers: Mapping[str, str], body: str, now: datetime) -> Signal | None:
    """As the package gives it."""
    if status < 400:
        return None
    error = _error(body[:_LONGEST_BODY])
    message = words(error.get("message")) or _TAGS.sub(" ", body[:2_000])
    kind = _kind(status, error, message)
    if kind is None:
        return None
    retry_after, resets_at = None, None
    if kind in (_K.RATE_LIMIT, _K.QUOTA, _K.CAPACITY, _K.OUTAGE):
        retry_after, resets_at = _waits({name.lower(): value for name, value in headers.items()}, error, message, now)
    return signal(kind, f"{status}: {message}".rstrip(": "), retry_after=retry_after, resets_at=resets_at)


def _error(body: str) -> Event:
    """The object that tells the error, wherever an interface puts it; `message` is a text in it, if there is one."""
    value: Any = parsed(body.strip("\x00 \t\r\n\ufeff"))
    if isinstance(value, list):  # Google, when a stream was asked for
        value = next(iter(cast("list[Any]", value)), None)
    inside = part(value).get("error", value)
    if isinstance(inside, str):
        return {"message": inside}
    error = part(inside)
    nested = parsed(words(error.get("message")))  # Google's own message, once more in JSON
    return part(nested, "error") or error


def _named(error: Event) -> str:
    """All names that the error goes by, in small letters; in none of them is free text."""
    names = [words(error.get(name)) for name in ("type", "code", "status", "reason")]
    for detail in items(error.get("details")):
        names.append(words(part(detail).get("reason")))
        names.append(words(part(detail, "metadata").get("quota_limit")))
        names += [words(part(violation).get("quotaId")) for violation in items(part(detail).get("violations"))]
    return " ".join(names).lower()


def _kind(status: int, error: Event, message: str) -> FailureKind | None:
    named = _named(error)
    said = kind_of(f"{named} {message}")
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
    if "quota_exhausted" in named or "perday" in named or "per_day" in named or "credits" in named:
        return _K.QUOTA
    if "resource_exhausted" in named or "rate_limit" in named or "usage_limit" in named:
        return _K.CAPACITY if said is _K.CAPACITY else _K.RATE_LIMIT
    return said if said is _K.QUOTA or said is _K.CAPACITY else _K.RATE_LIMIT


def _waits(
    headers: Mapping[str, str], error: Event, message: str, now: datetime
) -> tuple[float | None, datetime | None]:
    """Seconds to wait and the moment of the reset, as far as the answer names them."""
    after = next(iter(_relative(headers, error, now)), None)
    moments = list(_resets(headers, error, now))
    resets = max(moments) if moments else None
    if after is None and resets is None:
        return retry_in(small(message), now)
    return after, resets


def _relative(headers: Mapping[str, str], error: Event, now: datetime) -> Iterator[float]:
    milliseconds = header_wait(headers.get("retry-after-ms", ""), now)
    if milliseconds is not None:
        yield milliseconds / 1000
    for name in ("retry-after", "x-ratelimit-reset-after"):
        if (seconds := header_wait(headers.get(name, ""), now)) is not None:
            yield seconds
    for detail in items(error.get("details")):
        if (seconds := header_wait(words(part(detail).get("retryDelay")), now)) is not None:
            yield seconds
    if (told := number(error.get("resets_in_seconds"))) is not None and told >= 0:
        yield told


def _resets(headers: Mapping[str, str], error: Event, now: datetime) -> Iterator[datetime]:
    """Of the windows that are used up; of all that are named, when none is said to be."""
    told = error.get("resets_at")
    if moment := header_moment(str(told)[:40], now) if isinstance(told, int | float | str) else None:
        yield moment
    ends = dict(_windows(headers, now))
    empty = {name for name in ends if _remaining(headers, name) == 0}
    yield from (ends[name] for name in (empty or ends))


_WINDOW = Pattern(
    r"(?:anthropic-)?(?:x-)?ratelimit-(?:(?P<before>[a-z0-9-]{1,60})-)?reset(?:-(?P<behind>[a-z0-9-]{1,60}))?"
)


def _windows(headers: Mapping[str, str], now: datetime) -> Iterator[tuple[str, datetime]]:
    """The headers that say when a window ends, with its end."""
    for name, value in headers.items():
        if name.endswith("-after") or _WINDOW.fullmatch(name) is None:
            continue
        seconds = header_wait(value, now)
        if moment := header_moment(value, now):
            yield name, moment
        elif seconds is not None:
            yield name, (now + timedelta(seconds=seconds)).astimezone(UTC)


def _remaining(headers: Mapping[str, str], name: str) -> float | None:
    """What is left in the window whose end this header tells."""
    if headers.get(name.replace("-reset", "-status"), "") == "rejected":
        return 0
    try:
        return float(headers[name.replace("reset", "remaining")])
    except (KeyError, ValueError):
        return None
