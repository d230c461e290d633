"""What doctor says of this machine before workers are launched."""

import stat
from pathlib import Path

import pytest

from wvo_mcp.domain.finding import Outcome
from wvo_mcp.execution import worker_checks
from wvo_mcp.execution.roadmap.rules import open_differences
from wvo_mcp.execution.trust import ROADMAP, Trust

pytestmark = pytest.mark.requirement("WORK-5")


def _program(folder: Path, name: str, says: str) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{says}'\n")
    (folder / name).chmod(stat.S_IRWXU)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


@pytest.mark.parametrize(
    ("version", "outcome"),
    [
        ("git version 2.37.4", Outcome.WARN),
        ("git version 2.38.0", Outcome.OK),
        ("git version 3.0", Outcome.OK),
        ("?", Outcome.WARN),
    ],
)
def test_git_must_be_able_to_merge_in_memory(tmp_path: Path, version: str, outcome: Outcome) -> None:
    (tmp_path / ".git").mkdir()

    assert worker_checks.git(tmp_path, _program(tmp_path / "bin", "git", version)).outcome is outcome


def test_without_git_nothing_is_verified_before_it_lands(tmp_path: Path) -> None:
    finding = worker_checks.git(tmp_path, {})

    assert (finding.outcome, "nothing is verified" in finding.found) == (Outcome.WARN, True)


def test_worktrees_need_a_folder_that_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert worker_checks.worktrees(tmp_path / "state" / "worktrees").outcome is Outcome.OK
    assert worker_checks.worktrees(tmp_path / "file" / "worktrees").outcome is Outcome.WARN


def test_work_that_nothing_verifies_is_a_warning_until_a_command_is_accepted(tmp_path: Path) -> None:
    path, trust = tmp_path / "roadmap.yaml", Trust({"HOME": str(tmp_path)}, tmp_path)

    assert [one.check for one in worker_checks.rules(path, trust)] == ["verify"]
    path.write_text("project: {verify: [npm test]}\n")
    assert [one.check for one in worker_checks.rules(path, trust)] == ["rules", "verify"]
    trust.accept(ROADMAP, open_differences(path, trust)[0])
    (accepted,) = worker_checks.rules(path, trust)
    assert (accepted.outcome, accepted.found) == (Outcome.OK, "what workers hand in is checked by npm test")


def test_a_broken_policy_fails_with_its_line_and_one_that_allows_more_waits(tmp_path: Path) -> None:
    path, trust = tmp_path / "policy.yaml", Trust({"HOME": str(tmp_path)}, tmp_path)

    assert worker_checks.policy(path, trust).outcome is Outcome.OK
    path.write_text("commands:\n  alow: [ls]\n")
    broken = worker_checks.policy(path, trust)
    assert (broken.outcome, "policy.yaml:2" in broken.found) == (Outcome.FAIL, True)
    path.write_text("commands:\n  allow: [git push]\n")
    waits = worker_checks.policy(path, trust)
    assert (waits.outcome, waits.remedy) == (Outcome.WARN, "Review it: wvo-mcp trust")


def test_what_a_worker_would_miss_is_a_warning_with_its_remedy(tmp_path: Path) -> None:
    path = tmp_path / "providers.yaml"
    path.write_text("providers: {mine: {kind: codex, tiers: {low: {model: m}}}}\n")

    (finding,) = worker_checks.programs(path, {"PATH": str(tmp_path)}, tmp_path / "logins")

    assert (finding.check, finding.outcome) == ("worker mine", Outcome.WARN)
    assert "not on PATH" in finding.found
    path.write_text("providers: [\n")
    assert worker_checks.programs(path, {}, tmp_path) == []
