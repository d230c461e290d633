"""Process trees of workers: what they use, their share of the processors, and their end. Implements `ports.trees`."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import anyio
import psutil

from wvo_mcp.ports.trees import TreeUse

_NICE = 10
_PERIOD_MICROSECONDS = 100_000
_TERM_SECONDS, _KILL_SECONDS, _POLL_SECONDS = 2.0, 2.0, 0.02
_MIB = 1 << 20


class ProcessTrees:
    """Looks and ends on any system; `cpu.max` is for Linux with the cgroups of version 2 where ours was delegated with the
    controller cpu, as in containers and user sessions; else trees run at nice 10."""

    def __init__(self, memory_mb: int, cpu_percent: int, cgroups: Path = Path("/sys/fs/cgroup")) -> None:
        """`memory_mb`: the most of each tree. `cpu_percent`: of all processors, for each tree."""
        self._memory_mb = memory_mb
        self._cpu_percent = cpu_percent
        self._cgroups = cgroups
        self._groups: dict[str, Path] = {}
        self._used: dict[str, tuple[float, float]] = {}
        """Seconds of processors, and when that was seen."""
        self._seen: dict[str, TreeUse] = {}
        self._members: dict[str, list[psutil.Process]] = {}
        """As the last look found them."""

    def started(self, pid: int) -> str | None:
        with suppress(psutil.Error):
            return _mark(psutil.Process(pid))
        return None

    def look(self, roots: Mapping[str, int]) -> dict[str, TreeUse]:
        if not roots:
            return {}
        known, children = _ours()
        self._seen = {}
        for name, root in roots.items():
            if root in known:
                self._members[name] = [known[pid] for pid in _below(root, children)]
                self._seen[name] = self._use(name, self._members[name])
        return dict(self._seen)

    def over(self, worker_id: str) -> str | None:
        seen = self._seen.get(worker_id)
        if seen is None or seen.memory_mb <= self._memory_mb:
            return None
        used = f"{seen.processes} processes use {seen.memory_mb:,} MB of memory"
        return f"its {used}, more than a worker may ({self._memory_mb:,} MB, WVO_WORKER_MEMORY_MB)"

    def _use(self, name: str, tree: list[psutil.Process]) -> TreeUse:
        seconds, resident, count = 0.0, 0, 0
        for process in tree:
            with suppress(psutil.Error), process.oneshot():
                spent = process.cpu_times()
                # With those of children that have ended, nothing that ran between two looks is missed.
                ended = getattr(spent, "children_user", 0.0) + getattr(spent, "children_system", 0.0)
                seconds += spent.user + spent.system + ended
                resident += process.memory_info().rss
                count += 1
        if resident > self._memory_mb * _MIB:  # pages that its processes share are counted once, where that decides
            resident = min(resident, sum(map(_proportional, tree)))
        now = time.monotonic()
        before, at = self._used.get(name, (seconds, now))
        self._used[name] = (seconds, now)
        percent = 0.0 if now <= at else max(0.0, 100 * (seconds - before) / (now - at))
        return TreeUse(round(resident / _MIB), round(percent, 1), count)

    def share(self, worker_id: str, pid: int) -> str:
        cores = os.cpu_count() or 1
        for group in self.delegated():
            made = group / f"wvo-{os.getpid()}-{worker_id}"
            try:
                made.mkdir()
                quota = max(1_000, _PERIOD_MICROSECONDS * cores * self._cpu_percent // 100)
                (made / "cpu.max").write_text(f"{quota} {_PERIOD_MICROSECONDS}")
                (made / "cgroup.procs").write_text(str(pid))
            except OSError:
                with suppress(OSError):
                    made.rmdir()
                continue
            self._groups[worker_id] = made
            return f"at most {self._cpu_percent} % of {cores} processors"
        with suppress(psutil.Error, OSError):
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.Error):
                    process.nice(_NICE)
            return f"nice {_NICE}"
        return "no share of its own"

    def delegated(self) -> Iterable[Path]:
        """Our own cgroup and the one that it is in, where groups of ours may have a limit."""
        try:
            lines = Path("/proc/self/cgroup").read_text().splitlines()
        except OSError:
            return
        ours = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
        if ours is None or not (self._cgroups / "cgroup.controllers").exists():
            return
        group = self._cgroups / ours
        for each in (group, group.parent) if group != self._cgroups else (group,):
            with suppress(OSError):
                if "cpu" in (each / "cgroup.subtree_control").read_text().split() and os.access(each, os.W_OK):
                    yield each

    def forget(self, worker_id: str) -> None:
        self._used.pop(worker_id, None)
        self._seen.pop(worker_id, None)
        for one in self._members.pop(worker_id, ()):
            with suppress(psutil.Error):  # left by a warden that was killed: the warden itself ends all it can see
                one.kill()
        made = self._groups.pop(worker_id, None)
        if made is not None:
            with suppress(OSError):  # a zombie may still be in it; it costs nothing
                made.rmdir()

    async def end(self, pid: int, started: str | None) -> bool:
        try:
            root = psutil.Process(pid)
            if started is None or _mark(root) != started:
                return False
        except psutil.Error:
            return False
        found = {root}
        for send, seconds in ((_terminate, _TERM_SECONDS), (_kill, _KILL_SECONDS)):
            told: set[psutil.Process] = set()
            until = anyio.current_time() + seconds
            while anyio.current_time() < until:
                _grow(found)
                left = [one for one in found if _lives(one)]
                if not left:
                    return True
                # The root adopts what loses its parent: it is ended last.
                for one in left:
                    if one not in told and (one != root or send is _terminate or len(left) == 1):
                        told.add(one)
                        with suppress(psutil.Error):
                            send(one)
                await anyio.sleep(_POLL_SECONDS)
        for one in found:
            with suppress(psutil.Error):
                one.kill()
        return True


_terminate: Callable[[psutil.Process], None] = psutil.Process.terminate
_kill: Callable[[psutil.Process], None] = psutil.Process.kill


def _mark(process: psutil.Process) -> str:
    return f"{process.create_time():.2f}"


def _ours() -> tuple[dict[int, psutil.Process], dict[int, list[int]]]:
    """Every process below this one, and children by parent: one walk."""
    known: dict[int, psutil.Process] = {}
    children: dict[int, list[int]] = {}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            children.setdefault(process.ppid(), []).append(process.pid)
            known[process.pid] = process
    return known, children


def _below(root: int, children: Mapping[int, list[int]]) -> list[int]:
    """It and its descendants."""
    found = [root]
    for pid in found:
        found += children.get(pid, ())
    return found


def _proportional(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        full = process.memory_full_info()
        return int(getattr(full, "pss", 0) or full.rss)
    return 0


def _grow(found: set[psutil.Process]) -> None:
    for one in list(found):
        with suppress(psutil.Error):
            found |= set(one.children(recursive=True))


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
