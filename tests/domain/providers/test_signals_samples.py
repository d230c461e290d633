"""What the real programs printed when they failed is read as what it is, whatever else happens to the lines."""

from datetime import UTC, datetime

import pytest

from tests.clients.failures import QUOTED, scenarios
from tests.support.signals import files, misread, read_sample, sample
from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.providers.signals.output import read_output
from wvo_mcp.domain.providers.signals.reading import FailureKind, Reading
from wvo_mcp.domain.providers.signals.sentences import data_of

pytestmark = pytest.mark.requirement("PROV-4", "PROV-3")

LABELS = [file.stem for file in files()]


def test_every_scenario_that_is_played_with_the_real_programs_is_recorded_too() -> None:
    assert sorted(scenario.label for scenario in scenarios(datetime.now(UTC))) == sorted(LABELS)


@pytest.mark.parametrize("program", ["claude", "codex", "gemini"])
def test_the_sentences_of_a_program_name_their_version_and_known_kinds(program: str) -> None:
    known = data_of(program)

    assert known["program"] == program
    assert all(part.isdigit() for part in known["version"].split("."))
    kinds = {*known["own"], *known.get("words", {}).values(), *known.get("exits", {}).values()}
    assert kinds <= set(FailureKind)


@pytest.mark.parametrize("label", LABELS)
def test_a_recorded_failure_is_understood(label: str) -> None:
    scenario, reading = read_sample(label)

    assert misread(scenario, reading) == [], reading
    if reading.signal:
        assert len(reading.signal.message) <= 300
        assert "\n" not in reading.signal.message


@pytest.mark.parametrize("label", LABELS)
def test_stderr_may_be_mixed_with_stdout_and_lines_may_have_colours(label: str) -> None:
    scenario, _ = read_sample(label)
    events = [line for line in sample(label)[2] if line.startswith("{")]
    others = [line for line in sample(label)[2] if not line.startswith("{")]

    for lines in (
        [*others, *events],
        [f"{line}\r\n" for line in [*events, *others]],
        [*events, *(f"\x1b[31m{line}\x1b[0m\x00" for line in others)],
    ):
        assert misread(scenario, again(label, lines)) == []


@pytest.mark.parametrize("label", LABELS)
def test_a_run_that_ends_well_is_no_failure_whatever_its_model_tools_and_helpers_say(label: str) -> None:
    """Quotes of every failure, in every place where a program shows what others say, change no reading."""
    _, reading = read_sample(label)
    lines = sample(label)[2]
    quotes: list[str] = []
    for quoted in QUOTED.split("\n"):
        text = json_text(quoted)
        quotes += (
            f'{{"type":"assistant","message":{{"model":"m","content":[{{"type":"text","text":{text}}}]}},"parent_tool_use_id":"toolu_1"}}',
            f'{{"type":"user","message":{{"content":[{{"type":"tool_result","is_error":true,"content":{text}}}]}},"parent_tool_use_id":"toolu_1"}}',
            f'{{"type":"item.completed","item":{{"type":"agent_message","text":{text}}}}}',
            f'{{"type":"item.completed","item":{{"type":"command_execution","aggregated_output":{text},"status":"failed"}}}}',
            f'{{"type":"message","role":"assistant","content":{text},"delta":true}}',
            f'{{"type":"tool_result","status":"error","output":{text},"error":{{"type":"shell_execute_error","message":{text}}}}}',
            f"Error executing tool run_shell_command: {quoted}",
            f"  assert kind_of({quoted!r})",
        )
    changed = again(label, [lines[0], *quotes, *lines[1:]])

    assert (changed.signal and changed.signal.kind) == (reading.signal and reading.signal.kind)
    assert changed.finished is reading.finished


@pytest.mark.parametrize("label", LABELS)
def test_a_cut_off_output_is_read_as_far_as_it_goes(label: str) -> None:
    _, whole = read_sample(label)
    lines = sample(label)[2]
    for kept in range(len(lines)):
        cut = [*lines[:kept], lines[kept][: len(lines[kept]) // 2]]
        reading = again(label, cut)
        if reading.finished:
            assert whole.finished


def again(label: str, lines: list[str]) -> Reading:
    recorded_at, exit_code, _ = sample(label)
    return read_output(ProviderKind(label.partition("-")[0]), lines, recorded_at, exit_code=exit_code)


def json_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
