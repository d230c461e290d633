"""Every operation is a command."""

import json

import pytest

from tests.faces.cli.shell import Shell
from wvo_mcp import app
from wvo_mcp.faces.cli.tree import build_cli
from wvo_mcp.operations import ALL

INSTALLATION = {"init", "doctor", "backup", "stop-hook", "store", "serve", "simulate"}


def names() -> list[str]:
    import click

    tree = build_cli(lambda: app)
    return tree.list_commands(click.Context(tree))


@pytest.mark.requirement("CORE-5")
def test_the_commands_are_the_operations_and_what_installs() -> None:
    # `budget raise`, `worker log` and their like are groups of their own.
    plain = {name.replace("_", "-") for name in ALL if not name.startswith(("budget_", "merge_", "token_", "worker_"))}
    people = {"autopilot", "budget", "merge", "orchestrate", "run", "token", "trust", "worker"}
    assert set(names()) == plain | people | INSTALLATION
    assert len(names()) == len(plain) + len(people) + len(INSTALLATION)


@pytest.mark.requirement("CORE-5")
@pytest.mark.parametrize("name", sorted(ALL))
def test_every_field_of_an_operation_is_a_described_flag(shell: Shell, name: str) -> None:
    shown = shell(name.replace("_", "-"), "--help")

    assert shown.code == 0
    assert ALL[name].summary[:40] in " ".join(shown.out.split())
    for field, info in ALL[name].fields.items():
        assert f"--{field.replace('_', '-')}" in shown.out
        assert info.description


@pytest.mark.requirement("CORE-5")
def test_an_operation_of_a_group_is_also_a_verb_of_it(shell: Shell) -> None:
    shell("add", "One")
    assert shell("backup", "create").json["verified"]
    listed = shell("backup-list").json

    assert listed == shell("backup", "list").json == shell("backup").json
    assert shell("backup", "lst").code == 2


def test_help_lists_every_command_under_its_heading(shell: Shell) -> None:
    shown = shell("--help").out

    headings = ["Work:", "Plan:", "Operations:", "For people only:", "Installation:"]
    assert sorted(headings, key=shown.index) == headings
    assert shown.index("Work:") < shown.index("  plan-next") < shown.index("Plan:")
    assert shown.index("For people only:") < shown.index("  approve") < shown.index("Installation:")
    for name in names():
        assert f"  {name}" in shown


def test_the_version_is_told(shell: Shell) -> None:
    from importlib.metadata import version

    assert shell("--version").out == f"wvo-mcp {version('wvo-mcp')}\n"


def test_an_unknown_command_is_wrong_usage_and_names_near_ones(shell: Shell) -> None:
    ran = shell("plan-nxt")

    assert ran.code == 2
    assert "plan-next" in ran.err
    assert ran.out == ""


def test_a_tool_name_is_understood_as_a_command(shell: Shell) -> None:
    assert shell("plan_next").json["tasks"] == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["get-task"], "--task-id"),
        (["get-task", "T1", "--task-id", "T1"], "twice"),
        (["get-task", "T1", "T2"], "T2"),
        (["list-tasks", "--status", "asleep"], "in_progress"),
        (["plan-next", "--limit", "many"], "--limit"),
        (["plan-next", "--lmit", "3"], "--limit"),
        (["create-tasks", "--tasks", "[{"], "not JSON"),
        (["create-tasks", "--tasks", "@missing.json"], "missing.json"),
        (["create-tasks", "--tasks", "[" * 100_000], "not JSON"),
        (["plan-next", "--input", "[]"], "--input"),
    ],
)
def test_wrong_usage_ends_with_two_and_says_what_is_meant(shell: Shell, argv: list[str], said: str) -> None:
    ran = shell(*argv)

    assert ran.code == 2, ran
    assert said in ran.err
    assert ran.out == ""
    assert not (shell.root / "state").exists()


@pytest.mark.requirement("CORE-7")
@pytest.mark.parametrize(
    ("argv", "code", "field"),
    [
        (["plan-next", "--limit", "0"], "invalid_input", "limit"),
        (["claim-task", "no spaces"], "invalid_input", "task_id"),
        (["create-tasks", "--tasks", '[{"title": ""}]'], "invalid_input", "tasks.0.title"),
        (["plan-next", "--input", '{"lmit": 3}'], "invalid_input", "lmit"),
        (["get-task", "NOPE"], "not_found", "task_id"),
    ],
)
def test_a_typed_error_ends_with_one_and_names_the_field(shell: Shell, argv: list[str], code: str, field: str) -> None:
    error = shell(*argv).error

    assert (error["code"], error["details"]["field"]) == (code, field)
    assert set(error) == {"code", "message", "retryable", "hint", "details"}


def test_a_task_goes_from_creation_to_done(shell: Shell) -> None:
    shell(
        "create-tasks",
        "--tasks",
        json.dumps([{"id": "T1", "title": "One"}, {"id": "T2", "title": "Two", "depends_on": ["T1"]}]),
    )
    claimed = shell("claim-task").json
    assert claimed["task"]["id"] == "T1"
    assert claimed["task"]["assigned_to"] == "ann"
    assert shell("checkpoint", "T1", "half", "--progress", "50", "--files", "a.py", "--files", "b.py").code == 0
    finished = shell("complete-task", "T1", "all of it", "--lease-token", str(claimed["lease"]["token"])).json

    assert finished["unlocked"] == ["T2"]
    assert shell("get-task", "--task-id", "T1").json["checkpoints"][0]["files"] == ["a.py", "b.py"]


def test_json_comes_from_a_file_from_stdin_and_as_one_object(shell: Shell) -> None:
    (shell.root / "tasks.json").write_text('\ufeff[{"id": "A", "title": "a"}]', encoding="utf-8")

    assert shell("create-tasks", "--tasks", "@tasks.json").json == {"created": ["A"]}
    assert shell("create-tasks", "--tasks", "-", stdin='[{"id": "B", "title": "b"}]').json == {"created": ["B"]}
    assert shell("create-tasks", "--input", '{"tasks": [{"id": "C", "title": "c"}]}').json == {"created": ["C"]}
    assert shell("list-tasks", "--input", '{"limit": 1}', "--limit", "2").json["total"] == 3


def test_null_in_the_input_clears_a_field(shell: Shell) -> None:
    shell("create-tasks", "--tasks", '[{"id": "A", "title": "a", "epic_id": "E"}]')

    shell("update-task", "A", "--input", '{"epic_id": null}')

    assert shell("get-task", "A").json["task"].get("epic_id") is None


def test_a_switch_is_sent_only_when_it_is_given(shell: Shell) -> None:
    shell("add", "One", "--id", "A")
    shell("claim-task", "A")
    assert shell("fail-task", "A", "it broke", "--no-retry").json["retry_at"] is None
    assert shell("get-task", "A").json["task"]["status"] == "failed"


def test_people_speak_short(shell: Shell) -> None:
    assert shell("add", "Write the manual", "--priority", "high").json["task"]["priority"] == "high"
    task_id = shell("list-tasks").json["tasks"][0]["id"]
    assert shell("pause", "lunch").json == {"paused": True, "reason": "lunch"}
    assert shell("claim-task").json["reason"] == "paused"
    assert shell("resume").json["paused"] is False
    assert shell("cancel", task_id, "no longer wanted").json["status"] == "cancelled"
    assert shell("restore", task_id).json["task"]["status"] == "pending"
    assert shell("get-task", task_id).json["task"]["origin"] == "human"


def test_a_wrong_setting_is_one_line_on_stderr(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WVO_LEASE_SECONDS", "soon")

    ran = shell("plan-next")

    assert ran.code == 2
    assert ran.out == ""
    assert "WVO_LEASE_SECONDS" in ran.err
    assert ran.err.count("\n") == 1


def test_a_store_that_cannot_be_used_is_a_typed_error(shell: Shell) -> None:
    (shell.root / "state").mkdir()
    (shell.root / "state" / "state.db").write_text("no database at all")

    assert shell("plan-next").error["code"] == "incompatible_store"


def test_a_wrong_value_is_named_with_what_is_allowed(shell: Shell) -> None:
    assert shell("add", "Pay", "--complexity", "11").error["message"] == (
        "complexity: 11 must be less than or equal to 10"
    )
    assert shell("add", "x" * 501).error["message"] == "title: must have at most 500 characters"


def test_a_defect_is_answered_with_a_reference_that_the_log_has(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> object:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr(app, "opened", broken)

    error = shell("plan-next").error

    assert error["code"] == "internal"
    assert error["details"]["ref"] in caplog.text
    assert "unforeseen" not in json.dumps(error)
