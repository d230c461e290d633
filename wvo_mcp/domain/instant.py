"""Points in time as every face and the database write them: UTC, ISO 8601, milliseconds, `Z`."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer


def iso(at: datetime) -> str:
    """`2027-01-15T23:59:59.999Z`; fixed width, so that text order is time order."""
    utc = at if at.tzinfo is UTC else at.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds")[:-6] + "Z"


AHEAD_SECONDS = 3_600
"""A store whose time is so far ahead of the machine's was written under a wrong clock."""


def instant(text: str) -> datetime:
    """The inverse of `iso`. Raises ValueError."""
    return datetime.fromisoformat(text)


_DURATION = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,5})m)?")


def duration(text: str) -> timedelta | None:
    """`30m`, `2h`, `1d12h`; None for what is not written so, and for nothing."""
    found = _DURATION.fullmatch(text)
    days, hours, minutes = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    return timedelta(days=days, hours=hours, minutes=minutes) or None


_LAST = datetime.max.replace(microsecond=999_000, tzinfo=UTC)


def later(at: datetime, seconds: float) -> datetime:
    """So many seconds after it; what lies beyond the year 9999, for work that is put off until then, is its last moment."""
    return at + timedelta(seconds=seconds) if seconds < (_LAST - at).total_seconds() else _LAST


def _aware(at: datetime) -> datetime:
    if at.tzinfo is UTC:
        return at
    if at.tzinfo is None:
        raise ValueError("give a time zone, for example 2027-01-15T09:00:00Z")
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999 in UTC") from None


Instant = Annotated[datetime, AfterValidator(_aware), PlainSerializer(iso, return_type=str)]
