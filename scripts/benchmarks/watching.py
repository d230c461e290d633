"""What watching worktrees costs, beside watchfiles alone: 100 changes a second in each of five at once, and memory."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from watchfiles import watch

from scripts.benchmarks.figures import Figure, Floor, Report, Target
from scripts.benchmarks.places import repository
from scripts.benchmarks.timing import p50, p99
from wvo_mcp.execution.workspaces import worktree
from wvo_mcp.execution.workspaces.change_log import ChangeLog
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.execution.workspaces.snapshot import Tree
from wvo_mcp.execution.workspaces.watching import DEBOUNCE_MS, STEP_MS, Watcher

_AT_ONCE = 5
_A_SECOND = 100
_FILES = 2_500
_PATIENCE_SECONDS = 60.0


def measure(report: Report, *, quick: bool) -> None:
    """In five worktrees of a repository of 2,500 files in 50 folders."""
    seconds = 1 if quick else 10
    with TemporaryDirectory(prefix="wvo-bench-") as name:
        folder = Path(name).resolve()
        repository(folder / "shop")
        trees = _trees(folder)
        _all_at_once(report, folder, trees, seconds)
        _memory(report, folder)


def _trees(folder: Path) -> list[Tree]:
    common = Common.of(folder / "shop")
    assert common is not None
    trees: list[Tree] = []
    for number in range(1, _AT_ONCE + 1):
        tree = Tree(common, folder / f"T{number}", common.commit_of("HEAD") or "", folder / f"index{number}")
        if not tree.path.exists():
            worktree.added(tree, f"wvo/T{number}")
        trees.append(tree)
    return trees


def _all_at_once(report: Report, folder: Path, trees: list[Tree], seconds: int) -> None:
    watchers = _watching(folder / "logs", trees)
    us = psutil.Process()
    idle = _share(us, lambda: time.sleep(2.0))
    delays: list[float] = []
    busy = _share(us, lambda: _changed(trees, seconds, lambda: delays.extend(_delays(watchers))))
    wanted = seconds * _A_SECOND
    _until(lambda: all(one.look().files >= wanted for one in watchers))
    delays += _delays(watchers)
    noticed = sum(min(one.look().files, wanted) for one in watchers)
    for one in watchers:
        one.end()
        one.join(5.0)
    bare_delays, bare = _bare([one.path for one in trees], trees, seconds)
    changes = f"{_AT_ONCE} worktrees, {_A_SECOND} changes a second in each"
    report.add(
        Figure(
            f"changes noticed, {changes}",
            "%",
            100 * noticed / (wanted * _AT_ONCE),
            targets=[Target(100, at_least=True)],
            samples=wanted * _AT_ONCE,
        ),
        Figure(
            f"from a change until it is noticed, {changes}",
            "ms",
            p50(delays),
            p99=p99(delays),
            floors=[Floor("watchfiles alone", p50(bare_delays))],
            targets=[Target(2, "ratio")],
            samples=len(delays),
        ),
        Figure(
            f"processor for that, of one core, with making the changes, {changes}",
            "%",
            busy,
            floors=[Floor("watchfiles alone", bare)],
            samples=1,
        ),
        Figure(f"processor of {_AT_ONCE} watchers while nothing changes, of one core", "%", idle, targets=[Target(2)]),
    )


def _watching(logs: Path, trees: list[Tree]) -> list[Watcher]:
    """Begun, and sure."""
    watchers = [Watcher(tree, ChangeLog(logs, tree.path.name)) for tree in trees]
    for one in watchers:
        one.start()

    def sure() -> bool:
        for one in watchers:
            one.mark()
        return all(one.look().sure for one in watchers)

    _until(sure)
    return watchers


def _changed(trees: list[Tree], seconds: int, each_second: Callable[[], None]) -> None:
    """Another file each time, new ones and changed ones by turns, each worktree at its pace."""
    began = time.perf_counter()
    for number in range(seconds * _A_SECOND):
        for tree in trees:
            name = f"file{number // 50}.py" if number % 2 else f"new{number}.py"
            (tree.path / f"pkg{number % 50}" / name).write_text(f"value = {number}, {time.time()}\n")
        if number % _A_SECOND == 0:
            each_second()
        time.sleep(max(0.0, began + (number + 1) / _A_SECOND - time.perf_counter()))


def _delays(watchers: list[Watcher]) -> list[float]:
    return [delay for one in watchers for delay in one.delays()]


def _bare(paths: list[Path], trees: list[Tree], seconds: int) -> tuple[list[float], float]:
    """The same changes, by watchfiles' own function, which filters nothing and writes nothing; one thread for each."""
    stop, delays, lock = threading.Event(), list[float](), threading.Lock()

    def follow(path: Path) -> None:
        for changes in watch(path, watch_filter=None, debounce=DEBOUNCE_MS, step=STEP_MS, stop_event=stop):
            now = time.time()
            late = [(now - Path(name).stat().st_ctime) * 1_000 for _, name in changes if Path(name).is_file()]
            with lock:
                delays.extend(late)

    threads = [threading.Thread(target=follow, args=(path,)) for path in paths]
    for one in threads:
        one.start()
    time.sleep(1.0)
    share = _share(psutil.Process(), lambda: _changed(trees, seconds, lambda: None))
    time.sleep(1.0)
    stop.set()
    for one in threads:
        one.join()
    return delays, share


def _share(process: psutil.Process, work: Callable[[], object]) -> float:
    """Percent of a core that the process and the programs that it ran needed meanwhile."""

    def used() -> float:
        times = process.cpu_times()
        return times.user + times.system + times.children_user + times.children_system

    began, before = time.perf_counter(), used()
    work()
    return 100 * (used() - before) / (time.perf_counter() - began)


def _memory(report: Report, folder: Path) -> None:
    ours, bare = (
        json.loads(
            subprocess.run(
                [sys.executable, "-m", __name__, kind, str(folder)], check=True, capture_output=True, text=True
            ).stdout
        )
        for kind in ("ours", "bare")
    )
    report.add(
        Figure(
            f"memory of a watcher, {_FILES:,} files, after 2,000 changes (the first of {_AT_ONCE})",
            "MB",
            ours,
            floors=[Floor("watchfiles alone", bare)],
            targets=[Target(50)],
        )
    )


def _grown(kind: str, folder: Path) -> float:
    """MB that this process grew by, for one watcher."""
    trees = _trees(folder)[:1]
    before = psutil.Process().memory_info().rss
    if kind == "bare":
        from watchfiles._rust_notify import RustNotify

        notify = RustNotify([str(trees[0].path)], False, False, 0, True, False)
        _many(trees[0])
        notify.watch(DEBOUNCE_MS, STEP_MS, 0, None)
    else:
        (watcher,) = _watching(folder / "logs", trees)
        _many(trees[0])
        _until(lambda: watcher.look().files >= 2_000)
    return (psutil.Process().memory_info().rss - before) / 2**20


def _many(tree: Tree) -> None:
    for number in range(2_000):
        (tree.path / f"pkg{number % 50}" / f"more{number}.py").write_text(f"{time.time()}\n")


def _until(so: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while not so() and time.monotonic() < until:
        time.sleep(0.05)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_grown(sys.argv[1], Path(sys.argv[2]))))
