"""What init writes of the rules for workers: into the roadmap, the policy, and the settings of a client."""

import json
from pathlib import Path
from typing import Any

import pytest

from wvo_mcp.execution.installation.changes import Plan
from wvo_mcp.execution.installation.plan import Places, Wishes, plan, removal
from wvo_mcp.execution.roadmap.parse import parse

pytestmark = pytest.mark.requirement("WORK-8")


@pytest.fixture
def places(tmp_path: Path) -> Places:
    root = tmp_path / "project"
    (root / ".git").mkdir(parents=True)
    return Places(root, root / "state", tmp_path / "home" / ".codex")


def install(places: Places, wishes: Wishes) -> Plan:
    planned = plan(places, wishes)
    planned.apply()
    return planned


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_roadmap_says_how_work_is_checked_as_the_project_does_it(places: Places) -> None:
    (places.root / "go.mod").write_text("module x\n")

    planned = install(places, Wishes())

    text = (places.state_dir / "roadmap.yaml").read_text()
    assert parse(text.encode(), "x").checked(set()).project == {
        "setup": "go mod download",
        "verify": ("go vet ./...", "go test ./..."),
    }
    assert planned.accepts == {"setup": "go mod download", "verify": ("go vet ./...", "go test ./...")}
    assert plan(places, Wishes()).accepts == {}, "only what is written now is accepted"
    assert json.loads((places.state_dir / "policy.schema.json").read_text())
    assert removal(places).notes == []


@pytest.mark.parametrize(
    ("lock", "setup"),
    [("pnpm-lock.yaml", "pnpm install --frozen-lockfile"), ("yarn.lock", "yarn install --frozen-lockfile")],
)
def test_a_long_setup_is_written_apart_from_the_comment_after_it(places: Places, lock: str, setup: str) -> None:
    (places.root / "package.json").write_text("{}")
    (places.root / lock).write_text("")

    install(places, Wishes())

    text = (places.state_dir / "roadmap.yaml").read_bytes()
    assert parse(text, "x").checked(set()).project["setup"] == setup


def test_a_roadmap_that_is_there_gets_its_project_before_the_epics(places: Places) -> None:
    (places.root / "go.mod").write_text("module x\n")
    places.state_dir.mkdir()
    path = places.state_dir / "roadmap.yaml"
    path.write_text("# ours\nepics: []\n")

    install(places, Wishes())

    text = path.read_text()
    assert text.startswith("# ours\n# How a task's worktree is prepared")
    assert text.endswith("\n\nepics: []\n")
    assert parse(text.encode(), "x").checked(set()).project["setup"] == "go mod download"
    install(places, Wishes())
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["project: {setup: theirs}\nepics: []\n", "{epics: []}\n"])
def test_a_project_that_people_wrote_is_theirs(places: Places, text: str) -> None:
    (places.root / "go.mod").write_text("module x\n")
    places.state_dir.mkdir()
    (places.state_dir / "roadmap.yaml").write_text(text)

    assert install(places, Wishes()).accepts == {}

    assert (places.state_dir / "roadmap.yaml").read_text() == text


def test_claude_also_gets_the_hook_that_judges_commands(places: Places) -> None:
    install(places, Wishes(claude=True))
    path = places.root / ".claude/settings.json"

    (group,) = read_json(path)["hooks"]["PreToolUse"]

    assert group["hooks"][0]["command"] == "wvo-mcp command-check --hook claude"
    assert "Bash" in group["matcher"].split("|")
    removal(places).apply()
    assert not path.exists()
