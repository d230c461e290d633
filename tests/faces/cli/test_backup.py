"""Restoring and repairing, as a person does it."""

import shutil
from pathlib import Path

import pytest

from tests.faces.cli.shell import Shell
from wvo_mcp.execution.session_lock import SessionLocks

ROADMAP = "epics:\n  - id: E1\n    title: Shop\n    tasks:\n      - {id: R1, title: Rates}\n"


def database(shell: Shell) -> Path:
    return shell.root / "state" / "state.db"


def ids(shell: Shell) -> list[str]:
    return sorted(task["title"] for task in shell("list-tasks").json["tasks"])


@pytest.fixture
def backed_up(shell: Shell) -> Shell:
    """`One` is in the backup, `Two` came later."""
    shell("add", "One")
    assert shell("backup-create").json["verified"]
    shell("add", "Two")
    return shell


@pytest.mark.requirement("DR-1")
def test_backups_are_made_and_listed_by_hand(backed_up: Shell) -> None:
    (listed,) = backed_up("backup-list").json["backups"]
    assert listed["kind"] == "hourly"
    assert (backed_up.root / "state" / "backups" / "db" / listed["name"]).stat().st_size == listed["bytes"]


@pytest.mark.requirement("DR-2")
def test_a_person_restores_the_newest_or_a_named_backup_and_can_go_back(backed_up: Shell) -> None:
    ran = backed_up("backup", "restore", "--latest")
    assert ran.code == 0
    assert ids(backed_up) == ["One"]
    assert ran.json["lost"].startswith("what was written between ")

    back = backed_up("backup", "restore", ran.json["safety"])

    assert back.json["restored"] == ran.json["safety"]
    assert ids(backed_up) == ["One", "Two"]


def test_which_backup_has_to_be_said(backed_up: Shell) -> None:
    for arguments in ((), ("state-2026-03-02-09.db", "--latest")):
        ran = backed_up("backup", "restore", *arguments)
        assert ran.code == 2
        assert "backup-list" in ran.err
    unknown = backed_up("backup", "restore", "state-2026-03-02-09.db").error
    assert unknown["code"] == "not_found"
    assert unknown["details"]["near"]
    assert "wvo-mcp backup-list" in unknown["hint"]


@pytest.mark.requirement("DR-2")
def test_it_is_refused_while_servers_are_connected_unless_told(backed_up: Shell) -> None:
    with SessionLocks(backed_up.root / "state" / "sessions").lock("somebody"):
        refused = backed_up("backup", "restore", "--latest").error
        assert refused["code"] == "conflict"
        assert refused["details"]["living"] == ["somebody"]
        assert "--while-live" in refused["hint"]
        assert ids(backed_up) == ["One", "Two"]
        assert backed_up("backup", "restore", "--latest", "--while-live").code == 0
    assert ids(backed_up) == ["One"]


@pytest.mark.requirement("DR-2")
def test_the_roadmap_is_synced_into_what_was_restored(backed_up: Shell) -> None:
    (backed_up.root / "state" / "roadmap.yaml").write_text(ROADMAP)
    assert backed_up("backup", "restore", "--latest").json["roadmap"] == {"created": 1, "updated": 0}
    assert ids(backed_up) == ["One", "Rates"]


@pytest.mark.requirement("DR-2")
def test_a_mistake_in_the_roadmap_is_told_and_undoes_nothing(backed_up: Shell) -> None:
    (backed_up.root / "state" / "roadmap.yaml").write_text("epics: 7\n")
    ran = backed_up("backup", "restore", "--latest")
    assert ran.code == 0
    assert ran.json["roadmap_error"]["code"] == "invalid_input"
    assert ids(backed_up) == ["One"]


@pytest.mark.requirement("DR-2")
def test_a_person_is_asked_first(backed_up: Shell) -> None:
    with backed_up.terminal("backup", "restore", "--latest") as terminal:
        terminal.until(lambda seen: "Replace the present store by state-" in seen and "[y/N]" in seen)
        terminal.type("n\n")
        refused = terminal.finish()
    assert refused.code == 1
    assert "Nothing was changed." in refused.text
    assert "Interrupted" not in refused.text
    unknown = backed_up.on_terminal("backup", "restore", "nope")
    assert "wvo-mcp backup-list" in unknown.text
    assert "Replace" not in unknown.text
    assert ids(backed_up) == ["One", "Two"]
    done = backed_up.on_terminal("backup", "restore", "--latest", "--yes")
    assert done.code == 0, done.text
    assert "Lost: what was written between" in done.text
    assert "What was there before is the backup before-restore-" in done.text


@pytest.mark.requirement("DR-2")
def test_doctor_repairs_a_damaged_store_and_says_what_was_lost(backed_up: Shell) -> None:
    (backed_up.root / "state" / "roadmap.yaml").write_text(ROADMAP)
    database(backed_up).write_bytes(b"\xa5" * 8_192)
    refused = backed_up("status").error
    assert refused["code"] == "incompatible_store"
    assert refused["hint"].startswith("wvo-mcp doctor --repair")
    found = {check["check"]: check for check in backed_up("doctor").json["checks"]}
    assert found["database"]["outcome"] == "fail"
    assert "the newest, state-" in found["backups"]["found"]

    repair = backed_up("doctor", "--repair").json["repair"]

    assert "not a SQLite database" in repair["found"]
    assert repair["lost"].startswith("what was written between ")
    assert (backed_up.root / "state" / repair["damaged_file"]).read_bytes() == b"\xa5" * 8_192
    assert repair["roadmap"] == {"created": 1, "updated": 0}
    assert ids(backed_up) == ["One", "Rates"]


@pytest.mark.requirement("DR-2")
def test_doctor_brings_a_deleted_store_back_and_leaves_a_sound_one_alone(backed_up: Shell) -> None:
    assert backed_up("doctor", "--repair").json["repair"] is None
    assert ids(backed_up) == ["One", "Two"]
    for name in ("state.db", "state.db-wal", "state.db-shm"):
        (backed_up.root / "state" / name).unlink(missing_ok=True)
    refused = backed_up("add", "Three").error
    assert "is gone, but there are backups" in refused["message"]
    assert "to start over" in refused["hint"]
    assert not database(backed_up).exists()

    assert backed_up("doctor", "--repair").json["repair"]["damaged_file"] is None
    assert ids(backed_up) == ["One"]


@pytest.mark.requirement("DR-2")
def test_without_a_good_backup_repair_says_what_is_left_to_do(backed_up: Shell) -> None:
    shutil.rmtree(backed_up.root / "state" / "backups")
    database(backed_up).write_bytes(b"\xa5" * 8_192)
    refused = backed_up("doctor", "--repair").error
    assert refused["code"] == "not_found"
    assert ".recover" in refused["hint"]
    assert database(backed_up).read_bytes() == b"\xa5" * 8_192
