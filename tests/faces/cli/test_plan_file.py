"""A plan as a roadmap that a person edits: what is written is read again, and what cannot be read is named."""

from typing import Any

import pytest

from tests.support.goals import PLAN
from wvo_mcp.domain.plans import Plan
from wvo_mcp.errors import InvalidInput
from wvo_mcp.faces.cli.plan_file import read, written

pytestmark = pytest.mark.requirement("WORK-4")
SHOWN: dict[str, Any] = {"id": "O-3", "goal": "A shop:\nwith prices", "summary": PLAN["summary"], "plan": PLAN["tasks"]}


def test_what_is_written_is_read_as_the_same_plan() -> None:
    text = written(SHOWN)
    assert text.startswith("# The plan of O-3: A shop: with prices\n")
    assert "labels:\n    - part:design" in text
    assert Plan.model_validate(read(text)) == Plan.model_validate(PLAN)


def test_the_end_of_a_line_in_a_goal_ends_no_comment() -> None:
    hostile = written({**SHOWN, "goal": "x\nepics: []"})
    assert Plan.model_validate(read(hostile)) == Plan.model_validate(PLAN)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("epics: [", "not YAML in line"),
        ("- 1", "needs `epics`"),
        ("epics: []", "needs `epics`"),
        ("epics: [{description: x, tasks: [1]}]", "needs `epics`"),
        ("epics: [{tasks: []}]", "needs `epics`"),
        ("!!python/object/apply:os.system [id]", "not YAML"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        read(text)


def test_a_task_needs_exactly_one_part() -> None:
    two = written(SHOWN).replace("- part:design", "- part:design\n    - part:review", 1)
    with pytest.raises(ValueError, match="part"):
        Plan.model_validate(read(two))
