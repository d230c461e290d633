"""What the real programs printed when they failed (tests/samples/signals), and what is wrong with a reading of it."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tests.clients.failures import SAMPLES, Scenario, scenarios
from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.providers.signals.output import read_output
from wvo_mcp.domain.providers.signals.reading import Reading


def files() -> list[Path]:
    """All recorded samples."""
    return sorted(SAMPLES.glob("*.jsonl"))


def sample(label: str) -> tuple[datetime, int, list[str]]:
    """When it was recorded, the exit code, and the lines."""
    first, *lines = (SAMPLES / f"{label}.jsonl").read_text(encoding="utf-8").split("\n")
    head = json.loads(first)
    return datetime.fromisoformat(head["recorded_at"]), head["exit_code"], lines


def read_sample(label: str) -> tuple[Scenario, Reading]:
    """The scenario that a sample was recorded of, and what its lines are read as."""
    recorded_at, exit_code, lines = sample(label)
    scenario = next(scenario for scenario in scenarios(recorded_at) if scenario.label == label)
    return scenario, read_output(ProviderKind(scenario.program), lines, recorded_at, exit_code=exit_code)


def misread(scenario: Scenario, reading: Reading) -> list[str]:
    """Each thing that a reading says otherwise than the scenario does."""
    return list(_misread(scenario, reading))


def _misread(scenario: Scenario, reading: Reading) -> Iterator[str]:
    signal = reading.signal
    if (signal and signal.kind) is not scenario.kind:
        yield f"the kind is {signal and signal.kind}, not {scenario.kind}"
    if reading.finished is not scenario.finished:
        yield f"finished is {reading.finished}"
    if scenario.finished and (reading.usage is None or reading.usage.tokens_in % 10 or reading.usage.tokens_out % 5):
        yield f"the usage is {reading.usage}, not 10 tokens in and 5 out for each answer"
    if signal is None:
        return
    least, most = scenario.retry_after or (None, None)
    if least is None or most is None:
        if signal.retry_after is not None:
            yield f"nothing told to wait for {signal.retry_after} seconds"
    elif signal.retry_after is None or not least <= signal.retry_after <= most:
        yield f"the wait is {signal.retry_after} seconds, not {least} to {most}"
    if signal.resets_at != scenario.resets_at:
        yield f"the reset is at {signal.resets_at}, not {scenario.resets_at}"
    if scenario.says not in signal.message:
        yield f"the message is without {scenario.says!r}: {signal.message!r}"
