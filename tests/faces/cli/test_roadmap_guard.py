"""What a person meets who empties the roadmap, from the shell."""

import pytest

from tests.faces.cli.shell import Shell

pytestmark = pytest.mark.requirement("TASK-5")


def test_an_emptied_roadmap_cancels_nothing_until_a_person_allows_it(shell: Shell) -> None:
    shell("init")
    made = shell("roadmap-sync").json["created_count"]
    (shell.root / "state" / "roadmap.yaml").write_text("")

    held = shell("roadmap-sync").json

    assert (held["cancelled"], held["waiting_count"]) == ([], made)
    assert [alert["kind"] for alert in shell("alerts").json["alerts"]] == ["roadmap_guard"]
    assert shell("list-tasks", "--status", "pending").json["total"] == made
    assert "--allow-cancel" in shell("roadmap-sync", "--help").out
    allowed = shell("roadmap-sync", "--allow-cancel").json
    assert (len(allowed["cancelled"]), allowed["waiting"]) == (made, [])
    assert shell("alerts").json["alerts"] == []


def test_status_names_a_mistake_in_the_roadmap_while_no_server_runs(shell: Shell) -> None:
    shell("init")
    shell("roadmap-sync")
    assert "roadmap" not in shell("status").err
    (shell.root / "state" / "roadmap.yaml").write_text("epics:\n  - id: E\n")

    assert "the roadmap is not merged. state/roadmap.yaml:2: epics[0].title" in shell("status").err
