"""When a provider may be asked again, as texts and headers say it.

A time without a zone is the program's local time, which is taken to be the zone of `now`. A time of day that is over means the
next day, unless it was over just now: programs cut off the seconds, and what they printed is read a little later.
"""

import math
import re
from datetime import UTC, datetime, timedelta, tzinfo

from wvo_mcp.domain.providers.signals.patterns import Pattern
from wvo_mcp.domain.providers.signals.reading import LONGEST_WAIT

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = (
    r"(\d{1,9}(?:\.\d{1,9})?) ?"
    r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)(?![a-z])"
)
_DURATION = Pattern(_PART)
_SEPARATOR = Pattern(r"[ ,]{0,3}(?:and )?")
_BEHIND_NUMBER = r"(?:st|nd|rd|th)?"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ISO = Pattern(r"\d{4}-\d\d-\d\d[ t]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?: ?z| ?utc|[+-]\d\d:?\d\d)?")
_ISO_DAY = Pattern(r"\d{4}-\d\d-\d\d(?![\dt])")
_CLOCK = r"(?:(\d{1,2})(?::(\d\d))?(?::\d\d)? ?([ap])\.?m\b\.?|(\d{1,2}):(\d\d)(?::\d\d)?)"
_TIME = Pattern(_CLOCK)
_DATE = Pattern(
    rf"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{{0,6}},? )?(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{{0,6}}\.? "
    rf"(\d{{1,2}}){_BEHIND_NUMBER}(?:,? (\d{{4}}))?(?:,? (?:at )?{_CLOCK})?"
)
_TOMORROW = Pattern(r"tomorrow(?: at)? ?")
_ZONE = Pattern(r" ?\(?([a-z_]+/[a-z_+/-]{1,40}|utc|gmt|z)\b\)?")
_EPOCH = Pattern(r"(\d{10}|\d{13})(?!\d)")
_MARK = Pattern(
    r"(?:try again|retry(?:ing)?|resets?|reset (?:after|time)|available(?: again)?|limit reset|limit reached(?=\|)|wait)"
    r"(?P<how> ?\|| ?: ?| (?:at|in|on|after|for) | )"
)


JUST_NOW = timedelta(minutes=5)


def _sane(moment: datetime, now: datetime) -> datetime | None:
    return moment if now - timedelta(days=1) <= moment <= now + LONGEST_WAIT else None


def seconds_in(text: str) -> float | None:
    """`12.5s`, `2 hours 30 minutes`, `1h2m3s`, `500ms`: seconds, when the text begins with such a length of time."""
    total, at = 0.0, 0
    text = text[:200].lower()
    while found := _DURATION.match(text, at):
        unit = found[2]
        unit = "ms" if unit.startswith(("ms", "milli")) else unit[0]
        total += float(found[1]) * _UNITS[unit]
        between = _SEPARATOR.match(text, found.end())
        at = between.end() if between else found.end()
    if not at:
        return None
    return total if 0 <= total <= LONGEST_WAIT.total_seconds() else None


def _zone(text: str, at: int, now: datetime) -> tzinfo:
    found = _ZONE.match(text, at)
    if found is None:
        return now.tzinfo or UTC
    if found[1] in ("utc", "gmt", "z"):
        return UTC
    from zoneinfo import ZoneInfo  # seldom needed, and it would take part of the start

    name = "/".join(part.title() for part in found[1].split("/"))
    try:
        return ZoneInfo(name.replace("_Of_", "_of_"))
    except (OSError, ValueError, KeyError):
        return now.tzinfo or UTC


def _hour(found: re.Match[str], first: int) -> tuple[int, int] | None:
    """Hour and minute of a `_CLOCK` whose groups begin at `first`."""
    twelve, past, half, whole, minute = found.group(*range(first, first + 5))
    if twelve is not None:
        if not 1 <= int(twelve) <= 12 or int(past or 0) > 59:
            return None
        return int(twelve) % 12 + (12 if half == "p" else 0), int(past or 0)
    if whole is None or int(whole) > 23 or int(minute) > 59:
        return None
    return int(whole), int(minute)


def moment_in(text: str, now: datetime) -> datetime | None:
    """The moment that the text begins with: `3:05 PM`, `5pm (UTC)`, `Jan 5th, 2026 3:05 PM`, RFC 3339, seconds of the epoch.

    None for none, and for one that lies more than a year ahead or more than a day back.
    """
    text = text[:200].lower()
    if found := _EPOCH.match(text):
        return _epoch(found[1], now)
    try:
        if found := _ISO.match(text):
            return _iso(found.group(), now)
        if found := _ISO_DAY.match(text):
            return _sane(datetime.fromisoformat(found.group()).replace(tzinfo=now.tzinfo or UTC), now)
        if found := _DATE.match(text):
            return _dated(text, found, now)
        return _of_day(text, now)
    except (ValueError, OverflowError):  # the 31st of June; the year 9999
        return None


def _epoch(digits: str, now: datetime) -> datetime | None:
    seconds = float(digits) / (1000 if len(digits) == 13 else 1)
    try:
        return _sane(datetime.fromtimestamp(seconds, UTC), now)
    except (OverflowError, ValueError, OSError):
        return None


def _iso(text: str, now: datetime) -> datetime | None:
    moment = datetime.fromisoformat(text.replace("utc", "z").replace(" z", "z").upper())
    return _sane((moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo or UTC)).astimezone(UTC), now)


def _dated(text: str, found: re.Match[str], now: datetime) -> datetime | None:
    clock = _hour(found, 4)
    zone = _zone(text, found.end(), now)
    local = now.astimezone(zone)
    hour, minute = clock or (0, 0)
    month = _MONTHS.index(found[1]) + 1
    moment = datetime(int(found[3] or local.year), month, int(found[2]), hour, minute, tzinfo=zone)
    if found[3] is None and moment < local - timedelta(days=1):
        moment = moment.replace(year=moment.year + 1)
    return _sane(moment.astimezone(UTC), now)


def _of_day(text: str, now: datetime) -> datetime | None:
    tomorrow = _TOMORROW.match(text)
    found = _TIME.match(text, tomorrow.end() if tomorrow else 0)
    clock = found and _hour(found, 1)
    if found is None or clock is None:
        return None
    zone = _zone(text, found.end(), now)
    local = now.astimezone(zone).replace(hour=clock[0], minute=clock[1], second=0, microsecond=0)
    # Yesterday's, for what was over just before midnight; and each twice, for the hour that a clock put back has twice.
    days = (1,) if tomorrow else (-1, 0, 1)
    each = (local + timedelta(days=day) for day in days)
    moments = sorted(moment.replace(fold=fold).astimezone(UTC) for moment in each for fold in (0, 1))
    return next((moment for moment in moments if moment >= now.astimezone(UTC) - JUST_NOW), moments[-1])


def retry_in(text: str, now: datetime) -> tuple[float | None, datetime | None]:
    """Seconds to wait and the moment of the reset, whichever of them the first of 4,000 characters name."""
    text = text[:4_000].lower()
    for found in _MARK.finditer(text):
        rest = text[found.end() : found.end() + 200]
        rest = rest.removeprefix("in ").removeprefix("at ").removeprefix("on ")
        seconds = seconds_in(rest)
        if seconds is not None and found["how"].strip() not in ("at", "on"):
            return seconds, None
        if moment := moment_in(rest, now):
            return None, moment
    return None, None


def header_wait(value: str, now: datetime) -> float | None:
    """`Retry-After` and its like: seconds, or a date; as seconds from now. A length of time (`6m0s`) is understood, too."""
    value = value.strip()[:100]
    try:
        seconds = float(value)
    except ValueError:
        seconds = seconds_in(value)
    if seconds is not None and math.isfinite(seconds) and 0 <= seconds <= LONGEST_WAIT.total_seconds():
        return seconds
    moment = header_moment(value, now)
    return max(0.0, (moment - now).total_seconds()) if moment else None


def header_moment(value: str, now: datetime) -> datetime | None:
    """A moment in a header: RFC 3339, seconds (or milliseconds) of the epoch, or the date of RFC 9110."""
    value = value.strip()[:100]
    if moment := moment_in(value, now):
        return moment
    from email.utils import parsedate_to_datetime  # as zoneinfo

    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return _sane(moment if moment.tzinfo else moment.replace(tzinfo=UTC), now)
