"""`wvo-mcp trust`: nothing that an agent wrote into providers.yaml is run before a person has accepted it."""

from pathlib import Path

import pytest

from tests.faces.cli.shell import Shell

pytestmark = pytest.mark.requirement("SAFE-4")


@pytest.fixture
def planted(shell: Shell) -> Path:
    """A file that exists once the planted command was run."""
    shell("init")
    mark = shell.root / "planted"
    path = shell.root / "state" / "providers.yaml"
    server = "  server:\n    kind: openai\n    place: cloud\n    base_url: http://127.0.0.1:8000/v1\n"
    path.write_text(
        "providers:\n"
        + server
        + f"    key_command: touch {mark}\n    tiers: {{low: {{model: m}}, high: {{model: m}}}}\n"
    )
    return mark


def test_what_init_wrote_is_accepted(shell: Shell) -> None:
    shell("init")

    assert shell("trust").json["changes"] == []
    assert shell("auth-status").json["problem"] is None


def test_a_planted_command_is_run_by_nobody_until_a_person_accepts_it(
    shell: Shell, planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = shell("auth-status").json
    checks = shell("doctor").json["checks"]

    assert "server" in status["problem"]
    assert "wvo-mcp trust" in status["problem"]
    assert [check["outcome"] for check in checks if check["check"] == "trust"] == ["warn"]
    assert not planted.exists()
    shown = shell("trust").json
    assert ("providers", "server.key_command") in [(one["part"], one["field"]) for one in shown["changes"]]
    assert shown["accepted"] is False
    with monkeypatch.context() as agent:
        agent.setenv("CLAUDECODE", "1")
        assert shell("trust", "--yes").error["code"] == "forbidden"
    assert not planted.exists()

    accepted = shell("trust", "--yes").json

    assert (accepted["accepted"], len(accepted["sha256"]["providers"])) == (True, 64)
    assert Path(accepted["file"]).is_relative_to(shell.home)
    assert shell("trust").json["changes"] == []
    assert shell("auth-status").json["problem"] is None
    assert planted.exists()


def test_a_policy_that_allows_more_waits_for_a_person(shell: Shell) -> None:
    shell("init")
    (shell.root / "state" / "policy.yaml").write_text("commands: {allow: [docker], block: [make]}\n")

    shown = shell("trust").json["changes"]
    assert shown == [{"part": "policy", "field": "commands.allow", "accepted": None, "stated": ["docker"]}]

    assert list(shell("trust", "--yes").json["sha256"]) == ["policy"]
    assert shell("trust").json["changes"] == []


def test_a_broken_policy_is_named_with_its_line(shell: Shell) -> None:
    shell("init")
    (shell.root / "state" / "policy.yaml").write_text("commands:\n  blok: []\n")

    assert "policy.yaml:2: commands.blok: unknown key 'blok'" in shell("trust").error["message"]
