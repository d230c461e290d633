"""The look ahead and the exchange of tasks by commands."""

import json

import pytest

from tests.faces.cli.shell import Shell


@pytest.mark.requirement("TASK-6", "CORE-12")
def test_a_checklist_becomes_tasks_and_the_plan_a_file_that_another_project_reads(shell: Shell) -> None:
    (shell.root / "plan.md").write_text("# Shop\n- [ ] T1: one (high)\n  - [ ] T2: two\n- [x] T3: three\n")

    assert shell("import-tasks", "--path", "plan.md", "--dry-run").json["created_count"] == 2
    assert shell("import-tasks", "--path", "plan.md").json["written"] is True
    assert shell("export-tasks", "--path", "plan.jsonl").json["tasks"] == 2
    lines = [json.loads(line) for line in (shell.root / "plan.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["epic", "task", "task"]
    again = shell("import-tasks", "--path", "plan.jsonl").json
    assert (again["created_count"], again["existing_count"]) == (0, 2)
    error = shell("import-tasks", "--text", '{"id": 3}', "--format", "jsonl").error
    assert (error["code"], error["details"]["line"]) == ("invalid_input", 1)


@pytest.mark.requirement("SCHED-5", "CORE-10")
def test_a_forecast_is_worked_out_while_one_waits_and_shown_for_people(shell: Shell) -> None:
    shell("add", "One thing")
    assert shell("critical-path").json["length"] == 1
    assert shell("forecast", "--runs", "50", "--agents", "2").json["runs"] == 50

    shown = shell.on_terminal("forecast", "--runs", "3000")
    assert shown.code == 0
    for part in ("1 tasks", "nine of ten", "around the clock"):
        assert part in shown.text
    assert shell("forecast", "--handle", "none").error["code"] == "not_found"
