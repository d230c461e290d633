"""Checks of what people write."""

from collections.abc import Iterable
from pathlib import Path

from wvo_mcp.domain.finding import Outcome
from wvo_mcp.execution import doctor


def none_known(_: Iterable[str]) -> set[str]:
    return set()


def test_a_roadmap_that_parses_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "roadmap.yaml"
    path.write_text("epics:\n  - id: E1\n    title: Shop\n    tasks:\n      - {id: T1, title: Prices}\n")

    finding = doctor.roadmap(path, none_known)

    assert finding.outcome is Outcome.OK
    assert finding.found.startswith("1 tasks")


def test_a_broken_roadmap_fails_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "roadmap.yaml"
    path.write_text("epics:\n  - id: E1\n    title: Shop\n    taks: []\n")

    finding = doctor.roadmap(path, none_known)

    assert finding.outcome is Outcome.FAIL
    assert "4" in finding.found
    assert "taks" in finding.found


def test_criteria_that_commas_may_have_split_are_a_warning_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "roadmap.yaml"
    task = "      - {id: T1, title: Prices, acceptance: [reads 1,000 rows]}\n"
    path.write_text(f"epics:\n  - id: E1\n    title: Shop\n    tasks:\n{task}")

    finding = doctor.roadmap(path, none_known)

    assert finding.outcome is Outcome.WARN
    assert "line 5: epics[0].tasks[0].acceptance has 2 criteria" in finding.found


def test_no_roadmap_is_a_warning(tmp_path: Path) -> None:
    assert doctor.roadmap(tmp_path / "roadmap.yaml", none_known).outcome is Outcome.WARN


def test_directives_are_read(tmp_path: Path) -> None:
    assert doctor.directives(tmp_path).outcome is Outcome.WARN
    (tmp_path / "directives").mkdir()
    (tmp_path / "directives" / "house-rules.md").write_text("# Rules\n")
    finding = doctor.directives(tmp_path)
    assert finding.outcome is Outcome.OK
    assert "house-rules" in finding.found


def test_a_directive_that_cannot_be_read_fails(tmp_path: Path) -> None:
    (tmp_path / "directives").mkdir()
    (tmp_path / "directives" / "broken.md").write_bytes(b"\xff")
    finding = doctor.directives(tmp_path)
    assert finding.outcome is Outcome.FAIL
    assert "broken" in finding.found
