"""A repository of a person's own, with a committed roadmap that exports change; real git that knows nobody."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from wvo_mcp.domain.roadmap import RoadmapChanges
from wvo_mcp.execution.roadmap.history import RoadmapCommits
from wvo_mcp.execution.roadmap.source import write_roadmap
from wvo_mcp.ports import Recorded

ROADMAP = """\
# ours
epics:
  - id: E
    title: Epic  # a comment
    tasks:
      - id: T1
        title: One
      - id: T2
        title: Two
"""
PATH = "state/roadmap.yaml"


class Place:
    """A repository with a committed roadmap, and a person who works in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / PATH
        self.history = RoadmapCommits(self.path)
        self.path.parent.mkdir(parents=True)
        self.path.write_text(ROADMAP)
        (root / "code.py").write_text("a = 1\n")

    def begin(self) -> "Place":
        self.git("init", "-q", "-b", "main")
        self.git("add", ".")
        self.person("commit", "-q", "-m", "begin")
        return self

    def git(self, *arguments: str, check: bool = True) -> str:
        ran = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=False)
        assert ran.returncode == 0 or not check, ran.stderr
        return ran.stdout

    def person(self, *arguments: str, check: bool = True) -> str:
        return self.git("-c", "user.name=Pat", "-c", "user.email=pat@example.org", *arguments, check=check)

    async def export(self, **titles: str) -> Recorded:
        """Give tasks of the file another title, as an export does."""
        changes = RoadmapChanges(tasks={task: {"title": title} for task, title in titles.items()})
        write_roadmap(self.path, changes, hashlib.sha256(self.path.read_bytes()).hexdigest())
        return await self.history.record(changes, "Export the roadmap\n\nmore\n")

    def head(self) -> str:
        return self.git("rev-parse", "HEAD").strip()

    def committed(self) -> str:
        return self.git("show", f"HEAD:{PATH}")

    def status(self) -> list[str]:
        return self.git("status", "--porcelain").splitlines()

    def entries(self) -> list[str]:
        """The index, but for the roadmap."""
        return [line for line in self.git("ls-files", "--stage", "-v").splitlines() if not line.endswith(PATH)]


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """git knows nothing of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "work").begin()
