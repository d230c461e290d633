"""An autopilot that works on and on: nothing leaks, nothing is done twice, every token is accounted for."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.races.autopilot_soak import grown, soak
from tests.support.scale import sized

SECONDS = float(os.environ.get("WVO_TEST_SOAK_SECONDS") or sized(full=1800, short=0))
GROWTH = {"memory_mb a minute": 4.0, "descriptors": 18, "threads": 6}
"""More than this is a leak: of 50 KB, or of a fifth of a descriptor, in each of about eighty launches a minute. Caches fill for
minutes, and a slot that works has three descriptors more than one that begins."""


@pytest.mark.drill
@pytest.mark.sqlite
@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.requirement("WORK-1", "WORK-5", "WORK-7", "CLAIM-1")
def test_an_autopilot_at_work_leaks_nothing_and_accounts_for_every_token(tmp_path: Path) -> None:
    findings = soak(tmp_path, SECONDS, seed=3, kill_every=min(180, SECONDS / 2), look_every=60)

    report = {**findings.figures, "kinds": dict(findings.tasks), "slowest orphan, s": findings.slowest_orphan}
    sys.stdout.write(json.dumps({**report, "lives": grown(findings)}, indent=1))
    assert not findings.wrong, "\n".join(findings.wrong[:20])
    assert findings.killed_at
    lives = grown(findings)
    assert lives or SECONDS < 600
    assert [(name, lives) for one in lives for name, most in GROWTH.items() if one[name] > most] == []
