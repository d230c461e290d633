"""A goal is planned, done, reviewed, mended and landed by the real programs; and who does what when some are missing."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.clients.autopilots import NAMES, VENDORS, Project, doing
from tests.clients.models.script import Refuse, Say, Step
from tests.clients.programs import why_missing
from tests.support.scale import sampled

pytestmark = [pytest.mark.clients, pytest.mark.long, pytest.mark.requirement("WORK-4")]
GOAL = "A shop that says what it sells"
TASKS: list[dict[str, Any]] = [
    {"id": "say", "title": "Say how", "part": "design", "complexity": 9, "files": ["say.txt"], "acceptance": ["Said"]},
    {
        "id": "build", "title": "Build it", "part": "implementation", "complexity": 8, "files": ["build.txt"],
        "depends_on": ["say"], "acceptance": ["Built"],
    },
    {"id": "look", "title": "Look at it", "part": "review", "complexity": 3, "depends_on": ["build"], "acceptance": ["Read"]},
]  # fmt: skip
PLAN = json.dumps({"summary": "Say how, build it, look at it.", "tasks": TASKS})
OF_SAY, OF_BUILD, OF_LOOK = (f"of the task O-1.{one}, which" for one in ("say", "build", "look"))
MISSING_WORD = "a word is missing"


class GoalProject(Project):
    """`gone`: vendors whose programs are not there."""

    def __init__(self, place: Path, gone: Sequence[str] = (), rules: str = "") -> None:
        self._gone = gone
        self._rules = rules
        super().__init__(place, {}, reviewers=VENDORS)
        for vendor in VENDORS:
            self.scripts[vendor] |= {f"# trial-{vendor}: ": [Say('{"ready": true}')], "# plan-O-1: ": [Say(PLAN)]}

    def does(self, vendor: str, task: str, command: str) -> None:
        self.scripts[vendor][f"# O-1.{task}: "] = doing(vendor, f"O-1.{task}", command)

    def first(self, vendor: str, steps: Mapping[str, Sequence[Step]]) -> None:
        """What is looked for before all else, in this order."""
        known = {name: list(said) for name, said in steps.items()}
        others = {name: said for name, said in self.scripts[vendor].items() if name not in known}
        self.scripts[vendor].clear()
        self.scripts[vendor] |= {**known, **others}

    def orchestrate(self, *words: str, deadline: float = 300.0, code: int = 0) -> tuple[dict[str, dict[str, Any]], str]:
        """The last of each event, and all of it."""
        done = self.ran("orchestrate", "--json", *words, deadline=deadline)
        assert done.exit_code == code, done.report()
        return {one["event"]: one for one in map(json.loads, done.stdout.splitlines())}, done.report()

    def _roadmap(self) -> str:
        return f"project: {{verify: [test -f README.md], target: main{self._rules}}}\nepics: []\n"

    def _providers(self) -> str:
        lines = ["mode: cloud", "providers:"]
        for vendor in VENDORS:
            model = f"{{model: {NAMES[vendor]}, cost: {{input: 3, output: 15}}}}"
            lines += [f"  {vendor}:", f"    kind: {vendor}"]
            lines += [f"    command: [{self.root}/no-such-program]"] if vendor in self._gone else []
            lines += ["    tiers:", *(f"      {tier}: {model}" for tier in ("low", "medium", "high"))]
        return "\n".join(lines) + "\n"


@pytest.fixture(autouse=True)
def _programs() -> None:
    for vendor in VENDORS:
        if reason := why_missing(vendor):
            pytest.fail(reason)


def verdict(verdict: str, *problems: str) -> Say:
    issues = [{"path": "build.txt", "line": 1, "problem": one} for one in problems]
    return Say(json.dumps({"verdict": verdict, "summary": "It was read.", "issues": issues}))


@pytest.mark.requirement("REV-1", "REV-2", "REV-4")
def test_a_goal_is_planned_built_reviewed_with_a_concern_mended_approved_and_landed(tmp_path: Path) -> None:
    with GoalProject(tmp_path, rules=", review: required") as project:
        project.does("gemini", "say", "echo said > say.txt")
        project.does("claude", "build", "echo built > build.txt")
        project.does("codex", "look", "cat build.txt")
        whole, fine = "built, whole", [verdict("approved")]
        first = [verdict("concerns", MISSING_WORD)]
        mends = doing("claude", "O-1.build", f"echo '{whole}' > build.txt")
        project.first("claude", {MISSING_WORD: mends, OF_SAY: fine, OF_LOOK: fine})
        project.first("codex", {whole: fine, OF_BUILD: first, OF_SAY: fine})
        project.first("codex", {"# O-1.look: ": project.scripts["codex"]["# O-1.look: "]})
        project.first("gemini", {OF_BUILD: fine, OF_LOOK: fine})

        said, report = project.orchestrate(GOAL, "--yes", "--no-wait")

        end = said["orchestration"]
        assert end["met"], report
        assert (end["state"], end["tier"], end["done"]) == ("done", 1, 3)
        assert said["planned"]["crew"] == {"design": "gemini", "implementation": "claude", "review": "codex"}
        by = dict(project.rows("SELECT task_id, provider FROM workers WHERE review_id IS NULL"))
        assert by == {"O-1.say": "gemini", "O-1.build": "claude", "O-1.look": "codex"}
        assert project.rows("SELECT provider FROM workers WHERE task_id = 'O-1'") == [("gemini",)]
        rounds = project.rows(
            "SELECT provider, verdict, decision FROM reviews WHERE task_id = 'O-1.build' ORDER BY seq"
        )
        assert [one for one in rounds if one[1] == "concerns"] == [("codex", "concerns", "warn")]
        assert {one[0] for one in rounds} == {"codex", "gemini"}
        assert project.git("show", "main:build.txt") == "built, whole\n"
        assert any("concerns" in one for one in end["decisions"])
        assert end["cost_usd"] > 0
        assert project.processes() == []


CASES = [
    ("codex", 2, {"design": "gemini", "implementation": "claude", "review": "gemini"}),
    ("gemini", 3, {"design": "claude", "implementation": "claude", "review": "codex"}),
    ("claude", 4, {"design": "gemini", "implementation": "codex", "review": "gemini"}),
]


@pytest.mark.parametrize("case", sampled(range(len(CASES)), 3))
def test_a_goal_is_planned_by_who_is_there_when_a_program_is_not(tmp_path: Path, case: int) -> None:
    missing, tier, crew = CASES[case]
    with GoalProject(tmp_path, [missing]) as project:
        said, _ = project.orchestrate(GOAL, "--dry-run")

        assert (said["planned"]["tier"], said["planned"]["crew"]) == (tier, crew)
        assert [*said["planned"]["missing"]] == [missing]
        assert project.rows("SELECT provider FROM workers WHERE task_id = 'O-1'") == [(crew["design"],)]
        assert project.models[missing].requests == []


def test_one_program_does_all_when_one_has_no_login_and_the_turn_of_another_fails(tmp_path: Path) -> None:
    with GoalProject(tmp_path) as project:
        project.besides["GEMINI_API_KEY"] = ""
        refused = Refuse(401, "authentication_error", "invalid x-api-key", times=50)
        project.scripts["claude"]["# trial-claude: "] = [refused]
        for task, command in (
            ("say", "echo said > say.txt"),
            ("build", "echo built > build.txt"),
            ("look", "cat build.txt"),
        ):
            project.does("codex", task, command)

        said, report = project.orchestrate(GOAL, "--yes", "--no-wait")

        assert said["orchestration"]["met"], report
        assert said["planned"]["tier"] == 5
        assert set(said["planned"]["missing"]) == {"claude", "gemini"}
        assert set(project.rows("SELECT provider FROM workers WHERE task_id LIKE 'O-1%'")) == {("codex",)}
        looked = [one["found"] for one in said["orchestration"]["points"] if "looked" in one["point"]]
        assert looked == ["by codex, which wrote it too: no other program took part"]
        assert project.processes() == []
