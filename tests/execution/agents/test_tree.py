"""Process trees of workers, with real processes: memory, processors, and an end that nothing escapes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import psutil
import pytest

from wvo_mcp.execution.agents import tree
from wvo_mcp.execution.agents.tree import ProcessTrees

pytestmark = pytest.mark.anyio

_STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(1, b"ready\\n")
    time.sleep(600)
time.sleep(600)
"""
_EATER = """
import os, sys, time
held = []
if os.fork() == 0:
    held.append(bytearray(os.urandom(1 << 20)) * 100)
    os.write(1, b"ready\\n")
    time.sleep(600)
time.sleep(600)
"""
_SHARED = """
import os, sys, time
held = bytearray(os.urandom(1 << 20)) * 60
for _ in range(3):
    if os.fork() == 0:
        time.sleep(600)
os.write(1, b"ready\\n")
time.sleep(600)
"""
_BUSY = """
import os
os.write(1, b"ready\\n")
while True:
    pass
"""


class Programs:
    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, text: str) -> int:
        """Its pid, once it has said that it is ready."""
        child = subprocess.Popen([sys.executable, "-I", "-S", "-c", text], stdout=subprocess.PIPE)
        self.started.append(child)
        assert child.stdout is not None and child.stdout.readline() == b"ready\n"
        return child.pid


@pytest.fixture
def programs() -> Iterator[Programs]:
    programs = Programs()
    yield programs
    for child in programs.started:
        doomed = [child.pid]
        if child.poll() is None:
            doomed += [one.pid for one in psutil.Process(child.pid).children(recursive=True)]
        for pid in doomed:
            if psutil.pid_exists(pid):
                os.kill(pid, 9)
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


@pytest.mark.requirement("WORK-7")
async def test_a_tree_that_eats_memory_in_a_child_is_over_its_limit(programs: Programs) -> None:
    pid = programs.start(_EATER)
    trees = ProcessTrees(memory_mb=64, cpu_percent=50)

    use = trees.look({"w-1": pid})["w-1"]

    assert use.processes == 2 and use.memory_mb > 64
    assert "use" in str(trees.over("w-1")) and "more than a worker may (64 MB, WVO_WORKER_MEMORY_MB)" in str(
        trees.over("w-1")
    )
    assert ProcessTrees(memory_mb=1_000, cpu_percent=50).over("w-1") is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts shared pages once")
@pytest.mark.requirement("WORK-7")
async def test_pages_that_a_tree_shares_are_counted_once(programs: Programs) -> None:
    pid = programs.start(_SHARED)
    trees = ProcessTrees(memory_mb=150, cpu_percent=50)

    use = trees.look({"w-1": pid})["w-1"]

    resident = sum(one.memory_info().rss for one in (psutil.Process(pid), *psutil.Process(pid).children()))
    assert resident > 150 << 20
    assert use.memory_mb < 150 and trees.over("w-1") is None


async def test_processors_are_counted_between_two_looks(programs: Programs) -> None:
    pid = programs.start(_BUSY)
    trees = ProcessTrees(memory_mb=1_000, cpu_percent=50)
    assert trees.look({"w-1": pid})["w-1"].cpu_percent == 0
    until = time.monotonic() + 20
    while (use := trees.look({"w-1": pid})["w-1"]).cpu_percent == 0 and time.monotonic() < until:
        pass
    assert use.cpu_percent > 0


async def test_trees_that_have_ended_are_left_out_and_forgotten(programs: Programs) -> None:
    pid = programs.start(_BUSY)
    trees = ProcessTrees(memory_mb=1_000, cpu_percent=50)
    trees.look({"w-1": pid})
    programs.started[0].kill()
    programs.started[0].wait()
    assert trees.look({"w-1": pid}) == {}
    assert trees.over("w-1") is None and trees.started(pid) is None
    trees.forget("w-1")


@pytest.mark.requirement("WORK-9")
async def test_children_that_ignore_sigterm_end_with_their_tree(
    programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "_TERM_SECONDS", 0.2)
    pid = programs.start(_STUBBORN)
    trees = ProcessTrees(memory_mb=1_000, cpu_percent=50)
    left = psutil.Process(pid).children(recursive=True)
    with anyio.fail_after(20):
        assert await trees.end(pid, trees.started(pid))

    def alive(one: psutil.Process) -> bool:
        return one.is_running() and one.status() != psutil.STATUS_ZOMBIE

    assert not [one for one in left if alive(one)]
    programs.started[0].wait()


@pytest.mark.requirement("WORK-9")
async def test_a_pid_that_another_process_has_now_is_not_touched(programs: Programs) -> None:
    pid = programs.start(_BUSY)
    trees = ProcessTrees(memory_mb=1_000, cpu_percent=50)
    assert not await trees.end(pid, "12345.00")
    assert not await trees.end(pid, None)
    assert programs.started[0].poll() is None
    assert not await trees.end(2**22 - 7, "12345.00")


@pytest.mark.requirement("WORK-7")
async def test_without_a_cgroup_of_ours_a_tree_runs_at_a_lower_priority(programs: Programs, tmp_path: Path) -> None:
    pid = programs.start(_BUSY)
    trees = ProcessTrees(memory_mb=1_000, cpu_percent=50, cgroups=tmp_path)
    assert trees.share("w-1", pid) == "nice 10"
    assert psutil.Process(pid).nice() == 10


def _own_group(root: Path) -> Path:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return root / next(line.removeprefix("0::/") for line in lines if line.startswith("0::/"))


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")
@pytest.mark.requirement("WORK-7")
async def test_where_cgroups_are_delegated_a_tree_gets_its_share_of_all_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    ours = _own_group(tmp_path)
    ours.mkdir(parents=True, exist_ok=True)
    (ours / "cgroup.subtree_control").write_text("cpu memory\n")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    trees = ProcessTrees(memory_mb=1_000, cpu_percent=50, cgroups=tmp_path)

    assert trees.share("w-1", 77) == "at most 50 % of 4 processors"

    made = ours / f"wvo-{os.getpid()}-w-1"
    assert (made / "cpu.max").read_text() == "200000 100000"
    assert (made / "cgroup.procs").read_text() == "77"
    for file in made.iterdir():  # a real one has no files that must go first
        file.unlink()
    trees.forget("w-1")
    assert not made.exists()


async def test_what_a_killed_warden_left_behind_ends_when_its_worker_is_forgotten(programs: Programs) -> None:
    pid = programs.start(_STUBBORN)
    trees = ProcessTrees(1_000, 50)
    trees.look({"w-1": pid})
    tree_of = psutil.Process(pid).children(recursive=True)
    os.kill(pid, 9)
    programs.started[0].wait()
    assert len(tree_of) == 2 and all(one.is_running() for one in tree_of)

    trees.forget("w-1")

    assert psutil.wait_procs(tree_of, timeout=30)[1] == []
