"""The providers.yaml of a new project."""

from pathlib import Path

import pytest

from wvo_mcp.execution.installation.plan import Places, Wishes, plan
from wvo_mcp.execution.providers.parse import packaged_text, read

pytestmark = pytest.mark.requirement("PROV-1")


def enabled_with(folder: Path, *programs: str) -> list[str]:
    """Providers that are on after init on a machine with these programs."""
    (folder / "bin").mkdir()
    for name in programs:
        (folder / "bin" / name).write_text("#!/bin/sh\n")
        (folder / "bin" / name).chmod(0o755)
    (folder / "project" / ".git").mkdir(parents=True)
    root = folder / "project"
    places = Places(root, root / "state", folder / ".codex", str(folder / "bin"))
    plan(places, Wishes()).apply()
    assert plan(places, Wishes()).changes == []
    catalogue = read(root / "state" / "providers.yaml")
    assert catalogue is not None
    assert "providers.yaml" not in (root / ".gitignore").read_text()
    return [one.name for one in catalogue.providers if one.enabled]


@pytest.mark.parametrize(
    ("programs", "enabled"),
    [
        (("claude", "codex", "gemini", "ollama"), ["claude", "codex", "gemini", "ollama"]),
        (("codex",), ["codex"]),
        (("gemini", "ollama"), ["gemini", "ollama"]),
        ((), []),
        (("ollama",), ["ollama"]),
    ],
)
def test_what_is_not_on_this_machine_is_turned_off(
    tmp_path: Path, programs: tuple[str, ...], enabled: list[str]
) -> None:
    assert enabled_with(tmp_path, *programs) == enabled


def test_a_file_that_is_there_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "providers.yaml").write_text("broken: [")
    places = Places(tmp_path, tmp_path / "state", tmp_path / ".codex", "")

    plan(places, Wishes()).apply()

    assert (tmp_path / "state" / "providers.yaml").read_text() == "broken: ["


def test_a_state_folder_outside_of_the_project_gets_it_too(tmp_path: Path) -> None:
    places = Places(tmp_path / "project", tmp_path / "elsewhere", tmp_path / ".codex", "")
    (tmp_path / "project").mkdir()

    plan(places, Wishes()).apply()

    text = (tmp_path / "elsewhere" / "providers.yaml").read_text()
    assert text.replace(
        "    enabled: false   # not found on this machine; take this line out when it is there\n", ""
    ) == (packaged_text())
