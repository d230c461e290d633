"""The sentences by which programs and servers say why they failed, when to ask again, and the answers of
HTTP and the parts of events that say the same. The sentences of each program are in a data file of its own.

A sentence of an error event is a provider's own, so that any of them classifies it, wherever it stands. In free text (a plain
line, an error that an agent passes on) only those count that nothing else prints, and only where a line begins with them: a
task about rate limits quotes such sentences all the time.

A time without a zone is the program's local time, which is taken to be the zone of `now`. A time of day that is over means the
next day, unless it was over just now.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from typing import Any, cast

from wvo_mcp.domain.providers.signals.reading import LONGEST_WAIT, FailureKind, Signal, plain, signal

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(
    r"(\d{1,9}(?:\.\d{1,9})?) ?"
    r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)(?![a-z])[ ,]{0,3}(?:and )?"
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_EPOCH = re.compile(r"(\d{10}|\d{13})(?!\d)")
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[ t](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(?: ?(z|utc|[+-]\d\d:?\d\d))?|(?![\dt]))"
)
_CLOCK = (
    r"(?:(?P<twelve>\d{1,2})(?::(?P<past>\d\d))?(?::\d\d)? ?(?P<half>[ap])\.?m\b\.?"
    r"|(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::\d\d)?)"
)
_ZONE = r"(?: ?\(?(?P<zone>[a-z_]+/[a-z_+/-]{1,40}|utc|gmt|z)\b\)?)?"
_OF_DAY = re.compile(rf"(?P<tomorrow>tomorrow(?: at)? ?)?{_CLOCK}{_ZONE}")
_DATE = re.compile(
    rf"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{{0,6}},? )?(?P<month>{'|'.join(_MONTHS)})[a-z]{{0,6}}\.? "
    rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,? (?P<year>\d{{4}}))?(?:,? (?:at )?{_CLOCK})?{_ZONE}"
)
_MARK = re.compile(
    r"(?:try again|retry(?:ing)?|resets?|reset (?:after|time)|available(?: again)?|limit reset|limit reached(?=\|)|wait)"
    r"(?P<how> ?\|| ?: ?| (?:at|in|on|after|for) | )(?:in |at |on )?"
)

JUST_NOW = timedelta(minutes=5)
"""Programs cut off the seconds of a time, and what they printed is read a little later."""


def seconds_in(text: str) -> float | None:
    """`12.5s`, `2 hours 30 minutes`, `1h2m3s`, `500ms`: seconds, when the text begins with such a length of time."""
    total, at = 0.0, 0
    text = text[:200].lower()
    while found := _DURATION.match(text, at):
        unit = "ms" if found[2].startswith(("ms", "milli")) else found[2][0]
        total += float(found[1]) * _UNITS[unit]
        at = found.end()
    return total if at and total <= LONGEST_WAIT.total_seconds() else None


def moment_in(text: str, now: datetime) -> datetime | None:
    """The moment that the text begins with: `3:05 PM`, `5pm (UTC)`, `Jan 5th, 2026 3:05 PM`, RFC 3339, seconds of the epoch.

    None for none, and for one that lies more than a year ahead or more than a day back.
    """
    text = text[:200].lower()
    try:
        if found := _EPOCH.match(text):
            moment = datetime.fromtimestamp(float(found[1]) / (1000 if len(found[1]) == 13 else 1), UTC)
        elif found := _ISO.match(text):
            zone = (found[3] or "").replace("utc", "z").upper()
            moment = datetime.fromisoformat(f"{found[1]}T{found[2] or '00:00'}{zone}")
        elif found := _DATE.match(text):
            moment = _dated(found, now)
        elif found := _OF_DAY.match(text):
            moment = _of_day(found, now)
        else:
            return None
    except (ValueError, OverflowError, OSError):  # the 31st of June; 25 o'clock; the year 9999
        return None
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo or UTC)).astimezone(UTC)
    return moment if now - timedelta(days=1) <= moment <= now + LONGEST_WAIT else None


def _zone(found: re.Match[str], now: datetime) -> tzinfo:
    name = found["zone"]
    if name is None or "/" not in name:
        return now.tzinfo or UTC if name is None else UTC
    from zoneinfo import ZoneInfo  # seldom needed

    with suppress(OSError, ValueError, KeyError):
        return ZoneInfo("/".join(part.title() for part in name.split("/")).replace("_Of_", "_of_"))
    return now.tzinfo or UTC


def _at_clock(found: re.Match[str], now: datetime) -> datetime:
    """That time of day in its zone, on the day of `now`; midnight where no time is named. Raises ValueError."""
    hour, minute = int(found["hour"] or 0), int(found["minute"] or 0)
    if found["twelve"] is not None:
        if not 1 <= int(found["twelve"]) <= 12:
            raise ValueError(found["twelve"])
        hour, minute = int(found["twelve"]) % 12 + (12 if found["half"] == "p" else 0), int(found["past"] or 0)
    return now.astimezone(_zone(found, now)).replace(hour=hour, minute=minute, second=0, microsecond=0)


def _dated(found: re.Match[str], now: datetime) -> datetime:
    local = _at_clock(found, now)
    month, day = _MONTHS.index(found["month"]) + 1, int(found["day"])
    moment = local.replace(year=int(found["year"] or local.year), month=month, day=day)
    past = found["year"] is None and moment < local - timedelta(days=1)
    return moment.replace(year=moment.year + 1) if past else moment


def _of_day(found: re.Match[str], now: datetime) -> datetime:
    local = _at_clock(found, now)
    # Yesterday's, for what was over just before midnight; and each twice, for the hour that a clock put back has twice.
    each = (local + timedelta(days=day) for day in ((1,) if found["tomorrow"] else (-1, 0, 1)))
    moments = sorted(moment.replace(fold=fold).astimezone(UTC) for moment in each for fold in (0, 1))
    return next((moment for moment in moments if moment >= now.astimezone(UTC) - JUST_NOW), moments[-1])


def retry_in(text: str, now: datetime) -> tuple[float | None, datetime | None]:
    """Seconds to wait and the moment of the reset, whichever of them the first of 4,000 characters name."""
    text = text[:4_000].lower()
    for found in _MARK.finditer(text):
        rest = text[found.end() : found.end() + 200]
        seconds = seconds_in(rest)
        if seconds is not None and found["how"].strip() not in ("at", "on"):
            return seconds, None
        if moment := moment_in(rest, now):
            return None, moment
    return None, None


_K = FailureKind
WAITING = frozenset({_K.RATE_LIMIT, _K.QUOTA, _K.CAPACITY, _K.OUTAGE})
"""Kinds that waiting may heal."""

_LONGEST_LINE = 4_000
"""Characters of a line that are looked at; an error says what it is at its beginning."""
_BEGINNING = 1_000
"""Characters of a line of free text in which it must be decided."""

_PROGRAMS = ("claude", "codex", "gemini")
_ORDER = (_K.PERMISSION, _K.CONTEXT, _K.QUOTA, _K.RATE_LIMIT, _K.AUTH, _K.REFUSAL, _K.CAPACITY, _K.OUTAGE)
"""Where several fit. In a provider's own error a model without room comes before them: gemini throws the same error for an
account without quota."""

_QUOTES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u00a0": " ", "\u202f": " ", "\u2013": "-", "\u2014": "-"})
_PREFIX = re.compile(
    r"(?:[^\w\n]{1,8}|(?:claude(?: code)?|codex|gemini(?: cli)?|ollama|provider|error|fatal|warning|api error)"
    r"(?: (?:failed|stopped|exited|ended|said|answered|error|with|exec|code|status|\d{1,3})){0,4} ?[:>\])]+ ?)"
)
"""What may precede such a sentence: names of programs and levels of logs."""
_MOST_PREFIXES = 6
_QUOTING = ("'", '"', "`", "+", "-", "*", "/", "#", "|", ">", "<")
"""How a line begins that shows such a sentence: in a difference, a list, a comment, a table, or between quotes."""


@cache
def data_of(name: str) -> Mapping[str, Any]:
    """What is known of a program: `own`, `words`, `exits`, as its file explains them."""
    return tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8"))


def _sentences(kind: FailureKind) -> list[str]:
    return [one for name in _PROGRAMS for one in data_of(name)["own"].get(kind, ())]


@cache
def _own() -> re.Pattern[str]:
    """The sentences of the programs, in groups named by their kinds."""
    kinds = [kind for kind in sorted(_ORDER, key=lambda kind: kind is not _K.CAPACITY) if _sentences(kind)]
    return re.compile("|".join(f"(?P<{kind}>{'|'.join(_sentences(kind))})" for kind in kinds))


@cache
def _anywhere() -> list[tuple[FailureKind, re.Pattern[str]]]:
    loose: Mapping[str, list[str]] = data_of("errors")["anywhere"]
    first = (_K.CAPACITY, re.compile("|".join(_sentences(_K.CAPACITY))))
    return [first, *((kind, re.compile("|".join([*_sentences(kind), *loose.get(kind, ())]))) for kind in _ORDER)]


def small(text: str) -> str:
    """In small letters, with plain quotes, on one line, and no longer than sentences of errors are."""
    return plain(text[:_LONGEST_LINE]).lower().translate(_QUOTES)


def kind_of(message: str) -> FailureKind | None:
    """Of what a provider's own error says; for free text see `classified_line`."""
    text = small(message)
    return next((kind for kind, pattern in _anywhere() if pattern.search(text)), None)


def classified_line(line: str, now: datetime, *, model: str | None = None) -> Signal | None:
    """Of one line of free text, when it begins with a program's sentence, maybe behind a program's name; strict."""
    text, at = small(line[:_BEGINNING]), 0
    if text.lstrip().startswith(_QUOTING) and not text.lstrip().startswith("--dangerously"):
        return None
    for _ in range(_MOST_PREFIXES):
        if (found := _own().match(text, at)) is not None:
            return signal_of(FailureKind(str(found.lastgroup)), line, now, model=model)
        if (prefix := _PREFIX.match(text, at)) is None:
            return None
        at = prefix.end()
    return None


def from_text(text: str, now: datetime) -> Signal | None:
    """Of free text, such as the error that a report passes on; None where in doubt. Counts only what nothing but a
    provider's program prints, and only where a line begins with it."""
    return next((found for line in text.splitlines() if (found := classified_line(line, now))), None)


_OF_ACCOUNT = re.compile(r"you've hit your usage limit(?! for )")
"""Codex; `for` names the only model that is meant."""


def signal_of(kind: FailureKind, message: str, now: datetime, *, model: str | None = None) -> Signal:
    """A signal with the wait that its message names, where waiting helps."""
    line = small(message)
    after, resets = retry_in(line, now) if kind in WAITING else (None, None)
    found = signal(kind, message, retry_after=after, resets_at=resets, model=model)
    return replace(found, whole=True) if kind is _K.RATE_LIMIT and _OF_ACCOUNT.search(line) else found


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
    after, resets = None, None
    if kind in WAITING:
        delays = [seconds_in(words(part(detail).get("retryDelay"))) for detail in items(error.get("details"))]
        delays.append(number(error.get("resets_in_seconds")))
        after = next((delay for delay in delays if delay is not None and delay >= 0), None)
        resets = moment_in(str(error.get("resets_at"))[:40], now)
        after, resets = retry_in(small(message), now) if after is None and resets is None else (after, resets)
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
        if "capacity" in named:
            return _K.CAPACITY
        if any(one in named for one in ("quota_exhausted", "perday", "per_day", "credits")):
            return _K.QUOTA
        if any(one in named for one in ("resource_exhausted", "rate_limit", "usage_limit")) and said is _K.QUOTA:
            return _K.RATE_LIMIT  # its text is the same for a minute and for an empty account
        return said if said is _K.QUOTA or said is _K.CAPACITY else _K.RATE_LIMIT
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
