"""A process that dies while it reports: the report counts once, whoever repeats it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.databases import looked_at
from tests.support.stores import source_of

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.requirement("PROV-3")
def test_a_report_that_was_killed_anywhere_counts_once_when_it_is_repeated(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.faults.reporting", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    kills = int(ran.stdout)
    assert kills >= 10
    with looked_at(source_of(tmp_path)) as database:
        reports = database.value("SELECT count(*) FROM usage")
        tokens = database.value("SELECT sum(tokens) FROM usage_minutes")
        rerouted = database.value("SELECT count(*) FROM events WHERE kind = 'task.rerouted'")
        attempts = database.value("SELECT sum(attempts) FROM provider_reserved")
    assert (reports, tokens, rerouted, attempts) == (kills + 1, 1_000 * (kills + 1), kills + 1, kills + 1)
