"""What is set right without a person is said in a sentence."""

import pytest

from wvo_mcp.domain.mended import KINDS, sentence

pytestmark = pytest.mark.requirement("DASH-1")


def test_each_kind_of_recovery_has_a_sentence_even_where_its_event_says_little() -> None:
    for kind in KINDS:
        assert sentence(kind, {})


def test_a_recovery_says_what_happened_and_why() -> None:
    remedied = {"action": "reclaim", "subject": "T1", "anomaly": "stale_tasks", "message": "T1 is pending"}

    assert sentence("health.remedied", remedied) == "reclaim of T1, because of stale_tasks: T1 is pending"
    assert sentence("workspace.rolled_back", {"files_changed": 3, "to": 7}) == "3 files went back to checkpoint 7: ?"
