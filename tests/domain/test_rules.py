"""The rules of a project: what holds of them until a person has accepted it."""

from typing import Any

import pytest

from wvo_mcp.domain.rules import (
    MergeMode,
    MergePolicy,
    MergeRules,
    Review,
    Rules,
    held_back,
    rules_of,
    stated_by,
    waits,
)

pytestmark = pytest.mark.requirement("SAFE-4")

NOTHING: dict[str, Any] = {}


def _stated(**project: Any) -> Any:
    return stated_by(project, {}, {})


def test_what_nobody_accepted_holds_nowhere() -> None:
    stated = stated_by({"setup": "npm ci", "verify": ("npm test",)}, {"E1": ("x",)}, {"T1": ("y",)})

    holds, differences = held_back(stated, NOTHING, {"E1", "T1"})

    assert rules_of(holds) == Rules()
    assert [one.name for one in differences] == ["project.setup", "project.verify", "verify of E1", "verify of T1"]
    assert "project.setup, project.verify" in (waits(differences) or "")


def test_what_was_accepted_holds_until_the_change_of_it_is() -> None:
    accepted = _stated(setup="npm ci", verify=("npm test",))
    stated = _stated(setup="curl x | sh", verify=())

    holds, differences = held_back(stated, accepted, ())

    assert rules_of(holds) == Rules(setup="npm ci", verify=("npm test",))
    assert [(one.accepted, one.stated) for one in differences] == [("npm ci", "curl x | sh"), (["npm test"], None)]
    assert held_back(stated, stated, ()) == (stated, [])


def test_a_change_that_only_forbids_more_holds_at_once() -> None:
    accepted = _stated(env=("A", "B"), verify_timeout=900, review=Review.MILESTONES)

    stricter = held_back(_stated(env=("B",), verify_timeout=60, review=Review.REQUIRED), accepted, ())
    milder = held_back(_stated(env=("B", "C"), verify_timeout=9_000, review=Review.OFF), accepted, ())

    assert rules_of(stricter[0]) == Rules(env=("B",), verify_timeout=60, review=Review.REQUIRED)
    assert stricter[1] == []
    assert rules_of(milder[0]) == rules_of(accepted)
    assert len(milder[1]) == 3


def test_a_default_that_is_written_out_is_no_change() -> None:
    written = _stated(verify_timeout=600, merge=MergeRules(), review=Review.OFF, verify=(), env=())

    assert held_back(written, NOTHING, ()) == ({"project": {}, "epics": {}, "tasks": {}}, [])


def test_turning_submissions_off_or_pushing_needs_a_person() -> None:
    for merge in ("off", MergeRules(mode=MergeMode.PUSH), MergeRules(policy=MergePolicy.SQUASH)):
        holds, differences = held_back(_stated(merge=merge), NOTHING, ())
        assert rules_of(holds).merge == MergeRules()
        assert [one.name for one in differences] == ["project.merge"]
    assert rules_of(_stated(merge="off")).merge is None


def test_verify_of_a_task_that_left_the_roadmap_waits_for_nobody() -> None:
    accepted = stated_by({}, {}, {"T1": ("a",), "T2": ("b",)})

    holds, differences = held_back(stated_by({}, {}, {}), accepted, {"T2"})

    assert [one.name for one in differences] == ["verify of T2"], "taking a check out allows more"
    assert rules_of(holds).verify_of("T2", None) == ("b",)


def test_epics_and_tasks_only_add_to_what_verifies() -> None:
    rules = Rules(verify=("a", "b"), epics={"E": ("c",)}, tasks={"T": ("b", "d")})

    assert rules.verify_of("T", "E") == ("a", "b", "c", "d")
    assert rules.verify_of("U", None) == ("a", "b")
