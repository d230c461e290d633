"""Backups: how they are named, when one is due, and which are kept."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice

from wvo_mcp.domain.instant import iso

HOURLY, DAILY, WEEKLY, SAFETY = 24, 7, 4, 5
"""How many of each kind are kept."""

_REGULAR = re.compile(r"state-(\d{4})-(\d\d)-(\d\d)-(\d\d)\.[a-z]+")
_SAFETY = re.compile(r"before-restore-(\d{4})-(\d\d)-(\d\d)T(\d\d)-(\d\d)-(\d\d)Z\.[a-z]+")


class Kind(StrEnum):
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    SAFETY = "safety"
    """The store as it was before a restore."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A verified copy of the whole store. `at` is the store's time when it was taken, `bytes` the size of its file."""

    name: str
    at: datetime
    bytes: int
    kind: Kind


def regular_name(at: datetime, suffix: str) -> str:
    """`state-2027-01-15-23.db`: one place an hour (UTC). A second backup of the hour takes the place of the first."""
    return f"state-{at.astimezone(UTC):%Y-%m-%d-%H}.{suffix}"


def safety_name(at: datetime, suffix: str) -> str:
    return f"before-restore-{at.astimezone(UTC):%Y-%m-%dT%H-%M-%SZ}.{suffix}"


def named_time(name: str) -> tuple[datetime, bool] | None:
    """The time that a backup's name states and whether it is a safety copy; None for other files."""
    for pattern, safety in ((_REGULAR, False), (_SAFETY, True)):
        found = pattern.fullmatch(name)
        if found is not None:  # not by strptime: each start looks here, and its first use takes 5 ms
            try:
                return datetime(*map(int, found.groups()), tzinfo=UTC), safety  # pyright: ignore[reportArgumentType]
            except ValueError:
                return None
    return None


def hour(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def due(now: datetime, taken: Iterable[datetime]) -> bool:
    """Is there no backup of the present clock hour? `taken` are the times of those that exist."""
    return hour(now) not in {hour(at) for at in taken}


_RULES: tuple[tuple[Kind, int, Callable[[datetime], object]], ...] = (
    (Kind.HOURLY, HOURLY, lambda at: at),
    (Kind.DAILY, DAILY, lambda at: at.date()),
    (Kind.WEEKLY, WEEKLY, lambda at: at.isocalendar()[:2]),
)


def kept(hours: Iterable[datetime], now: datetime) -> Mapping[datetime, Kind]:
    """Which of the regular backups stay, and as what: the last 24 hours that have one, the last of each of the last 7 days
    and of the last 4 weeks that have one. Counted are backups, not time: a store that rested for a month loses none.

    Those of the future, from a clock that was wrong, are judged apart, so that they push out none of the others.
    """
    newest_first = sorted(set(map(hour, hours)), reverse=True)
    found: dict[datetime, Kind] = {}
    for future in (True, False):
        for kind, count, span in _RULES:
            last_of: dict[object, datetime] = {}
            for at in newest_first:
                if (at > now) == future:
                    last_of.setdefault(span(at), at)
            for at in islice(last_of.values(), count):
                found.setdefault(at, kind)
    return found


def surplus(backups: Iterable[Backup], now: datetime) -> list[str]:
    """Names of the backups that no rule keeps."""
    everything = sorted(backups, key=lambda backup: (backup.at, backup.name), reverse=True)
    safety = [backup for backup in everything if backup.kind is Kind.SAFETY]
    regular = [backup for backup in everything if backup.kind is not Kind.SAFETY]
    stays = kept((backup.at for backup in regular), now)
    gone = [backup.name for backup in regular if hour(backup.at) not in stays]
    return gone + [backup.name for backup in safety[SAFETY:]]


def span(since: datetime | None, until: datetime | None) -> str:
    """What a restore lost, in words."""
    if since is None or until is None:
        return "what was written since the backup"
    if until <= since:
        return "nothing"
    return f"what was written between {iso(since)} and {iso(until)}"
