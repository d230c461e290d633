"""A repository with commits that are to land in it; real git, no store."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.yard import git
from wvo_mcp.domain.rules import MergeMode, MergePolicy
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.ports.merging import Landing

PAT = ("-c", "user.name=Pat", "-c", "user.email=pat@example.org")
MADE = datetime(2026, 11, 20, 10, tzinfo=UTC)


class Field:
    """`root` is the person's checkout of main."""

    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        root.mkdir(parents=True)
        self.git("init", "-q", "-b", "main", *options)
        self.first = self.saved({"code.py": "a = 1\nb = 1\nc = 1\nd = 1\n"})

    @property
    def common(self) -> Common:
        found = Common.of(self.root)
        assert found is not None
        return found

    def git(self, *arguments: str, check: bool = True) -> str:
        return git(self.root, *arguments, check=check)

    def write(self, files: dict[str, str | bytes | None]) -> None:
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)

    def saved(self, files: dict[str, str | bytes | None], message: str = "change") -> str:
        """The person commits this on what is checked out."""
        self.write(files)
        self.git("add", "-A")
        self.git(*PAT, "commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def work(self, *changes: dict[str, str | bytes | None], base: str | None = None) -> str:
        """Commits on the side that start at `base`; the last one. The checkout is as before."""
        self.git("checkout", "-q", "--detach", base or self.first)
        for number, files in enumerate(changes):
            self.saved(files, f"work {number}")
        commit = self.git("rev-parse", "HEAD")
        self.git("checkout", "-q", "main")
        return commit

    def show(self, commit: str, name: str) -> str:
        return git(self.root, "show", f"{commit}:{name}")

    def landing(self, commit: str, task_id: str = "T1", base: str | None = None, **more: Any) -> Landing:
        given: dict[str, Any] = {"policy": MergePolicy.REBASE, "mode": MergeMode.LOCAL, "target": "main"} | more
        return Landing(
            entry_id=f"m-{task_id}", task_id=task_id, title=f"Do {task_id}", commit=commit, base=base or self.first,
            number=1, made_at=MADE, **given,
        )  # fmt: skip


@pytest.fixture
def field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Field:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return Field(tmp_path / "shop")
