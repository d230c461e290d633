"""`wvo-mcp orchestrate` on a terminal: a person accepts the plan, changes it, leaves it, and decides on its commands."""

import io
import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.app.conftest import alone
from tests.faces.cli.shell import Ran, Terminal
from tests.support.goals import PLAN, TASKS, Goals, answers
from wvo_mcp.domain.plans import Plan
from wvo_mcp.faces.http import listen

pytestmark = pytest.mark.requirement("WORK-4", "DASH-1")
ASKED = "What now?"


@pytest.fixture
def goals(tmp_path: Path) -> Goals:
    return Goals(tmp_path)


def terminal(goals: Goals, *arguments: str, **environ: str) -> Terminal:
    shown = {"COLUMNS": "110", "LINES": "50", "TERM": "xterm-256color", **environ}
    return Terminal(["tests.support.goals", str(goals.folder), "0", *arguments], goals.root, {**goals.environ, **shown})


def answered(screen: Terminal, *pairs: str) -> Ran:
    """To each question in turn, what is typed."""
    for question, answer in zip(pairs[::2], pairs[1::2], strict=True):
        screen.until(lambda seen, question=question: question in seen)
        screen.type(f"{answer}\n")
        screen.seen = ""
    return screen.finish()


def test_a_person_sees_the_plan_its_shares_and_the_end_point_by_point(goals: Goals) -> None:
    goals.begin_goals({})
    with terminal(goals, "An API for prices", "--no-wait", "--verbose") as screen:
        shown = screen.until(lambda seen: ASKED in seen)
        assert "O-1" in shown
        assert "Say how" in shown
        assert "40-50 %" in shown
        assert "Tier 5 of 5" in shown
        assert "acceptance: It is tested" in shown
        end = answered(screen, ASKED, "run")
    assert end.code == 0, end.text
    assert "Done: every point is met." in end.text
    assert "Every task is done" in end.text
    assert goals.goal()["state"] == "done"


def test_on_a_terminal_the_page_comes_with_the_work_and_a_taken_port_is_no_end(goals: Goals) -> None:
    goals.begin_goals({})
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with terminal(goals, "An API for prices", "--no-wait", "--port", str(port)) as screen:
            screen.until(lambda seen: ASKED in seen)
            assert "The page: " not in screen.seen
            end = answered(screen, ASKED, "run")
    assert end.code == 0, end.text
    assert "The page: http://127.0.0.1:" in end.text
    assert f"The page: http://127.0.0.1:{port}" not in end.text
    assert f"Port {port} is taken; the page has another one." in end.text


def test_without_a_dashboard_there_is_no_page(goals: Goals) -> None:
    goals.begin_goals({})
    with terminal(goals, "An API for prices", "--no-wait", "--no-dashboard") as screen:
        end = answered(screen, ASKED, "run")
    assert end.code == 0, end.text
    assert "The page: " not in end.text
    assert goals.process(0, "Another", "--yes", "--no-dashboard", "--port", "0").returncode == 2


def test_who_leaves_the_plan_finds_it_later_and_who_drops_it_does_not(goals: Goals) -> None:
    goals.begin_goals({"plan-O-2": [answers(PLAN)]})
    with terminal(goals, "An API for prices") as screen:
        ended = answered(screen, ASKED, "later")
    assert ended.code == 0
    assert "Nothing was begun. wvo-mcp orchestrate --resume O-1 goes on." in ended.text
    assert (goals.goal()["state"], goals.statuses()) == ("planned", {})
    with terminal(goals, "--resume", "O-1") as screen:
        ended = answered(screen, ASKED, "drop")
    assert ended.code == 0
    assert "O-1 is dropped." in ended.text
    assert "--resume" not in ended.text
    assert (goals.goal()["state"], goals.statuses()) == ("stopped", {})
    with terminal(goals, "--resume", "O-1") as screen:
        ended = screen.finish()
    assert (ended.code, "O-1 is stopped" in ended.text) == (1, True)


def editor(folder: Path, old: str, new: str) -> str:
    script = folder / "edit.py"
    script.write_text(
        "import sys, pathlib\nfile = pathlib.Path(sys.argv[1])\ntext = file.read_text()\n"
        f"assert {old!r} in text\nfile.write_text(text.replace({old!r}, {new!r}))\n"
    )
    return shlex.join([sys.executable, str(script)])


def test_the_plan_is_changed_as_a_roadmap(goals: Goals) -> None:
    goals.begin_goals({})
    with terminal(
        goals, "An API for prices", EDITOR=editor(goals.folder, "title: Say how", "title: Say it well")
    ) as screen:
        ended = answered(screen, ASKED, "edit", ASKED, "later")
    assert ended.code == 0
    assert json.loads(goals.goal()["plan"])["tasks"][0]["title"] == "Say it well"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [("- say", "- look", "can be first"), ("part:review", "part:king", "part"), ("epics:", "epics: [", "not YAML")],
)
def test_a_change_that_cannot_be_used_is_named_and_the_plan_stays(goals: Goals, old: str, new: str, said: str) -> None:
    goals.begin_goals({})
    with terminal(goals, "An API for prices", EDITOR=editor(goals.folder, old, new)) as screen:
        screen.until(lambda seen: ASKED in seen)
        screen.type("edit\n")
        screen.until(lambda seen: seen.count(ASKED) == 2)
        assert said in " ".join(screen.seen.split())
        screen.type("later\n")
        screen.finish()
    assert json.loads(goals.goal()["plan"]) == Plan.model_validate(PLAN).model_dump(mode="json")


@pytest.mark.parametrize("answer", ["y", "n"])
def test_new_commands_run_only_when_a_person_says_so_here(goals: Goals, answer: str) -> None:
    trap = goals.folder / "sprung"
    tasks = [{**one, "verify": [f"touch {trap}"]} for one in TASKS]
    goals.begin_goals({"plan-O-1": [answers({**PLAN, "tasks": tasks})]})
    with terminal(goals, "An API for prices", "--no-wait") as screen:
        end = answered(screen, ASKED, "run", "Let these run", answer)
    assert end.code == 0, end.text
    assert trap.exists() is (answer == "y")


def test_nobody_at_a_terminal_accepts_no_plan_and_no_command(goals: Goals) -> None:
    trap = goals.folder / "sprung"
    tasks = [{**one, "verify": [f"touch {trap}"]} for one in TASKS]
    goals.begin_goals({"plan-O-1": [answers({**PLAN, "tasks": tasks})]})
    assert goals.process(0, "An API for prices", "--dry-run").returncode == 0
    spent = goals.sql("SELECT count(*) AS turns FROM workers")

    for words in (["--resume"], ["--resume", "O-1"]):
        ended = goals.process(0, *words, stdin="run\ny\n")
        assert (ended.returncode, "--yes" in ended.stderr) == (2, True), ended.stdout

    assert goals.goal()["state"] == "planned"
    assert goals.sql("SELECT count(*) AS turns FROM workers") == spent
    assert not trap.exists()


def test_who_interrupts_at_the_question_is_told_how_to_go_on(goals: Goals) -> None:
    goals.begin_goals({})
    with terminal(goals, "An API for prices") as screen:
        screen.until(lambda seen: ASKED in seen)
        screen.until_it_reads()
        screen.interrupt()
        ended = screen.finish()
    assert ended.code == 130
    assert "wvo-mcp orchestrate --resume" in ended.text
    assert goals.goal()["state"] == "planned"


def test_questions_are_no_part_of_the_output_for_programs(
    goals: Goals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    goals.begin_goals({})
    alone(monkeypatch, goals.environ)
    typed = io.StringIO("later\n")
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", typed)

    assert goals.orchestrate("An API for prices") == 0

    said = capsys.readouterr()
    assert [json.loads(line)["event"] for line in said.out.splitlines()][-2:] == ["planned", "notice"]
    assert ASKED in said.err


def test_no_command_hides_from_the_person_who_accepts_it(goals: Goals) -> None:
    tasks = [{**one, "verify": ["true # \x1b[2K\x1b[1A\x1b[8m; touch sprung"]} for one in TASKS]
    goals.begin_goals({"plan-O-1": [answers({**PLAN, "tasks": tasks})]})
    with terminal(goals, "An API for prices", "--verbose") as screen:
        shown = screen.until(lambda seen: ASKED in seen or "error" in seen)
        if ASKED in shown:
            screen.type("run\n")
            shown = screen.until(lambda seen: "Let these run" in seen)
            screen.type("n\n")
        assert "\x1b[8m" not in shown
        assert "\x1b[1A" not in shown


def test_nobody_at_a_terminal_is_told_before_anything_is_spent(goals: Goals) -> None:
    goals.begin_goals({})
    ended = goals.process(0, "An API for prices")
    assert ended.returncode == 2
    assert "--yes" in ended.stderr
    assert not (goals.root / "state/state.db").exists() or goals.sql("SELECT 1 FROM workers") == []


@pytest.mark.parametrize("words", [[], ["--resume", "a goal"], ["O-9", "--resume", "--workspace", "/nonexistent"]])
def test_what_makes_no_sense_is_wrong_usage(goals: Goals, words: list[str]) -> None:
    goals.begin_goals({})
    assert goals.process(0, *words).returncode == 2


@pytest.mark.parametrize("goal", [" ", "x" * 100_000, "a \udc80 b"])
def test_a_goal_that_cannot_be_kept_is_named_before_anything_is_spent(goals: Goals, goal: str) -> None:
    goals.begin_goals({})
    ended = goals.process(0, goal, "--yes")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert json.loads(ended.stdout)["error"]["details"]["field"] == "goal"
    assert goals.sql("SELECT 1 FROM workers") == []
