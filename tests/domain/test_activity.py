"""What a worker is doing follows from what it did last."""

from datetime import UTC, datetime, timedelta

import pytest

from wvo_mcp.domain.activity import QUIET_SECONDS, REPEATED, Activity
from wvo_mcp.domain.agents import AgentEvent, EventKind, Status
from wvo_mcp.domain.worker import WorkerState

pytestmark = pytest.mark.requirement("WORK-10")
BEGAN = datetime(2027, 1, 15, 2, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def call(number: int, text: str = "make test", status: Status = Status.RUNNING) -> AgentEvent:
    return AgentEvent(EventKind.TOOL_CALL, text, call_id=f"c{number}", tool="Bash", status=status)


STARTED = AgentEvent(EventKind.STARTED, session="s-1")
SAID = AgentEvent(EventKind.MESSAGE, "I read\nthe rules")
STOPPED = AgentEvent(EventKind.STOP, status=Status.DONE)


@pytest.mark.parametrize(
    ("events", "state", "reason"),
    [
        ([], WorkerState.STARTING, "its program starts"),
        ([STARTED], WorkerState.WORKING, "its session began"),
        ([STARTED, SAID], WorkerState.WORKING, "says"),
        ([STARTED, call(1)], WorkerState.WORKING, "calls Bash"),
        ([STARTED, call(1), call(1, status=Status.DONE)], WorkerState.WORKING, "a call ended"),
        ([STARTED, AgentEvent(EventKind.PERMISSION_REQUEST, tool="Bash")], WorkerState.WORKING, "asks for permission"),
        ([STARTED, SAID, STOPPED], WorkerState.IDLE, "its turn is over"),
        ([STARTED, AgentEvent(EventKind.LIMIT, "until 04:00")], WorkerState.WORKING, "until 04:00"),
    ],
)
def test_the_state_and_its_reason_follow_from_the_events(
    events: list[AgentEvent], state: WorkerState, reason: str
) -> None:
    activity = Activity.began(BEGAN)
    for event in events:
        activity = activity.after(event, at(1))

    assert (activity.state, activity.reason) == (state, reason)


def test_since_is_when_the_state_began_not_when_something_was_heard_last() -> None:
    activity = Activity.began(BEGAN).after(STARTED, at(2)).after(SAID, at(9))

    assert (activity.since, activity.heard) == (at(2), at(9))
    assert activity.act == "says I read the rules"


def test_silence_within_a_turn_makes_it_idle_since_the_silence_was_too_long() -> None:
    activity = Activity.began(BEGAN).after(STARTED, at(0)).after(SAID, at(10))

    assert activity.at(at(10 + QUIET_SECONDS - 1)).state is WorkerState.WORKING
    idle = activity.at(at(500))
    assert (idle.state, idle.since) == (WorkerState.IDLE, at(10 + QUIET_SECONDS))
    assert idle.silent_seconds(at(500)) == 490
    assert idle.after(SAID, at(501)).state is WorkerState.WORKING


@pytest.mark.parametrize(
    "excuse", [call(1), AgentEvent(EventKind.PERMISSION_REQUEST, tool="Bash"), STOPPED], ids=["call", "asking", "over"]
)
def test_silence_does_not_count_while_it_has_an_excuse(excuse: AgentEvent) -> None:
    activity = Activity.began(BEGAN).after(STARTED, at(0)).after(excuse, at(1))

    assert activity.silent_seconds(at(10_000)) == 0
    assert activity.at(at(10_000)).state is activity.state


def test_a_call_that_is_one_of_several_open_ones_leaves_the_others_open() -> None:
    activity = (
        Activity.began(BEGAN).after(call(1), at(1)).after(call(2), at(2)).after(call(1, status=Status.DONE), at(3))
    )

    assert list(activity.calls) == ["c2"]


def test_noise_is_no_sign_of_life() -> None:
    activity = Activity.began(BEGAN).after(STARTED, at(0))

    assert activity.after(AgentEvent(EventKind.NOISE, "...."), at(100)) == activity


def test_the_same_call_over_and_over_is_a_loop_and_another_call_ends_it() -> None:
    activity = Activity.began(BEGAN)
    for number in range(REPEATED - 1):
        activity = activity.after(call(number), at(number)).after(call(number, status=Status.FAILED), at(number))
    assert not activity.loops

    stuck = activity.after(call(99), at(99))
    assert stuck.loops and stuck.after(call(99, status=Status.FAILED), at(99)).state is WorkerState.STUCK
    assert stuck.at(at(5_000)).state is WorkerState.STUCK
    another = stuck.after(call(100, "make lint"), at(100))
    assert (another.loops, another.state) == (False, WorkerState.WORKING)
