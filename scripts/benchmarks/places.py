"""How long a snapshot of a worktree takes, beside plain git: `add -A`, `write-tree` and `commit-tree` with a private index."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from scripts.benchmarks.figures import Figure, Floor, Report, Target
from wvo_mcp.execution.workspaces import worktree
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.execution.workspaces.snapshot import Tree

_FILES = 2_500
_BYTES = 17_000
_SETTLED_SECONDS = 4.0


def measure(report: Report, *, quick: bool) -> None:
    """In a repository of 2,500 files with 43 MB, of which a worker changed three and added two."""
    with TemporaryDirectory(prefix="wvo-bench-") as folder:
        root = Path(folder) / "shop"
        repository(root)
        common = Common.of(root)
        assert common is not None
        path = Path(folder).resolve() / "T1"
        tree = Tree(common, path, common.commit_of("HEAD") or "", Path(folder) / "index")
        worktree.added(tree, "wvo/T1")
        for number in (1, 2, 3):
            (path / f"pkg{number}" / "file1.py").write_text(f"changed = {number}\n")
        for number in (1, 2):
            (path / f"new{number}.py").write_text("new = True\n")
        time.sleep(_SETTLED_SECONDS)  # files of the same second are read each time, by git and by us
        tree.commit("Snapshot")
        index = Path(folder) / "plain"
        shutil.copy2(tree.index, index)
        run_git(path, "update-index", "-q", "--refresh", env=_named(common, path, index), check=False)
        times = 5 if quick else 25
        report.add(
            Figure(
                "snapshot of a worktree of 2,500 files",
                "ms",
                _median(lambda: tree.commit("Snapshot"), times),
                floors=[Floor("git add, write-tree, commit-tree", _median(lambda: _plain(common, path, index), times))],
                targets=[Target(150)],
                samples=times,
            )
        )


def repository(root: Path) -> None:
    """2,500 files with 43 MB in 50 folders, and one commit."""
    dice = random.Random(1)
    for number in range(_FILES):
        file = root / f"pkg{number % 50}" / f"file{number // 50}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(dice.randbytes(_BYTES // 2).hex().encode())
    run_git(root, "init", "-q", "-b", "main")
    run_git(root, "add", "-A")
    run_git(root, "-c", "user.name=Bench", "-c", "user.email=bench@example.org", "commit", "-q", "-m", "begin")


def _plain(common: Common, path: Path, index: Path) -> None:
    with TemporaryDirectory() as folder:
        named = _named(common, path, Path(shutil.copy2(index, Path(folder) / "index")))
        run_git(path, "add", "-A", env=named)
        tree = run_git(path, "write-tree", env=named)
        run_git(
            path, "-c", "user.name=Bench", "-c", "user.email=b@example.org", "commit-tree", "-m", "x", tree, env=named
        )


def _named(common: Common, path: Path, index: Path) -> dict[str, str]:
    return {"GIT_DIR": str(common.git_dir), "GIT_WORK_TREE": str(path), "GIT_INDEX_FILE": str(index)}


def run_git(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None, content: str = "", check: bool = True
) -> str:
    """What it prints."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **(env or {})}, input=content, check=check,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


def _median(work: Callable[[], object], times: int) -> float:
    taken: list[float] = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        taken.append((time.perf_counter() - begun) * 1_000)
    return median(taken)
