"""A worktree of a repository, for what is done to its files without a store."""

import shutil
from pathlib import Path

import pytest

from tests.support.yard import digests, git
from wvo_mcp.execution.workspaces import rollback, worktree
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.execution.workspaces.snapshot import Tree

FILES = {"code.py": "a = 1\n", "src/one.py": "one\n", "src/two.py": "two\n", ".gitignore": "*.log\n.env\n"}


class Ground:
    """A worktree of a repository, and what a rollback does to it."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.path = tree.path
        self._kept = 0

    def write(self, name: str, text: str = "new\n") -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=Agent", "-c", "user.email=agent@example.org")
        return git(self.path, *who, *arguments)

    def checkpoint(self) -> str:
        commit = self.tree.commit("checkpoint", everything=True)
        self.keep(commit)
        return commit

    def keep(self, commit: str) -> None:
        self._kept += 1
        self.tree.common.pin(f"refs/wvo/checkpoint/T1/{self._kept}", commit)

    def back(self, to: str, *names: str) -> str:
        """The commit that undoes it."""
        plan = rollback.planned(self.tree, to, names or None)
        before = self.tree.common.committed(plan.before, (self.tree.base,), "before")
        self.keep(before)
        rollback.applied(self.tree, plan, before)
        assert self.refs() == []
        return before

    def refs(self) -> list[str]:
        return [*self.tree.common.refs("refs/wvo/rollback")]

    def files(self) -> dict[str, str]:
        """All that is on disk, with modes."""
        return digests(self.path, [".git"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "shop"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "-q", "-b", "main")
    git(root, "add", "-A")
    git(root, "-c", "user.name=Pat", "-c", "user.email=pat@example.org", "commit", "-q", "-m", "begin")
    return root


@pytest.fixture
def ground(made: Path, tmp_path: Path, home: Path) -> Ground:
    return laid(made, tmp_path)


def laid(made: Path, folder: Path) -> Ground:
    """A worktree of a copy of that repository."""
    root, places = folder / "shop", folder / "places"
    shutil.copytree(made, root)
    common = Common.of(root)
    assert common is not None
    tree = Tree(common, places / "T1", common.commit_of("HEAD") or "", places / ".index" / "ws-1")
    worktree.added(tree, "wvo/T1")
    return Ground(tree)
