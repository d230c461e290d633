"""What the merge queue costs besides the verification: a landing in a large repository, the prediction of conflicts, and a
snapshot there; each beside plain git doing the least that does the same."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.places import run_git as _git
from wvo_mcp.domain.rules import MergeMode, MergePolicy
from wvo_mcp.execution.merging.building import built
from wvo_mcp.execution.merging.landing import landed_here
from wvo_mcp.execution.merging.predicting import predicted
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.ports.merging import Landing

_FILES, _FEW = 25_000, 500
_WAITING = 20
_MADE = datetime(2026, 11, 20, 10, tzinfo=UTC)
_SETTLED_SECONDS = 4.0


def measure(report: Report, *, quick: bool) -> None:
    """In a repository of 25,000 files whose target is checked out; 20 submissions of three files each, a fifth of them in the
    same one."""
    files = _FEW if quick else _FILES
    with TemporaryDirectory(prefix="wvo-bench-") as folder:
        root = Path(folder).resolve() / "shop"
        _repository(root, files)
        common = _of(root)
        first = common.commit_of("HEAD") or ""
        commits = [_submission(root, first, number) for number in range(_WAITING)]
        landings = [_landing(number, commit, first) for number, commit in enumerate(commits)]
        time.sleep(_SETTLED_SECONDS)  # files of the same second are read each time, by git and by us
        _git(root, "status", "--porcelain")
        taken = [_timed(lambda one=one: _land(common, one)) for one in landings if _alone(one)]
        report.add(
            Figure(
                f"landing without its verification, {files:,} files",
                "ms",
                median(taken),
                floors=[Floor("git merge --ff-only", _plain_merges(root, files))],
                targets=[Target(1_000)],
                samples=len(taken),
            )
        )
        tip = common.commit_of("refs/heads/main") or ""
        times = 1 if quick else 3
        report.add(
            Figure(
                f"prediction of {_WAITING} submissions pairwise, {files:,} files",
                "ms",
                median(_timed(lambda: predicted(common, tip, landings)) for _ in range(times)),
                floors=[Floor("git merge-tree, once a pair", _plain_pairs(root, commits))],
                targets=[Target(5_000)],
                samples=times,
            )
        )


def _of(root: Path) -> Common:
    common = Common.of(root)
    assert common is not None
    return common


def _alone(landing: Landing) -> bool:
    return int(landing.task_id) % 5 != 0


def _repository(root: Path, files: int) -> None:
    for number in range(files):
        file = root / f"pkg{number % 250}" / f"file{number // 250}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"value = {number}\n" * 20)
    _git(root, "init", "-q", "-b", "main")
    _git(root, "config", "user.name", "Bench")
    _git(root, "config", "user.email", "bench@example.org")
    _git(root, "add", "-A")
    _git(root, "commit", "-q", "-m", "begin")


def _submission(root: Path, base: str, number: int) -> str:
    """A commit of three files, made without a worktree; each fifth changes the same line."""
    index = {"GIT_INDEX_FILE": str(root / ".git" / "bench-index")}
    _git(root, "read-tree", base, env=index)
    shared = "pkg0/file0.py" if number % 5 == 0 else f"pkg{number + 100}/file0.py"
    for name in (f"new/{number}.py", f"pkg{number}/new.py", shared):
        blob = _git(root, "hash-object", "-w", "--stdin", content=f"value = {number}\n")
        _git(root, "update-index", "--add", "--cacheinfo", f"100644,{blob},{name}", env=index)
    tree = _git(root, "write-tree", env=index)
    return _git(root, "commit-tree", "-p", base, "-m", f"work {number}", tree)


def _landing(number: int, commit: str, base: str) -> Landing:
    return Landing(
        entry_id=f"m-{number}",
        task_id=str(number),
        title=f"Do {number}",
        target="main",
        commit=commit,
        base=base,
        number=1,
        made_at=_MADE,
        policy=MergePolicy.REBASE,
        mode=MergeMode.LOCAL,
    )


def _land(common: Common, landing: Landing) -> None:
    tip = common.commit_of("refs/heads/main") or ""
    landed_here(common, "main", built(common, landing, tip), "bench")


def _plain_merges(root: Path, files: int) -> float:
    """git moves a checkout by such commits, one after the other."""
    at = _git(root, "rev-parse", "main")
    taken: list[float] = []
    for number in range(5):
        at = _submission(root, at, files + number)
        taken.append(_timed(lambda to=at: _git(root, "merge", "--ff-only", "-q", to)))
    return median(taken)


def _plain_pairs(root: Path, commits: list[str]) -> float:
    pairs = [(one, other) for place, one in enumerate(commits) for other in commits[place + 1 :]][:20]
    each = median(
        _timed(lambda pair=pair: _git(root, "merge-tree", "--write-tree", *pair, check=False)) for pair in pairs
    )
    return each * len(commits) * (len(commits) - 1) / 2


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1_000
