"""`doctor` names what was left in a repository, and how to mend it; it changes nothing."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.yard import digests
from wvo_mcp.domain.finding import Finding, Outcome
from wvo_mcp.execution.workspaces.left_over import left_over

pytestmark = pytest.mark.requirement("WS-1")


@pytest.fixture
def root(tmp_path: Path, home: Path, origin: Path) -> Path:
    shutil.copytree(origin, tmp_path / "shop", symlinks=True)
    return tmp_path / "shop"


def looked(root: Path) -> list[Finding]:
    """The store knows T1."""

    def known(ids: Iterable[str]) -> set[str]:
        return set(ids) & {"T1"}

    before = digests(root)
    found = left_over(root, root / "state/worktrees", known)
    assert digests(root) == before
    return found


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


def test_nothing_is_left(root: Path, tmp_path: Path) -> None:
    for name in ("T1", "T1.2"):
        git(root, "worktree", "add", "-q", "-b", f"wvo/{name}", f"state/worktrees/{name}")
    git(root, "worktree", "add", "-q", "--detach", str(tmp_path / "own"))
    (root / ".git/index.lock").touch()
    (found,) = looked(root)
    assert found.outcome is Outcome.OK
    assert left_over(tmp_path, tmp_path, set) == []


def test_worktrees_branches_and_locks_are_named_with_what_mends_them(root: Path) -> None:
    for name in ("T1", "gone", "strange"):
        git(root, "worktree", "add", "-q", "-b", f"wvo/{name}", f"state/worktrees/{name}")
    git(root, "branch", "wvo/free")
    shutil.rmtree(root / "state/worktrees/gone")
    for lock in (".git/index.lock", ".git/refs/heads/main.lock", ".git/worktrees/T1/HEAD.lock"):
        (root / lock).touch()
        os.utime(root / lock, (0, 0))

    gone, strange, branches, locks = looked(root)

    assert {one.outcome for one in (gone, strange, branches, locks)} == {Outcome.WARN}
    assert gone.found.endswith("state/worktrees/gone")
    assert gone.remedy == f"git -C {root} worktree prune"
    assert strange.found.endswith("state/worktrees/strange")
    assert branches.found.endswith("does not know: wvo/free")
    assert all(name in locks.found for name in ("index.lock", "main.lock", "HEAD.lock"))

    git(root, *str(gone.remedy).split()[1:])
    assert all("gone" not in one.found.split(":")[0] for one in looked(root))
