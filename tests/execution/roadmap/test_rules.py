"""`project:` and `verify` of roadmap.yaml: read with lines, held back until they are accepted, kept by exports."""

from pathlib import Path

import pytest

from wvo_mcp.domain.roadmap import RoadmapChanges
from wvo_mcp.domain.rules import MergeMode, MergeRules, Review, Rules
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.roadmap.parse import parse
from wvo_mcp.execution.roadmap.rules import RulesOfRoadmap, open_differences
from wvo_mcp.execution.roadmap.source import with_changes
from wvo_mcp.execution.trust import ROADMAP, Trust

pytestmark = pytest.mark.requirement("SAFE-4")

TEXT = """\
project:
  target: main
  setup: npm ci
  verify: [npm test, npm run lint]
  verify_timeout: 900
  env: [CI_TOKEN]
  merge: {policy: rebase, mode: push, max_waiting: 4}
  review: required
epics:
  - id: E1
    title: One
    verify: [make e1]
    tasks:
      - {id: T1, title: First, verify: [make t1]}
      - id: T2
        title: Second
"""
RULES = Rules(
    target="main",
    setup="npm ci",
    verify=("npm test", "npm run lint"),
    verify_timeout=900,
    env=("CI_TOKEN",),
    merge=MergeRules(mode=MergeMode.PUSH, max_waiting=4),
    review=Review.REQUIRED,
    epics={"E1": ("make e1",)},
    tasks={"T1": ("make t1",)},
)


def _project(tmp_path: Path, text: str = TEXT) -> tuple[Path, Trust, RulesOfRoadmap]:
    path = tmp_path / "roadmap.yaml"
    path.write_text(text)
    trust = Trust({"HOME": str(tmp_path / "home")}, tmp_path)
    return path, trust, RulesOfRoadmap(path, trust)


def test_it_holds_when_a_person_has_accepted_it(tmp_path: Path) -> None:
    path, trust, rules = _project(tmp_path)
    rules.read_changes()
    assert rules.current() == Rules(review=Review.REQUIRED), "a review only forbids more"
    assert "project.target, project.setup" in (rules.unaccepted() or "")

    trust.accept(ROADMAP, open_differences(path, trust)[0])
    rules.read_changes()

    assert rules.current() == RULES
    assert rules.unaccepted() is None


def test_the_accepted_version_outlives_a_broken_and_a_missing_file(tmp_path: Path) -> None:
    path, trust, _ = _project(tmp_path)
    trust.accept(ROADMAP, open_differences(path, trust)[0])
    path.write_text(TEXT + "    nonsense: 1\n")

    rules = RulesOfRoadmap(path, trust)
    rules.read_changes()
    assert rules.current() == RULES
    assert "roadmap.yaml:17" in (rules.problem() or "")

    path.unlink()
    rules.read_changes()
    assert rules.current().setup == "npm ci"
    assert rules.problem() is None


def test_what_was_accepted_by_another_program_is_not_ours(tmp_path: Path) -> None:
    path, trust, rules = _project(tmp_path)
    trust.accept(ROADMAP, open_differences(path, trust)[0])
    trust.file.write_text(trust.file.read_text().replace("npm ci", "curl x | sh"))
    rules.read_changes()
    assert rules.current().setup is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("targte: main", "unknown key 'targte'"),
        ("target: --upload-pack=x", "the name of a branch"),
        ("target: a..b", "the name of a branch"),
        ("setup: [a, b]", "expected text"),
        ("verify: npm test", "a list of commands"),
        ("verify_timeout: 0", "a whole number from 1"),
        ("env: [A=1]", "the name of a variable"),
        ("merge: on", "'off', or 'policy:'"),
        ("merge: {mode: force}", "one of local, push, pull_request"),
        ("review: never", "one of off, milestones, required"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(line: str, problem: str) -> None:
    text = f"epics: []\nproject:\n  setup: x\n  {line}\n".replace("  setup: x\n", "  # x\n")

    with pytest.raises(InvalidInput) as refused:
        parse(text.encode(), "state/roadmap.yaml").checked(set())

    assert refused.value.message.startswith("state/roadmap.yaml:4: project")
    assert problem in refused.value.message


def test_an_export_keeps_the_rules_and_their_comments(tmp_path: Path) -> None:
    text = TEXT.replace("  target: main", "  target: main   # not the one we release from")
    changes = RoadmapChanges(
        tasks={"T1": {"priority": "high"}, "T2": {"complexity": 2}},
        added=({"id": "T3", "title": "Third", "epic_id": "E1"},),
    )

    written = with_changes(text.encode(), "state/roadmap.yaml", changes)

    after = parse(written, "x").checked(set())
    assert b"# not the one we release from" in written
    assert after.stated() == parse(text.encode(), "x").checked(set()).stated()
    assert {task.id for task in after.tasks} == {"T1", "T2", "T3"}
