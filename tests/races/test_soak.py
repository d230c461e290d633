"""A short soak of either store: nothing breaks, nothing is lost. `scripts/soak` is the long one, which judges growth."""

import pytest

from tests.races.soak import soak
from tests.support.workspace import Workspace


@pytest.mark.drill
@pytest.mark.timeout(240)
@pytest.mark.requirement("CLAIM-1", "CORE-11", "DR-1")
def test_forty_seconds_of_mixed_calls_kills_and_backups_break_nothing(workspace: Workspace) -> None:
    findings = soak(workspace, 40, seed=3, kill_every=3)

    assert not findings.wrong, "\n".join(findings.wrong[:20])
    assert findings.answers["complete_task"] > 20
    assert findings.answers["killed"] >= 3
    assert findings.looks >= 10
