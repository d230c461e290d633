"""`wvo-mcp sandbox-run` without an engine: what it is given arrives, and nothing runs."""

import json

import pytest

from tests.faces.cli.shell import Shell

pytestmark = pytest.mark.requirement("SBX-4")


@pytest.mark.parametrize("command", ["touch ran", '["touch", "ran"]', "-"])
def test_a_command_is_text_or_a_list_and_is_never_run_outside(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    refused = shell("sandbox-run", "--command", command, stdin='["touch", "ran"]').error
    assert refused["code"] == "not_configured" and "Nothing was run" in refused["hint"]
    assert not (shell.root / "ran").exists()
    coded = shell("sandbox-run", "--code", "open('ran', 'w')", "--files", json.dumps({"a": "b"})).error
    assert coded["code"] == "not_configured" and not (shell.root / "ran").exists()


def test_a_list_of_other_things_than_text_is_wrong(shell: Shell) -> None:
    assert shell("sandbox-run", "--command", "[1, 2]").error["code"] == "invalid_input"
    assert shell("sandbox-run", "--command", "[").code == 2
