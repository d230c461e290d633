"""A short soak of either store: nothing breaks, nothing is lost. `scripts/soak` is the long one, which judges growth."""

import pytest

from tests.races.soak import Findings, soak
from tests.support.scale import sized
from tests.support.workspace import Workspace


@pytest.mark.full_on_postgres
@pytest.mark.drill
@pytest.mark.timeout(600)
@pytest.mark.requirement("CLAIM-1", "CORE-11", "DR-1")
def test_mixed_calls_kills_and_backups_breaks_nothing(workspace: Workspace) -> None:
    def enough(findings: Findings) -> bool:
        answers = findings.answers
        return answers["complete_task"] > 20 and answers["killed"] >= 3 and findings.looks >= 10

    findings = soak(workspace, sized(full=60, short=8), seed=3, kill_every=3, enough=enough)

    assert not findings.wrong, "\n".join(findings.wrong[:20])
    assert enough(findings), findings.answers
