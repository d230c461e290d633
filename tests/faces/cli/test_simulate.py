"""`wvo-mcp simulate` as people call it."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.faces.cli.shell import REPOSITORY, Shell

EXAMPLE = str(REPOSITORY / "examples" / "roadmap.yaml")
AT = ("--start", "2026-11-01T00:00:00Z")


@pytest.mark.requirement("SCHED-5")
def test_policies_are_compared_and_the_workspace_stays_as_it_is(shell: Shell) -> None:
    before = sorted(path.relative_to(shell.root) for path in shell.root.rglob("*"))
    asked = ("simulate", EXAMPLE, "--agents", "4", "--policy", "wsjf", "--policy", "fifo", *AT)

    found = shell(*asked).json
    again = shell(*asked).json

    assert found == again
    assert [one["order"] for one in found["policies"]] == ["wsjf", "fifo"]
    assert all(one["done"] == one["tasks"] == 65 for one in found["policies"])
    assert found["policies"][0]["makespan_hours"] != found["policies"][1]["makespan_hours"]
    assert found["durations"].startswith("assumed, --learn counts the done tasks;")
    assert sorted(path.relative_to(shell.root) for path in shell.root.rglob("*")) == before


@pytest.mark.requirement("SCHED-5")
def test_a_drawing_shows_each_policy_and_a_pool_says_who_can_do_what(shell: Shell) -> None:
    (shell.root / "pool.yaml").write_text("- {id: gpu, capabilities: [gpu], speed: 2}\n- {id: crew, count: 2}\n")
    plot = shell.root / "plan.svg"

    found = shell(
        *(
            "simulate",
            EXAMPLE,
            "--pool",
            str(shell.root / "pool.yaml"),
            "--policy",
            "wsjf",
            "--policy",
            "critical-path",
        ),
        *("--plot", str(plot), *AT),
    ).json

    assert found["policies"][0]["agents"] == 3
    drawn = ElementTree.parse(plot).getroot()  # noqa: S314 - our own
    texts = [element.text or "" for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert all(any(order in text for text in texts) for order in ("wsjf", "critical-path"))
    assert sum("\u2588\u2588" in text for text in texts) >= 4
    assert "url(" not in plot.read_text().replace("url(#", "")


@pytest.mark.requirement("SCHED-5")
def test_what_the_store_holds_is_worked_through_with_durations_that_were_seen(shell: Shell) -> None:
    for number in range(4):
        assert shell("create-tasks", "--tasks", f'[{{"id": "T{number}", "title": "Do it"}}]').code == 0
    assert shell("claim-task", "T0").code == 0
    assert shell("complete-task", "T0", "--summary", "done").code == 0
    assert shell("claim-task", "T1").code == 0

    found = shell("simulate", "--from-store", "--agents", "1", "--failures", "0", "--deaths", "0", *AT).json

    assert found["policies"][0]["done"] == 3
    assert found["durations"].startswith("learned from 1 done tasks")
    assert shell("get-task", "T1").json["task"]["status"] == "in_progress"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (("--plot", "plan.png"), "plot"),
        (("--start", "soon"), "start"),
        (("--pool", "no.yaml"), "pool"),
        (("--pool", "wrong.yaml"), "pool[1].speed"),
    ],
)
def test_what_cannot_be_done_names_the_field(shell: Shell, given: tuple[str, ...], field: str) -> None:
    (shell.root / "wrong.yaml").write_text("- {id: a}\n- {id: b, speed: 0}\n")
    path = tuple(str(shell.root / word) if word.endswith(".yaml") else word for word in given)

    assert shell("simulate", EXAMPLE, *path).error["details"]["field"] == field


@pytest.mark.parametrize("option", ["failures", "deaths", "away"])
def test_what_is_not_a_number_is_refused(shell: Shell, option: str) -> None:
    refused = shell("simulate", EXAMPLE, f"--{option}", "nan").error

    assert refused["details"]["field"] == option and "must be a finite number" in refused["message"]


def test_a_roadmap_with_a_mistake_names_the_line(shell: Shell, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("epics:\n  - id: E1\n    title: One\n    tasks:\n      - {id: T1, title: A, depends_on: [T9]}\n")

    assert "broken.yaml:5" in shell("simulate", str(broken)).error["message"]


def test_people_see_a_table(shell: Shell) -> None:
    shown = shell.on_terminal("simulate", EXAMPLE, "--agents", "3", "--policy", "wsjf", "--policy", "fifo", *AT).text

    assert "65 tasks, 3 agents, seed 1" in shown
    assert "tasks left" in shown
    assert "m-launch" in shown
    assert "nothing was written" in shown


@pytest.mark.requirement("SCHED-5")
def test_orders_are_compared_over_seeds_with_intervals_and_how_often_each_was_better(shell: Shell) -> None:
    asked = ("simulate", EXAMPLE, "--agents", "2", "--seeds", "2", "--seed", "5", *AT)

    found = shell(*asked).json
    single = shell("simulate", EXAMPLE, "--agents", "2", "--seed", "6", "--policy", "fifo", *AT).json["policies"][0]

    assert (found["tasks"], found["agents"], found["first_seed"], found["seeds"]) == (65, 2, 5, 2)
    assert [one["order"] for one in found["policies"]] == ["fifo", "wsjf", "critical-path"]
    fifo, wsjf = (one["cost_of_delay"] for one in found["policies"][:2])
    assert fifo["difference_percent"] is None and wsjf["difference_percent"]["margin"] > 0
    assert abs(fifo["value"]["mean"] - single["cost_of_delay"]) < 3 * fifo["value"]["margin"]
    assert wsjf["better"] <= 2 and sum(one["makespan_hours"]["best"] for one in found["policies"]) >= 2


@pytest.mark.requirement("SCHED-1", "SCHED-5")
def test_on_the_example_the_ranking_beats_first_come_first_served(shell: Shell) -> None:
    orders = ("--policy", "fifo", "--policy", "wsjf")

    found = shell("simulate", EXAMPLE, "--agents", "2", "--seeds", "5", *orders, *AT).json

    cost = found["policies"][1]["cost_of_delay"]
    assert cost["better"] == 5
    assert cost["difference_percent"]["mean"] < -5


def test_people_see_the_comparison_and_when_it_was_cut_short(shell: Shell) -> None:
    orders = ("--policy", "critical-path", "--policy", "fifo")
    shown = shell.on_terminal(
        "simulate", EXAMPLE, "--agents", "3", "--seeds", "9", "--time-limit", "0", *orders, *AT
    ).text

    assert "65 tasks, 3 agents, 2 seeds (1 to 2)" in shown
    assert "against critical-path" in shown
    assert "of 2" in shown and "stopped after 2 of 9 seeds" in shown


def test_a_chart_of_several_seeds_is_refused(shell: Shell) -> None:
    refused = shell("simulate", EXAMPLE, "--seeds", "2", "--plot", "plan.svg")

    assert refused.code == 2 and "a chart shows one seed" in refused.err


def test_a_plan_without_tasks_is_drawn_as_well(shell: Shell) -> None:
    (shell.root / "empty.yaml").write_text("epics: []\n")

    assert shell("simulate", "empty.yaml", "--plot", "plan.svg", *AT).json["policies"][0]["tasks"] == 0
    assert ElementTree.parse(shell.root / "plan.svg") is not None  # noqa: S314 - our own
