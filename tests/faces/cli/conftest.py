"""A shell in a project, for every test of the command line."""

from pathlib import Path

import pytest

from tests.faces.cli.shell import Shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    root, home = tmp_path / "project", tmp_path / "home"
    (root / ".git").mkdir(parents=True)
    (root / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    home.mkdir()
    for name in ("ROOT", "CLAUDE_PROJECT_DIR", "CLAUDE_CODE_SESSION_ID", "CODEX_HOME", "WVO_STATE_DIR", "WVO_TOOLSETS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("WVO_AGENT_ID", "ann")
    monkeypatch.chdir(root)
    return Shell(root, home, monkeypatch, capsys)
