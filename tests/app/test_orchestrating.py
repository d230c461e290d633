"""A goal becomes a plan, the plan becomes work that lands, and the end is checked: whole runs with scripted agents."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.app.conftest import alone
from tests.support.goals import PLAN, TASKS, Goals, answers, works
from tests.support.scale import sized

pytestmark = [pytest.mark.requirement("WORK-4")]
STRIKES = range(1, sized(full=80, short=41), sized(full=1, short=8))
GOAL = "An API for prices"


@pytest.fixture
def goals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str | None) -> Goals:
    made = Goals(tmp_path, database)
    alone(monkeypatch, made.environ)
    return made


def events(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """The last of each kind."""
    return {one["event"]: one for one in map(json.loads, capsys.readouterr().out.splitlines())}


def points(end: dict[str, Any]) -> dict[str, bool]:
    return {one["point"]: one["met"] for one in end["points"]}


@pytest.mark.both_stores
def test_a_goal_is_planned_done_landed_and_checked(goals: Goals, capsys: pytest.CaptureFixture[str]) -> None:
    goals.begin_goals({})

    code = goals.orchestrate(GOAL, "--yes", "--no-wait")

    said = events(capsys)
    assert code == 0, said
    end = said["orchestration"]
    assert (end["state"], end["met"], end["tasks"], end["done"]) == ("done", True, 3, 3)
    assert len(points(end)) == 6
    assert all(points(end).values())
    assert set(goals.statuses().values()) == {"done"}
    assert set(goals.git("ls-tree", "--name-only", "main").split()) == {".gitignore", "say.txt", "build.txt"}
    workers = {one["task_id"]: one for one in goals.sql("SELECT * FROM workers ORDER BY seq")}
    assert set(workers) == {"trial", "O-1", "O-1.say", "O-1.build", "O-1.look"}
    assert workers["O-1.look"]["provider"] != workers["O-1.build"]["provider"]
    spent = sum(one["cost_usd"] for name, one in workers.items() if name != "trial")
    assert end["cost_usd"] == pytest.approx(spent, abs=1e-4)
    assert said["planned"]["shares"] == [
        {"part": "design", "percent": 45, "aimed": "40-50 %"},
        {"part": "implementation", "percent": 40, "aimed": "40-50 %"},
        {"part": "review", "percent": 15, "aimed": "10-20 %"},
    ]


def test_a_dry_run_begins_nothing_and_is_gone_on_with(goals: Goals, capsys: pytest.CaptureFixture[str]) -> None:
    goals.begin_goals({})

    assert goals.orchestrate(GOAL, "--dry-run") == 0
    assert goals.statuses() == {}
    assert goals.goal()["state"] == "planned"
    assert [one["id"] for one in events(capsys)["planned"]["plan"]] == ["say", "build", "look"]
    assert goals.orchestrate("--resume", "--yes", "--no-wait") == 0

    assert goals.goal()["state"] == "done"
    assert len(goals.sql("SELECT 1 FROM workers WHERE task_id = 'O-1'")) == 1, "it was planned once"


def test_what_is_not_reached_is_named_and_the_exit_code_is_one(
    goals: Goals, capsys: pytest.CaptureFixture[str]
) -> None:
    goals.begin_goals({"O-1.build": [[{"call": "fail_task", "with": {"error": "no way", "retry": False}}]]})

    code = goals.orchestrate(GOAL, "--yes", "--no-wait")

    end = events(capsys)["orchestration"]
    assert (code, end["met"], end["state"]) == (1, False, "running")
    missed = {one["point"]: one["found"] for one in end["points"] if not one["met"]}
    assert missed["Every task is done"] == "1 of 3: O-1.build is failed, O-1.look is pending"
    assert "O-1.build: It is built" in missed["Each criterion has evidence"]
    assert missed["Somebody else looked at the work"] == "by nobody"


def test_work_without_evidence_or_commands_is_not_done(goals: Goals, capsys: pytest.CaptureFixture[str]) -> None:
    goals.begin_goals({"O-1.build": [works("build", evidence=("Seen",))]}, project={"verify": []})
    plan = json.loads((goals.folder / "plan.json").read_text())
    tasks = [{**one, "verify": ["true"]} for one in TASKS]
    plan["scripts"]["plan-O-1"] = [answers({**PLAN, "tasks": tasks})]
    (goals.folder / "plan.json").write_text(json.dumps(plan))

    assert goals.orchestrate(GOAL, "--yes", "--no-wait") == 1

    missed = {one["point"]: one["found"] for one in events(capsys)["orchestration"]["points"] if not one["met"]}
    assert missed == {
        "Each criterion has evidence": "3 of 4: O-1.build: It is tested",
        "What landed was verified by commands": "0 of 2: O-1.say was not, O-1.build was not",
    }


def test_a_yes_lets_no_new_command_run(goals: Goals, capsys: pytest.CaptureFixture[str]) -> None:
    trap = goals.folder / "sprung"
    tasks = [{**one, "verify": [f"touch {trap}"]} for one in TASKS]
    goals.begin_goals({"plan-O-1": [answers({**PLAN, "tasks": tasks})]})

    assert goals.orchestrate(GOAL, "--yes", "--no-wait") == 0

    assert events(capsys)["planned"]["new_commands"] == [f"{one['id']}: touch {trap}" for one in TASKS]
    assert not trap.exists()


def test_a_plan_that_cannot_be_read_is_mended_once_and_shares_are_asked_for_once(goals: Goals) -> None:
    uneven = {**PLAN, "tasks": [{**TASKS[0], "complexity": 1}, *TASKS[1:]]}
    circle = {**PLAN, "tasks": [{**TASKS[0], "depends_on": ["look"]}, *TASKS[1:]]}
    goals.begin_goals({"plan-O-1": [answers(circle, uneven, PLAN)]})

    assert goals.orchestrate(GOAL, "--dry-run") == 0

    assert json.loads(goals.goal()["plan"])["tasks"][0]["complexity"] == 9


def test_shares_outside_what_is_aimed_at_refuse_nothing(goals: Goals, capsys: pytest.CaptureFixture[str]) -> None:
    uneven = {**PLAN, "tasks": [{**TASKS[0], "complexity": 1}, *TASKS[1:]]}
    goals.begin_goals({"plan-O-1": [answers(uneven, "I will not.")]})

    assert goals.orchestrate(GOAL, "--dry-run") == 0

    assert events(capsys)["planned"]["shares"][0] == {"part": "design", "percent": 8, "aimed": "40-50 %"}


def test_a_program_whose_turn_fails_takes_no_part(goals: Goals, capsys: pytest.CaptureFixture[str]) -> None:
    goals.begin_goals({"trial-scripted": [answers("Hello.", "Hello?")]})

    assert goals.orchestrate(GOAL, "--yes", "--no-wait") == 0

    said = events(capsys)
    assert said["planned"]["missing"] == {"scripted": "There is no JSON object in the answer."}
    assert said["planned"]["tier"] == 5
    workers = goals.sql("SELECT DISTINCT provider FROM workers WHERE task_id LIKE 'O-1%'")
    assert workers == [{"provider": "second"}]
    looked = [
        one["found"] for one in said["orchestration"]["points"] if one["point"] == "Somebody else looked at the work"
    ]
    assert looked == ["by second, which wrote it too: no other program took part"]


def test_another_plans_where_the_first_cannot(goals: Goals) -> None:
    goals.begin_goals({"plan-O-1": [answers("no", "no"), answers(PLAN)]})
    # Each answering program begins with the first attempt: both fail here, and the goal stays as it is.
    assert goals.orchestrate(GOAL, "--dry-run") == 1

    assert goals.goal()["state"] == "planning"
    asked = goals.sql("SELECT provider, outcome FROM workers WHERE task_id = 'O-1' ORDER BY seq")
    assert [one["provider"] for one in asked] == ["scripted", "second"]


def test_nobody_here_is_said_with_the_reasons(goals: Goals, capsys: pytest.CaptureFixture[str]) -> None:
    goals.begin_goals({f"trial-{one}": [answers("?", "?")] for one in ("scripted", "second")})

    assert goals.orchestrate(GOAL, "--yes") == 1

    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert error["code"] == "not_configured"
    assert "orchestrate --resume O-1" in error["hint"]


def test_providers_that_are_turned_off_are_not_called_absent(goals: Goals, capsys: pytest.CaptureFixture[str]) -> None:
    goals.begin_goals({})
    file = goals.root / "state/providers.yaml"
    file.write_text(file.read_text().replace("    kind: openai\n", "    kind: openai\n    enabled: false\n"))

    assert goals.orchestrate(GOAL, "--yes") == 1

    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert "turned off" in error["message"]
    assert "wvo-mcp doctor" in error["hint"]


def test_the_branch_of_a_goal_does_not_change(goals: Goals, capsys: pytest.CaptureFixture[str]) -> None:
    goals.begin_goals({})
    goals.git("branch", "beta")
    assert goals.orchestrate(GOAL, "--dry-run") == 0

    assert goals.orchestrate("--resume", "--yes", "--no-wait", "--target", "beta") == 1

    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert (error["code"], error["details"]["field"]) == ("invalid_input", "target")
    assert goals.goal()["state"] == "planned"


def test_the_branch_that_was_asked_for_gets_the_work(goals: Goals, capsys: pytest.CaptureFixture[str]) -> None:
    goals.begin_goals({})
    goals.git("branch", "beta")

    assert goals.orchestrate(GOAL, "--yes", "--target", "gone") == 1
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["error"]["details"]["field"] == "target"
    assert goals.orchestrate(GOAL, "--yes", "--no-wait", "--target", "beta") == 0

    assert "build.txt" in goals.git("ls-tree", "--name-only", "beta").split()
    assert "build.txt" not in goals.git("ls-tree", "--name-only", "main").split()


def test_the_whole_goal_has_one_cap(goals: Goals, capsys: pytest.CaptureFixture[str]) -> None:
    goals.begin_goals({"plan-O-1": [[{"use": {"in": 9_000_000, "out": 1_000_000}}, *answers(PLAN)[1:]]]})
    assert goals.orchestrate(GOAL, "--dry-run") == 0
    spent = goals.sql("SELECT sum(cost_usd) AS cost FROM workers WHERE task_id = 'O-1'")[0]["cost"]

    assert goals.orchestrate("--resume", "--yes", "--max-cost", f"{spent / 2:.8f}") == 1

    assert json.loads(capsys.readouterr().out.splitlines()[-1])["error"]["code"] == "budget_exhausted"


@pytest.mark.parametrize("strike", STRIKES)
def test_a_killed_run_goes_on_from_where_it_was(goals: Goals, strike: int) -> None:
    goals.begin_goals({})
    first = goals.process(strike, GOAL, "--yes", "--no-wait")
    assert first.returncode in (-9, 0), first.stderr
    if first.returncode == 0:
        return

    begun = goals.sql("SELECT 1 FROM orchestrations")
    again = goals.process(0, *(["--resume"] if begun else [GOAL]), "--yes", "--no-wait")

    assert again.returncode == 0, again.stdout + again.stderr
    assert goals.goal()["state"] == "done"
    assert goals.completions() == {"O-1.say": 1, "O-1.build": 1, "O-1.look": 1}
    assert "build.txt" in goals.git("ls-tree", "--name-only", "main").split()
