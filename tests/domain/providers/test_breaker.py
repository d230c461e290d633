"""The circuit breaker: every transition, for whatever happens in whatever order."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import START
from wvo_mcp.domain.providers.breaker import (
    LATEST,
    OUTAGES,
    SLOW,
    TRIPPING,
    Breaker,
    BreakerState,
    Verdict,
    failed,
    scope_of,
    succeeded,
    undecided,
    worst,
)
from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal

pytestmark = pytest.mark.requirement("PROV-4")

CLOSED, OPEN, HALF_OPEN = BreakerState
DRAWS = st.floats(0, 1, exclude_max=True)
KINDS = st.sampled_from(FailureKind)
TIMES = st.none() | st.datetimes(timezones=st.just(UTC))
WAITS = st.none() | st.floats()
SIGNALS = st.builds(Signal, KINDS, st.just("it failed"), WAITS, TIMES)
FRESH = Breaker("claude", "")


def told(kind: FailureKind, retry_after: float | None = None, resets_at: datetime | None = None) -> Signal:
    return Signal(kind, "it failed", retry_after, resets_at)


def seconds(breaker: Breaker, since: datetime = START) -> float:
    assert breaker.until is not None
    return (breaker.until - since).total_seconds()


def probed(breaker: Breaker, task_id: str, now: datetime) -> Breaker:
    """As the claim makes it that routes the task there."""
    return replace(breaker, state=HALF_OPEN, probe_task=task_id, probe_until=now + timedelta(minutes=15))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("fail", "probe fails", "success", "probe succeeds", "nothing")),
        SIGNALS,
        DRAWS,
        st.floats(0, 100_000),
        st.booleans(),
    ),
    max_size=25,
)


@given(STEPS)
def test_whatever_happens_it_is_sound_and_ends_open_for_a_bounded_time_only(
    steps: list[tuple[str, Signal, float, float, bool]],
) -> None:
    breaker, now = FRESH, START
    for what, signal, draw, passed, late in steps:
        now += timedelta(seconds=passed)
        began = now - timedelta(days=400) if late else now - timedelta(seconds=min(passed, 1))
        before = breaker
        if what.startswith("probe") and breaker.verdict(now, "T") is Verdict.PROBE:
            breaker = probed(breaker, "T", now)
            began = now
        if "fail" in what:
            breaker = failed(breaker, signal, now, draw, task_id="T", began=began)
        elif "succe" in what:
            breaker = succeeded(breaker, now, task_id="T", began=began)
        if signal.kind not in TRIPPING and what == "fail":
            assert breaker is before
        if breaker.state is OPEN:
            assert breaker.until is not None
            assert breaker.failures >= 1
            assert breaker.until <= now + LATEST + timedelta(seconds=1)
            assert breaker.probe_task is None
            if before.state is not OPEN:
                assert breaker.until >= now + timedelta(seconds=1)
        elif breaker.state is CLOSED:
            assert breaker.until is None
            assert breaker.failures < OUTAGES
    # It never stays shut: once its time has come somebody may try, and a probe that succeeds closes it.
    now += LATEST + timedelta(minutes=15)
    if breaker.state is not CLOSED:
        assert breaker.verdict(now, "X") is Verdict.PROBE
        assert succeeded(probed(breaker, "X", now), now, task_id="X", began=now).verdict(now, None) is Verdict.PASS


@given(st.sampled_from([FailureKind.CAPACITY, FailureKind.RATE_LIMIT]), DRAWS)
def test_failed_probes_double_the_backoff_up_to_a_quarter_of_an_hour(kind: FailureKind, draw: float) -> None:
    breaker, now, tops = FRESH, START, [5.0, 10, 20, 40, 80, 160, 320, 640, 900, 900]
    for top in tops:
        breaker = failed(breaker, told(kind), now, draw, task_id="T", began=now)
        assert breaker.state is OPEN
        assert seconds(breaker, now) == pytest.approx(max(1.0, draw * top), abs=1e-3)
        assert breaker.until is not None
        now = breaker.until
        assert breaker.verdict(now - timedelta(milliseconds=1), "T") is Verdict.STOP
        breaker = probed(breaker, "T", now)
    assert succeeded(breaker, now, task_id="T").failures == 0


@given(DRAWS)
def test_a_login_is_retried_after_fifteen_minutes_and_at_most_every_six_hours(draw: float) -> None:
    breaker, now = FRESH, START
    for openings in range(8):
        breaker = failed(breaker, told(FailureKind.AUTH), now, draw, task_id="T", began=now)
        first, longest = SLOW
        least = min(longest, first * 2**openings)
        assert least <= seconds(breaker, now) <= longest
        assert breaker.until is not None
        now = breaker.until
        breaker = probed(breaker, "T", now)


@given(st.floats(0, 1e6), st.floats(0, 1e6), DRAWS)
def test_it_is_open_until_the_latest_of_what_was_told_and_the_backoff(after: float, resets: float, draw: float) -> None:
    signal = told(FailureKind.RATE_LIMIT, after, START + timedelta(seconds=resets))

    breaker = failed(FRESH, signal, START, draw)

    assert seconds(breaker) == pytest.approx(min(8 * 86_400, max(after, resets, 5 * draw, 1)), abs=1e-3)


def test_kinds_trip_what_they_are_about() -> None:
    scopes = {kind: scope_of(told(kind), "high") for kind in TRIPPING}
    at_once = {kind for kind in FailureKind if failed(FRESH, told(kind), START, 0.5).state is OPEN}

    assert {kind for kind, scope in scopes.items() if scope == "high"} == {FailureKind.CAPACITY, FailureKind.RATE_LIMIT}
    assert at_once == TRIPPING - {FailureKind.OUTAGE}


def test_the_third_outage_in_a_row_opens_it_and_a_success_or_a_pause_begins_anew() -> None:
    outage = told(FailureKind.OUTAGE)

    def after(*minutes: float, success_at: float | None = None) -> Breaker:
        breaker = FRESH
        for at in minutes:
            if success_at is not None and success_at <= at:
                breaker = succeeded(breaker, START + timedelta(minutes=success_at))
            breaker = failed(breaker, outage, START + timedelta(minutes=at), 0.5)
        return breaker

    assert after(0, 4).state is CLOSED
    assert after(0, 5, 10).state is OPEN
    assert after(0, 4, 9.1).failures == 1
    assert after(0, 1, 2, success_at=2).failures == 1


def test_older_attempts_change_a_breaker_only_by_a_time_the_provider_named() -> None:
    began = START - timedelta(hours=1)
    breaker = failed(FRESH, told(FailureKind.CAPACITY), START, 0.9, task_id="A", began=began)
    soon = START + timedelta(seconds=2)
    assert failed(breaker, told(FailureKind.CAPACITY), soon, 0.9, task_id="B", began=began) is breaker
    longer = failed(breaker, told(FailureKind.CAPACITY, 60), soon, 0.9, task_id="B", began=began)
    assert (longer.failures, seconds(longer, soon)) == (1, 60)
    assert succeeded(breaker, soon, task_id="B", began=began) is breaker  # it may have been done before
    closed = succeeded(probed(breaker, "P", soon), soon, task_id="P", began=soon)

    late = closed
    for name in "BC":
        late = failed(late, told(FailureKind.CAPACITY), soon, 0.9, task_id=name, began=began)
        assert late.state is CLOSED
    assert failed(late, told(FailureKind.CAPACITY), soon, 0.9, task_id="D", began=began).state is OPEN
    assert failed(closed, told(FailureKind.CAPACITY, 60), soon, 0.9, task_id="B", began=began).state is OPEN
    assert failed(closed, told(FailureKind.CAPACITY), soon, 0.9, task_id="E", began=soon).state is OPEN
    much_later = soon + timedelta(minutes=6)
    assert failed(closed, told(FailureKind.CAPACITY), much_later, 0.9, task_id="B", began=began).state is OPEN


def test_while_one_probes_the_failures_of_others_change_nothing() -> None:
    half = probed(failed(FRESH, told(FailureKind.QUOTA), START, 0.5), "P", START)

    assert failed(half, told(FailureKind.QUOTA), START, 0.5, task_id="B", began=START) is half
    assert undecided(half, START).verdict(START, "B") is Verdict.PROBE


def test_a_provider_is_stopped_as_a_whole_or_in_all_its_tiers() -> None:
    low = Breaker("p", "low", OPEN, until=START + timedelta(hours=1))
    high = Breaker("p", "high", HALF_OPEN, probe_until=START)
    whole = Breaker("p", "", OPEN, until=START)

    def what(*breakers: Breaker) -> Breaker | None:
        return worst("p", ["low", "high"], {(one.provider, one.tier): one for one in breakers})

    assert what() is None
    assert what(low) is None
    assert what(low, high) is high
    assert what(low, whole) is whole
    freed = [replace(one, state=HALF_OPEN, until=None, probe_until=None) for one in (low, high)]
    assert what(*freed) is freed[0]
    assert worst("p", [], {}) is None
    assert what(replace(whole, state=CLOSED), low) is None
