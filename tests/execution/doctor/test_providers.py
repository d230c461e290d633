"""What doctor says of providers."""

from pathlib import Path

import pytest

from tests.support.patience import patient_with_programs
from wvo_mcp.domain.finding import Outcome
from wvo_mcp.execution.doctor import providers

__all__ = ["patient_with_programs"]

pytestmark = [
    pytest.mark.usefixtures("patient_with_programs"),
    pytest.mark.requirement("PROV-1"),
    pytest.mark.requirement("PROV-5"),
]

TEXT = """\
providers:
  here: {kind: codex, command: PROGRAM, key_env: HERE_KEY, tiers: {low: {model: m}}}
  keyless: {kind: gemini, command: PROGRAM, key_env: NO_KEY, tiers: {low: {model: m}}}
  gone: {kind: claude, command: no-such-program, tiers: {low: {model: m}}}
  off: {kind: claude, enabled: false, command: no-such-program, tiers: {low: {model: m}}}
"""


def test_the_file_and_each_provider_that_is_on_are_reported(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho version 4.5.6\n")
    program.chmod(0o755)
    path = tmp_path / "providers.yaml"
    path.write_text(TEXT.replace("PROGRAM", str(program)))

    found = providers(path, {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HERE_KEY": "sk-the-key-itself-0815"})

    assert [(one.check, one.outcome) for one in found] == [
        ("providers", Outcome.OK),
        ("provider here", Outcome.OK),
        ("provider keyless", Outcome.WARN),
        ("provider gone", Outcome.WARN),
    ]
    assert found[1].found == f"4.5.6 at {program}; HERE_KEY is set"
    assert found[2].remedy == "Log in with it, or set NO_KEY where servers and clients are started."
    assert found[3].found.startswith("no-such-program is not on PATH; ")
    assert all(one.remedy for one in found if one.outcome is not Outcome.OK)
    assert "0815" not in repr(found)


def test_a_mistake_is_a_failure_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "providers.yaml"
    path.write_text(TEXT + "warn_at: often\n")

    (found,) = providers(path, {})

    assert found.outcome is Outcome.FAIL
    assert "providers.yaml:6: warn_at: expected a number from 0 to 1" in found.found


def test_without_a_file_the_defaults_are_reported(tmp_path: Path) -> None:
    program = tmp_path / "codex"
    program.write_text("#!/bin/sh\necho version 4.5.6\n")
    program.chmod(0o755)

    found = providers(tmp_path / "providers.yaml", {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)})

    assert "without limits (wvo-mcp init writes one)" in found[0].found
    assert {one.outcome for one in found} == {Outcome.OK}  # nobody named those that are missing
    assert any(one.found.startswith(f"4.5.6 at {program}; OPENAI_API_KEY is not set") for one in found)


def test_all_turned_off_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "providers.yaml"
    path.write_text("providers:\n  off: {kind: claude, enabled: false, tiers: {low: {model: m}}}\n")

    (found,) = providers(path, {})

    assert found.outcome is Outcome.WARN
