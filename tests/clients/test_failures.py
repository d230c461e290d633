"""The real programs fail in every way, and what they print is taken for what it is."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.clients.failures import Scenario, lines_of, played, scenarios
from tests.support.signals import misread
from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.providers.signals.output import read_output

pytestmark = pytest.mark.clients

SAMPLE = ("429",)
LABELS = [
    pytest.param(scenario.label, marks=[] if scenario.name in SAMPLE else [pytest.mark.full])
    for scenario in scenarios(datetime.now(UTC))
]
"""What they all print was recorded, and is read with every change (tests/samples/signals)."""


@pytest.mark.requirement("PROV-4", "PROV-3")
@pytest.mark.parametrize("label", LABELS)
def test_a_program_that_fails_is_understood(label: str, need: Callable[[str], None], tmp_path: Path) -> None:
    now = datetime.now(UTC)
    scenario = _found(label, now)
    need(scenario.program)

    run = played(scenario, tmp_path / "place")

    reading = read_output(ProviderKind(scenario.program), lines_of(run), now, exit_code=run.exit_code)
    assert misread(scenario, reading) == [], f"{reading}\n{run.report()}"


def _found(label: str, now: datetime) -> Scenario:
    return next(scenario for scenario in scenarios(now) if scenario.label == label)
