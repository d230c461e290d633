"""When a provider may be asked again, as texts and answers say it.

A time without a zone is the program's local time, which is taken to be the zone of `now`. A time of day that is over means the
next day, unless it was over just now: programs cut off the seconds, and what they printed is read a little later.
"""

import re
from datetime import UTC, datetime, timedelta, tzinfo

from wvo_mcp.domain.providers.signals.reading import LONGEST_WAIT

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
    if name is None:
        return now.tzinfo or UTC
    if "/" not in name:
        return UTC
    from zoneinfo import ZoneInfo  # seldom needed

    try:
        return ZoneInfo("/".join(part.title() for part in name.split("/")).replace("_Of_", "_of_"))
    except (OSError, ValueError, KeyError):
        return now.tzinfo or UTC


def _hour(found: re.Match[str]) -> tuple[int, int]:
    """Hour and minute of a `_CLOCK`; midnight without one. Raises ValueError."""
    if found["twelve"] is None:
        return int(found["hour"] or 0), int(found["minute"] or 0)
    if not 1 <= int(found["twelve"]) <= 12:
        raise ValueError(found["twelve"])
    return int(found["twelve"]) % 12 + (12 if found["half"] == "p" else 0), int(found["past"] or 0)


def _dated(found: re.Match[str], now: datetime) -> datetime:
    hour, minute = _hour(found)
    local = now.astimezone(_zone(found, now))
    month, day = _MONTHS.index(found["month"]) + 1, int(found["day"])
    moment = datetime(int(found["year"] or local.year), month, day, hour, minute, tzinfo=local.tzinfo)
    past = found["year"] is None and moment < local - timedelta(days=1)
    return moment.replace(year=moment.year + 1) if past else moment


def _of_day(found: re.Match[str], now: datetime) -> datetime:
    hour, minute = _hour(found)
    local = now.astimezone(_zone(found, now)).replace(hour=hour, minute=minute, second=0, microsecond=0)
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
