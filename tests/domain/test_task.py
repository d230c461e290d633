"""The state machine, move by move, as the contract's table has it."""

import itertools

import pytest

from wvo_mcp.domain.task import MOVES, Status, check_move, retry_delay_seconds
from wvo_mcp.errors import IllegalTransition

TABLE = {
    ("pending", "in_progress"),
    ("pending", "blocked"),
    ("pending", "cancelled"),
    ("pending", "in_review"),
    ("in_progress", "done"),
    ("in_progress", "in_review"),
    ("in_progress", "awaiting_approval"),
    ("in_progress", "blocked"),
    ("in_progress", "failed"),
    ("in_progress", "pending"),
    ("in_progress", "cancelled"),
    ("in_review", "cancelled"),
    ("in_review", "done"),
    ("in_review", "pending"),
    ("in_review", "blocked"),
    ("awaiting_approval", "pending"),
    ("awaiting_approval", "blocked"),
    ("awaiting_approval", "cancelled"),
    ("blocked", "pending"),
    ("blocked", "in_review"),
    ("blocked", "cancelled"),
    ("failed", "pending"),
    ("failed", "cancelled"),
    ("done", "pending"),
    ("cancelled", "pending"),
}


@pytest.mark.requirement("TASK-2")
@pytest.mark.parametrize(("origin", "target"), list(itertools.product(Status, Status)))
def test_a_move_is_legal_exactly_when_the_table_has_it(origin: Status, target: Status) -> None:
    if (origin.value, target.value) in TABLE:
        check_move("T1", origin, target)
        return
    with pytest.raises(IllegalTransition) as refused:
        check_move("T1", origin, target)
    assert refused.value.details == {"task_id": "T1", "from": origin.value, "to": target.value}
    assert all(status in refused.value.hint for status in MOVES[origin])


@pytest.mark.requirement("CLAIM-4")
def test_the_delay_of_a_retry_doubles_from_half_a_minute_to_an_hour() -> None:
    assert [retry_delay_seconds(attempt) for attempt in (1, 2, 3, 7, 8, 50)] == [30, 60, 120, 1920, 3600, 3600]
