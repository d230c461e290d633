"""Settings of a project are the same for commands, doctor and the stop hook, whatever the client's entry says."""

import json
from pathlib import Path

import pytest

from tests.faces.cli.shell import Shell
from wvo_mcp.store.postgres import doctor_checks


@pytest.fixture
def settings(shell: Shell) -> Path:
    (shell.root / "state").mkdir()
    return shell.root / "state" / "settings.yaml"


def test_a_command_takes_them(shell: Shell, settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.write_text("wip_limit: 7\n")
    assert shell("plan-next").json["wip_limit"] == 7

    monkeypatch.setenv("WVO_AUTOPILOT_WIP_LIMIT", "8")
    assert shell("plan-next").json["wip_limit"] == 8


def test_a_mistake_stops_a_command_and_fails_one_check_of_doctor(shell: Shell, settings: Path) -> None:
    settings.write_text("wip_limt: 7\n")

    refused = shell("plan-next")
    assert (refused.code, refused.out) == (2, "")
    assert f"{settings}:1: wip_limt: it is not a setting. Did you mean wip_limit?" in refused.err

    examined = shell("doctor").json
    assert [(check["check"]) for check in examined["checks"] if check["outcome"] == "fail"] == ["settings"]


def test_a_value_that_the_file_refers_to_is_not_repeated(
    shell: Shell, settings: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TOKEN", "hidden-4711")
    settings.write_text("toolsets: ${TOKEN}\n")
    refused = shell("plan-next")
    assert (refused.code, refused.out) == (2, "")
    assert "WVO_TOOLSETS: the value that it refers to is not a list of toolsets. Allowed: all" in refused.err
    examined = shell("doctor").out

    settings.write_text("epics: ${TOKEN}\n")
    shell("add", "Pay", "--epic-id", "CHECKOUT")
    shell("plan-next")
    assert caplog.messages == ["WVO_EPICS: the value that it refers to names an epic that does not exist."]
    assert "4711" not in refused.err + examined + "".join(caplog.messages)


def test_the_stop_hook_looks_at_the_store_that_the_file_names(
    shell: Shell, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def held_by(url: str, agent_id: str) -> None:
        asked.append((url, agent_id))

    monkeypatch.setattr(doctor_checks, "held_by", held_by)
    monkeypatch.setenv("OUR_STORE", "postgresql://h/d")
    settings.write_text("database_url: ${OUR_STORE}\n")

    shell("stop-hook", stdin=json.dumps({"session_id": "s", "cwd": str(shell.root)}))

    assert asked == [("postgresql://h/d", "ann")]


def test_a_misspelt_variable_is_a_warning_and_no_more(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WVO_LEASE_SECOND", "9")
    ran = shell("plan-next")

    assert ran.code == 0
    assert ran.json["tasks"] == []
    assert ran.err == "Warning: WVO_LEASE_SECOND is not a setting. Did you mean WVO_LEASE_SECONDS?\n"
    warned = [check for check in shell("doctor").json["checks"] if "WVO_LEASE_SECOND" in check["found"]]
    assert [check["outcome"] for check in warned] == ["warn"]


def test_an_epic_that_the_store_does_not_have_is_told_with_what_was_meant(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WVO_EPICS", "CHEKOUT,CHECKOUT")
    shell("plan-next")
    assert caplog.messages == []  # there is nothing yet that it could be compared with

    shell("add", "Pay", "--epic-id", "CHECKOUT")
    caplog.clear()
    shell("plan-next")

    assert caplog.messages == ["WVO_EPICS: there is no epic CHEKOUT. Did you mean CHECKOUT?"]
