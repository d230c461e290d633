"""Which backups are kept, whatever the clock did."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvo_mcp.domain.backup import (
    DAILY,
    HOURLY,
    SAFETY,
    WEEKLY,
    Backup,
    Kind,
    due,
    hour,
    kept,
    named_time,
    regular_name,
    safety_name,
    surplus,
)

pytestmark = pytest.mark.requirement("DR-1")

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # a Monday
hours = st.integers(-4_000, 4_000).map(lambda n: START + timedelta(hours=n))
sets = st.sets(hours, max_size=300)


def regular(*at: datetime) -> list[Backup]:
    return [Backup(regular_name(one, "db"), one, 1, Kind.HOURLY) for one in at]


def test_of_five_weeks_of_hourly_backups_24_hours_7_days_and_4_weeks_are_kept() -> None:
    now = START + timedelta(weeks=5)
    stays = kept((START + timedelta(hours=n) for n in range(5 * 7 * 24 + 1)), now)

    assert sum(kind is Kind.HOURLY for kind in stays.values()) == HOURLY
    assert min(at for at, kind in stays.items() if kind is Kind.HOURLY) == now - timedelta(hours=23)
    # The last hours stand for two of the days already, and those for two of the weeks.
    assert sum(kind is Kind.DAILY for kind in stays.values()) == DAILY - 2
    assert sum(kind is Kind.WEEKLY for kind in stays.values()) == WEEKLY - 2
    days = {at.date() for at in stays}
    assert {now.date() - timedelta(days=n) for n in range(DAILY)} <= days
    assert len({at.isocalendar()[:2] for at in stays}) == WEEKLY


@given(sets, hours)
def test_the_newest_is_always_kept_and_never_more_than_the_rules_allow(taken: set[datetime], now: datetime) -> None:
    stays = kept(taken, now)
    assert set(stays) <= taken
    if taken:
        assert max(taken) in stays
    present = [at for at in taken if at <= now]
    if present:
        assert max(present) in stays
    for part in ([at for at in stays if at <= now], [at for at in stays if at > now]):
        assert len(part) <= HOURLY + DAILY + WEEKLY


@given(sets, hours)
def test_of_each_kept_span_the_last_backup_stays(taken: set[datetime], now: datetime) -> None:
    present = sorted((at for at in taken if at <= now), reverse=True)
    stays = kept(taken, now)
    assert set(present[:HOURLY]) <= set(stays)
    days = sorted({at.date() for at in present}, reverse=True)[:DAILY]
    assert {max(at for at in present if at.date() == day) for day in days} <= set(stays)
    weeks = sorted({at.isocalendar()[:2] for at in present}, reverse=True)[:WEEKLY]
    assert {max(at for at in present if at.isocalendar()[:2] == week) for week in weeks} <= set(stays)


@given(sets, hours)
def test_keeping_again_keeps_the_same(taken: set[datetime], now: datetime) -> None:
    stays = kept(taken, now)
    assert kept(stays, now) == stays


@given(st.lists(st.integers(1, 200), min_size=1, max_size=60))
def test_pruning_after_every_backup_keeps_what_pruning_once_at_the_end_keeps(gaps: list[int]) -> None:
    taken: list[datetime] = []
    folder: set[datetime] = set()
    now = START
    for gap in gaps:
        now += timedelta(hours=gap)
        taken.append(now)
        folder = set(kept(folder | {now}, now))
    assert folder == set(kept(taken, now))


@given(sets, sets, hours)
def test_backups_of_a_clock_that_ran_ahead_push_out_none_of_the_others(
    past: set[datetime], future: set[datetime], now: datetime
) -> None:
    past = {at for at in past if at <= now}
    future = {at for at in future if at > now}
    alone = kept(past, now)
    assert {at: kind for at, kind in kept(past | future, now).items() if at <= now} == alone


def test_a_store_that_rested_for_a_year_keeps_its_backups() -> None:
    taken = [START + timedelta(hours=n) for n in range(30)]
    later = START + timedelta(days=365)
    assert kept(taken, later) == kept(taken, taken[-1])


@given(hours, st.integers(0, 3_599))
def test_a_backup_is_due_once_in_a_clock_hour(at: datetime, seconds: int) -> None:
    now = at + timedelta(seconds=seconds)
    assert due(now, [])
    assert due(now, [at - timedelta(seconds=1), at + timedelta(hours=1)])
    assert not due(now, [at])
    assert not due(now, [at + timedelta(minutes=59)])


@given(hours)
def test_names_say_the_hour_and_are_read_back(at: datetime) -> None:
    assert named_time(regular_name(at + timedelta(minutes=7), "db")) == (hour(at), False)
    assert named_time(safety_name(at + timedelta(seconds=7), "dump")) == (at + timedelta(seconds=7), True)


@pytest.mark.parametrize(
    "name",
    ["state.db", "state-2026-13-02-09.db", "state-2026-03-02-09.db.partial", "x/state-2026-03-02-09.db", ".lock"],
)
def test_other_files_are_no_backups(name: str) -> None:
    assert named_time(name) is None


def test_reading_a_name_imports_nothing() -> None:
    # Every start reads the names of the backups that there are.
    code = "import sys; from wvo_mcp.domain.backup import named_time; assert named_time('state-2027-01-15-23.db')"
    subprocess.run([sys.executable, "-c", f"{code}; assert '_strptime' not in sys.modules"], check=True)


def test_the_last_safety_copies_stay_and_count_for_no_hour() -> None:
    safety = [
        Backup(safety_name(at, "db"), at, 1, Kind.SAFETY)
        for at in (START - timedelta(days=n) for n in range(SAFETY + 2))
    ]
    hourly = regular(*(START - timedelta(hours=n) for n in range(HOURLY)))
    assert set(surplus([*safety, *hourly], START)) == {backup.name for backup in safety[SAFETY:]}
