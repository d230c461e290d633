"""Conflicts are known before anything is built."""

import pytest

from tests.execution.merging.conftest import Field
from wvo_mcp.execution.merging.predicting import predicted
from wvo_mcp.ports.merging import Predicted

pytestmark = pytest.mark.requirement("MERGE-5")

LINES = "a = 1\nb = 1\nc = 1\nd = 1\n"


def test_conflicts_are_told_with_the_target_and_between_submissions(field: Field) -> None:
    works = {
        "T1": field.work({"code.py": LINES.replace("a = 1", "a = 2")}),
        "T2": field.work({"code.py": LINES.replace("a = 1", "a = 3")}),
        "T3": field.work({"code.py": LINES.replace("d = 1", "d = 3"), "dir/x": "1\n"}),
        "T4": field.work({"dir": "a file\n"}),
        "T5": field.work({"apart.py": "1\n"}),
    }
    tip = field.saved({"tip.py": "1\n"})
    landings = [field.landing(commit, task_id) for task_id, commit in works.items()]

    found = predicted(field.common, tip, landings)

    assert [(one.entry_id, one.other) for one in found] == [("m-T1", "m-T2"), ("m-T3", "m-T4")]
    assert found[0].paths == ("code.py",)

    tip = field.saved({"code.py": LINES.replace("a = 1", "a = 9")})
    again = predicted(field.common, tip, landings)
    assert again[:2] == [Predicted("m-T1", None, ("code.py",)), Predicted("m-T2", None, ("code.py",))]


def test_a_submission_that_cannot_be_read_hides_no_other(field: Field) -> None:
    clash = [field.work({"code.py": f"{number}\n"}) for number in range(2)]
    landings = [field.landing("1" * 40, "T0"), *(field.landing(one, f"T{one[:4]}") for one in clash)]
    assert len(predicted(field.common, field.first, landings)) == 1
