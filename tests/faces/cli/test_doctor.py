"""`wvo-mcp doctor` on healthy and on broken installations."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faces.cli.shell import Ran, Shell
from tests.support.patience import patient_with_programs
from wvo_mcp.domain.finding import Finding
from wvo_mcp.execution import doctor as checks
from wvo_mcp.faces.cli import doctor

__all__ = ["patient_with_programs"]

REAL_GIT = shutil.which("git") or ""


@pytest.fixture
def healthy(patient_with_programs: None, shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """An installation as init leaves it, with the program on the PATH, in a folder that the clients trust."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("wvo-mcp", "claude", "codex", "gemini"):
        (folder / name).write_text("#!/bin/sh\necho 99.2.3\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    for key in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(key, "sk-this-is-told-nobody-4711")
    trusted = {"projects": {str(shell.root): {"hasTrustDialogAccepted": True}}}
    (shell.home / ".claude.json").write_text(json.dumps(trusted))
    (shell.home / ".codex").mkdir()
    (shell.home / ".codex/config.toml").write_text(f'[projects."{shell.root}"]\ntrust_level = "trusted"\n')
    (shell.root / "go.mod").write_text("module shop\n")
    shell("init", "--claude", "--codex", "--gemini")
    shell("roadmap-sync")
    (folder / "node").write_text("#!/bin/sh\necho version 99.2.3\n")
    (folder / "node").chmod(0o755)
    (folder / "git").symlink_to(REAL_GIT)
    subprocess.run([REAL_GIT, "init", "-q", str(shell.root)], check=True)
    return shell


def outcomes(ran: Ran) -> dict[str, str]:
    return {check["check"]: check["outcome"] for check in ran.json["checks"]}


@pytest.mark.requirement("CORE-12")
def test_a_healthy_installation_passes_every_check(healthy: Shell) -> None:
    ran = healthy("doctor")

    assert ran.code == 0
    assert ran.json["ok"] is True
    # How full this machine's disk is belongs to the machine.
    assert {outcome for check, outcome in outcomes(ran).items() if check != "disk"} == {"ok"}
    assert {"python", "sqlite", "workspace", "settings", "roadmap", "snapshot", "client codex"} <= set(outcomes(ran))
    assert {"providers", "provider claude", "provider codex", "provider gemini"} <= set(outcomes(ran))
    assert "4711" not in ran.out


@pytest.mark.requirement("CORE-12")
def test_a_roadmap_that_was_emptied_is_a_warning(healthy: Shell) -> None:
    (healthy.root / "state/roadmap.yaml").write_text("")

    assert outcomes(healthy("doctor"))["roadmap"] == "warn"


@pytest.mark.requirement("CORE-12")
def test_before_init_it_says_what_to_do(shell: Shell) -> None:
    ran = shell("doctor")

    assert ran.code == 0
    assert outcomes(ran)["state folder"] == "warn"
    remedies = [check["remedy"] for check in ran.json["checks"] if check["outcome"] != "ok"]
    assert any("wvo-mcp init" in remedy for remedy in remedies)
    assert not (shell.root / "state").exists()


def no_database(root: Path) -> None:
    for name in ("state.db-wal", "state.db-shm"):
        (root / "state" / name).unlink(missing_ok=True)
    (root / "state" / "state.db").write_text("no database " * 50)


def broken_roadmap(root: Path) -> None:
    (root / "state" / "roadmap.yaml").write_text("epics: [")


def broken_providers(root: Path) -> None:
    (root / "state" / "providers.yaml").write_text("mode: [")


def broken_entry(root: Path) -> None:
    (root / ".mcp.json").write_text("{")


def broken_directive(root: Path) -> None:
    (root / "directives" / "broken.md").write_bytes(b"\xff")


@pytest.mark.requirement("CORE-12")
@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (no_database, "database"),
        (broken_roadmap, "roadmap"),
        (broken_providers, "providers"),
        (broken_entry, "client claude"),
        (broken_directive, "directives"),
    ],
)
def test_each_broken_part_fails_with_its_remedy_and_the_others_are_still_checked(
    healthy: Shell, damage: Callable[[Path], None], check: str
) -> None:
    damage(healthy.root)

    ran = healthy("doctor")

    assert ran.code == 1
    assert ran.json["ok"] is False
    assert [name for name, outcome in outcomes(ran).items() if outcome == "fail"] == [check]
    assert next(found["remedy"] for found in ran.json["checks"] if found["check"] == check)


@pytest.mark.parametrize(("name", "value"), [("WVO_LEASE_SECONDS", "0"), ("WVO_TOOLSETS", "core,nonsense")])
def test_a_wrong_setting_is_one_failed_check(
    healthy: Shell, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    ran = healthy("doctor")

    assert ran.code == 1
    failed = [check for check in ran.json["checks"] if check["outcome"] == "fail"]
    assert [check["check"] for check in failed] == ["settings"]
    assert name in failed[0]["found"]


def test_a_snapshot_of_another_version_fails(healthy: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recorded = json.loads(doctor.SNAPSHOT.read_text())
    recorded["toolsets"]["core"].append("brew_coffee")
    other = tmp_path / "snapshot.json"
    other.write_text(json.dumps(recorded))
    monkeypatch.setattr(doctor, "SNAPSHOT", other)
    assert outcomes(healthy("doctor"))["snapshot"] == "fail"
    other.write_text("[]")
    assert outcomes(healthy("doctor"))["snapshot"] == "fail"


def test_what_may_not_be_looked_at_is_reported_and_the_rest_is_checked(
    healthy: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> Finding:
        raise PermissionError(13, "Permission denied", "state")

    monkeypatch.setattr(checks, "state_folder", locked)

    ran = healthy("doctor")

    assert ran.code == 1
    assert outcomes(ran)["state folder"] == "fail"
    assert outcomes(ran)["client claude"] == "ok"


def test_on_a_terminal_each_check_is_a_line_and_its_remedy_below(healthy: Shell) -> None:
    broken_roadmap(healthy.root)

    shown = healthy.on_terminal("doctor")

    assert shown.code == 1
    lines = shown.text.splitlines()
    failed = next(i for i, line in enumerate(lines) if line.startswith("FAIL"))
    assert lines[failed].split()[1] == "roadmap"
    assert lines[failed + 1].startswith(" " * 22)
    assert "1 of" in lines[-1]


def test_the_last_line_counts_warnings(healthy: Shell) -> None:
    (healthy.root / "state/roadmap.yaml").write_text("")

    shown = healthy.on_terminal("doctor").text.splitlines()

    warned = sum(line.startswith("warn") for line in shown)
    assert shown[-1] == f"Nothing failed, {warned} warning{'s' * (warned != 1)}."
