"""What keeping, judging, copying and promoting files costs, beside plain git and `cp` doing the least that does the same."""

import shutil
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import anyio
from anyio import to_thread

from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.places import repository, run_git
from wvo_mcp.domain.policy import SafetyPolicy
from wvo_mcp.execution.workspaces import promoting, shadow, worktree
from wvo_mcp.execution.workspaces.checkpoints import held
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.execution.workspaces.snapshot import Tree
from wvo_mcp.execution.workspaces.validating import Validator, Work

_AT_ONCE = 5
_SETTLED_SECONDS = 4.0


class _Fixed:
    """`ports.safety.Judge` with the policy that holds without a file."""

    async def refresh(self) -> None: ...

    def policy(self) -> SafetyPolicy:
        return SafetyPolicy()


def measure(report: Report, *, quick: bool) -> None:
    times = 3 if quick else 15
    for files in (2_500,) if quick else (2_500, 25_000):
        with TemporaryDirectory(prefix="wvo-bench-") as name:
            folder = Path(name).resolve()
            _grown(folder / "shop", files)
            anyio.run(partial(_checkpoints, report, _changed(folder), files, times))
            if files == 2_500:
                anyio.run(partial(_validations, report, folder, _many_changed(folder), times))
    with TemporaryDirectory(prefix="wvo-bench-") as name:
        _copies(report, Path(name).resolve(), 3 if quick else 5)


def _grown(root: Path, files: int) -> None:
    repository(root)
    for number in range(files - 2_500):
        file = root / f"more{number % 450}" / f"file{number}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"number = {number}\n")
    run_git(root, "add", "-A")
    run_git(root, *_WHO, "commit", "-q", "--allow-empty", "-m", "more")


_WHO = ("-c", "user.name=Bench", "-c", "user.email=bench@example.org")


def _tree(folder: Path, name: str) -> Tree:
    common = Common.of(folder / "shop")
    assert common is not None
    tree = Tree(common, folder / name, common.commit_of("HEAD") or "", folder / ".index" / name)
    worktree.added(tree, f"wvo/{name}")
    return tree


def _changed(folder: Path) -> list[tuple[Tree, Path]]:
    """Worktrees in which three files differ and one is new, with an index for plain git."""
    trees = [_tree(folder, f"T{number}") for number in range(_AT_ONCE)]
    for tree in trees:
        for number in range(3):
            (tree.path / f"pkg{number}" / "file1.py").write_text(f"changed = {number}\n")
        (tree.path / "new.py").write_text("new = True\n")
    time.sleep(_SETTLED_SECONDS)
    both: list[tuple[Tree, Path]] = []
    for tree in trees:
        held(tree)  # its index is settled
        index = tree.index.with_name(f"{tree.index.name}.plain")
        shutil.copy2(tree.index, index)
        run_git(tree.path, "update-index", "-q", "--refresh", env=_named(tree, index), check=False)
        both.append((tree, index))
    return both


def _many_changed(folder: Path) -> list[Work]:
    works: list[Work] = []
    for tree in [_tree(folder, f"V{number}") for number in range(_AT_ONCE)]:
        for number in range(100):
            file = tree.path / f"pkg{number % 50}" / f"file{number // 50}.py"
            file.write_text(f"{tree.path.name} = {number}\n" * 500)
        works.append(Work(common=tree.common, base=tree.base, commit=tree.commit("Checkpoint", everything=True)))
    return works


async def _checkpoints(report: Report, both: list[tuple[Tree, Path]], files: int, times: int) -> None:
    trees = [tree for tree, _ in both]

    def ours(tree: Tree) -> None:
        tree.common.committed(held(tree)[0], (tree.base,), "Checkpoint")

    one = await _median(lambda: to_thread.run_sync(ours, trees[0]), times)
    least = await _median(lambda: to_thread.run_sync(_plain, *both[0]), times)
    floor = [Floor("git add, write-tree, commit-tree", least)]
    report.add(
        Figure(
            f"checkpoint of a worktree of {files:,} files", "ms", one, floors=floor, samples=times,
            targets=[Target(1.3, of="ratio"), *([Target(500)] if files == 2_500 else [])],
        )
    )  # fmt: skip
    all_ = await _median(lambda: _together([partial(ours, tree) for tree in trees]), times)
    works = [partial(_plain, tree, index) for tree, index in both]
    floor = [Floor("git, five at once", await _median(lambda: _together(works), times))]
    report.add(
        Figure(f"five at once, {files:,} files each", "ms", all_, floors=floor, samples=times, targets=[Target(500)])
    )


async def _validations(report: Report, folder: Path, works: list[Work], times: int) -> None:
    judge: Any = _Fixed()
    known = Validator(judge)
    await known.validate(works[0])

    async def new(*which: Work) -> None:
        validator = Validator(judge)
        async with anyio.create_task_group() as tasks:
            for work in which:
                tasks.start_soon(validator.validate, work)

    def least() -> None:
        listed = run_git(folder / "shop", "diff-tree", "-r", "--raw", works[0].base, works[0].commit)
        blobs = "\n".join(line.split()[3] for line in listed.splitlines())
        run_git(folder / "shop", "cat-file", "--batch", content=f"{blobs}\n")

    floor = [Floor("git diff-tree, cat-file", await _median(lambda: to_thread.run_sync(least), times))]
    taken = await _median(lambda: new(works[0]), times)
    report.add(Figure("validation of 100 files", "ms", taken, floors=floor, samples=times, targets=[Target(1_000)]))
    taken = await _median(lambda: known.validate(works[0]), times)
    report.add(Figure("validation of 100 known files", "ms", taken, floors=floor, samples=times, targets=[Target(50)]))
    taken = await _median(lambda: new(*works), times)
    report.add(Figure("five validations at once", "ms", taken, floors=floor, samples=times, targets=[Target(1_000)]))


def _copies(report: Report, folder: Path, times: int) -> None:
    root = folder / "shop"
    repository(root)
    shutil.rmtree(root / ".git")
    made: list[float] = []
    copied: list[float] = []
    promoted: list[float] = []
    for number in range(times):
        row: dict[str, Any] = {"workspace_id": f"ws-{number}", "task_id": "T1", "path": str(folder / f"T{number}")}
        row |= {"mode": "shadow", "facts": "{}"}
        made.append(_taken(lambda row=row: row.update(shadow.made(root, row, ()))))
        copied.append(_taken(lambda number=number: shutil.copytree(root, folder / f"plain{number}")))
        tree = Tree(Common.beside(root, worktree.shadow_repository(row), row["facts"]), Path(row["path"]), row["base_sha"],
                    shadow.index_of(row))  # fmt: skip
        for one in range(10):
            (tree.path / f"pkg{one}" / "file1.py").write_text(f"changed = {number}\n")
        commit = tree.commit("What it has")
        promoted.append(_taken(lambda tree=tree, commit=commit: _promoted(tree, root, commit)))
        shutil.rmtree(folder / f"plain{number}")
    floor = [Floor("shutil.copytree", median(copied))]
    report.add(
        Figure("copy of a folder of 2,500 files, with its repository", "ms", median(made), floors=floor, samples=times)
    )
    report.add(Figure("promotion of 10 files of 2,500", "ms", median(promoted), targets=[Target(500)], samples=times))


def _promoted(tree: Tree, root: Path, commit: str) -> None:
    promoting.applied(tree, root, promoting.planned(tree, root, commit))
    promoting.kept(replace(tree, base=commit))


def _plain(tree: Tree, index: Path) -> None:
    with TemporaryDirectory() as folder:
        named = _named(tree, Path(shutil.copy2(index, Path(folder) / "index")))
        run_git(tree.path, "add", "-A", env=named)
        run_git(tree.path, *_WHO, "commit-tree", "-m", "x", run_git(tree.path, "write-tree", env=named), env=named)


def _named(tree: Tree, index: Path) -> dict[str, str]:
    return {"GIT_DIR": str(tree.common.git_dir), "GIT_WORK_TREE": str(tree.path), "GIT_INDEX_FILE": str(index)}


async def _together(works: list[Callable[[], None]]) -> None:
    async with anyio.create_task_group() as tasks:
        for work in works:
            tasks.start_soon(to_thread.run_sync, work)


def _taken(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1_000


async def _median(work: Callable[[], Awaitable[object]], times: int) -> float:
    taken: list[float] = []
    for _ in range(times):
        begun = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - begun) * 1_000)
    return median(taken)
