"""An autopilot with six workers at work for a long time, killed and started again, over agents that crash, meet limits, loop,
fork children that ignore SIGTERM: does anything leak, is anything lost, is every token accounted for?
"""

import json
import random
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.races.scripted_autopilot import FAULTY, HONEST, LEDGER, NAMES, made, started
from tests.support.databases import looked_at, mirrored
from tests.support.invariants import verify
from tests.support.rules import KEPT, LEASES
from tests.support.waiting import eventually

WORKERS = 6
WARM_SECONDS = 60.0
"""What grows in the first minute of a process is not looked at."""
ORPHAN_SECONDS = 5.0
"""So long a process may outlive its autopilot (contract, section 10)."""
LEFT_SECONDS = 20.0
"""So long a place may outlive its task, while an autopilot lives to clear it."""
SETTLE_SECONDS = 6.0
"""What was told so shortly before an autopilot was killed may not be written yet."""


@dataclass
class Findings:
    wrong: list[str] = field(default_factory=list[str])
    samples: list[list[dict[str, float]]] = field(default_factory=list[list[dict[str, float]]])
    """Of each life of the autopilot, every second."""
    killed_at: list[float] = field(default_factory=list[float])
    tasks: Counter[str] = field(default_factory=Counter[str])
    slowest_orphan: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict[str, Any])


class Soak:
    def __init__(self, folder: Path, seed: int) -> None:
        self.ledger = folder / LEDGER
        self.findings = Findings()
        self._chance = random.Random(seed)
        self._number = 0
        self._orphans: dict[int, float] = {}
        self._left: dict[str, float] = {}
        self._pilot: subprocess.Popen[str] | None = None
        self.flight, self.workspace = made(folder, WVO_AUTOPILOT_WIP_LIMIT=str(WORKERS))
        self.planner = self.workspace.server("planner")

    @property
    def state(self) -> Path:
        return self.flight.root / "state"

    # What happens

    def start(self) -> None:
        self._pilot = started(self.flight, "autopilot", "--agents", str(WORKERS), "--max-tasks", "1000000")
        self.findings.samples.append([])

    def kill(self) -> None:
        assert self._pilot is not None
        self.findings.killed_at.append(time.time())
        self._pilot.kill()
        self._pilot.wait()
        self._pilot = None

    def add(self, kinds: Sequence[str]) -> None:
        tasks: list[dict[str, Any]] = []
        for kind in kinds:
            self._number += 1
            self.findings.tasks[kind] += 1
            task_id, size = f"{kind}-{self._number}", self._chance.choice((2, 5, 9))
            tasks.append(
                {"id": task_id, "title": f"Do {task_id}", "type": "generation", "complexity": size, "max_attempts": 5}
            )
        self.planner.call("create_tasks", {"tasks": tasks})

    def keep_busy(self, kinds: Sequence[str]) -> None:
        with looked_at(self.workspace.source) as database:
            waiting = database.value("SELECT count(*) FROM tasks WHERE status = 'pending'")
        if waiting < 3 * WORKERS:
            self.add(self._chance.choices(kinds, k=2 * WORKERS))

    def drained(self, seconds: float) -> None:
        """Nothing more is added: it ends by itself."""
        assert self._pilot is not None
        until = time.monotonic() + seconds
        while self._pilot.poll() is None and time.monotonic() < until:
            self.sample()
            time.sleep(0.5)
        if self._pilot.poll() != 0:
            self.findings.wrong.append(f"the autopilot did not end by itself, well: {self._pilot.poll()}")
            self.kill()
        self._pilot = None

    # What is looked at

    def sessions(self) -> int:
        with looked_at(self.workspace.source) as database:
            return database.value("SELECT count(*) FROM workers WHERE client_session IS NOT NULL")

    def sample(self) -> None:
        """Memory, descriptors and threads of the autopilot; orphans."""
        pilot, now = self._pilot, time.monotonic()
        family: set[int] = {self.planner.pid}
        if pilot is not None:
            try:
                process = psutil.Process(pilot.pid)
                family |= {process.pid, *(one.pid for one in process.children(recursive=True))}
                measures = {
                    "memory_mb": process.memory_info().rss / 2**20,
                    "descriptors": float(process.num_fds()),
                    "threads": float(process.num_threads()),
                }
            except psutil.Error:
                measures = {}
            if measures:
                life_began = self.findings.samples[-1][0]["now"] if self.findings.samples[-1] else now
                self.findings.samples[-1].append({"now": now, "at": now - life_began, **measures})
        found = set(self.processes()) - family
        self._orphans = {pid: self._orphans.get(pid, now) for pid in found}
        for pid, since in self._orphans.items():
            self.findings.slowest_orphan = max(self.findings.slowest_orphan, now - since)
            if now - since > ORPHAN_SECONDS + 2:  # two looks
                self.findings.wrong.append(f"a process without an autopilot for {now - since:.1f} s: {described(pid)}")

    def processes(self) -> list[int]:
        """All that work below the folder, but for this one."""
        found: list[int] = []
        for process in psutil.process_iter():
            try:
                words = [process.cwd(), *process.cmdline()]
            except psutil.Error:
                continue
            if any(str(self.flight.folder) in word for word in words):
                found.append(process.pid)
        return found

    def look(self) -> None:
        """What must hold at every moment."""
        wrong, now = self.findings.wrong, time.monotonic()
        with mirrored(self.workspace.source) as database:
            for rules in (KEPT, LEASES):
                for rule, offending in rules.items():
                    wrong += [f"{rule}: {row}" for row in database.rows(offending)[:3]]
            wrong += self._unequal(database)
            running = database.value(
                "SELECT count(*) FROM workers WHERE state NOT IN ('ended', 'limited', 'paused', 'waiting_approval')"
            )
            if running > WORKERS:
                wrong.append(f"{running} workers are on record as running")
            finished = set(database.column("SELECT id FROM tasks WHERE status IN ('done', 'failed', 'cancelled')"))
            resting = database.column(
                "SELECT w.task_id FROM workers AS w JOIN tasks AS t ON t.id = w.task_id "
                "WHERE w.state IN ('limited', 'paused') AND t.status <> 'pending'"
            )
            wrong += [f"a session rests for {one}, which is not pending" for one in resting]
        if self._pilot is None:
            self._left.clear()  # the next one clears them
            return
        left = {name for name in self.places() if name.rpartition(" ")[2] in finished}
        self._left = {name: self._left.get(name, now) for name in left}
        wrong += [
            f"for {now - since:.0f} s there is left of a finished task: {name}"
            for name, since in self._left.items()
            if now - since > LEFT_SECONDS
        ]

    def places(self) -> list[str]:
        """Worktrees, branches and homes: what each is, and its task."""
        folder = self.state / "worktrees"
        trees = [f"worktree {path.name}" for path in folder.glob("[!.]*")]
        trees += [f"index {path.name}" for path in (folder / ".index").glob("*")]
        homes = [f"home {path.name}" for path in (self.state / "workers/tasks").glob("*")]
        branches = self.flight.git("for-each-ref", "--format=%(refname:lstrip=3)", "refs/heads/wvo").split()
        known = self.flight.git("worktree", "list", "--porcelain").split("\n\n")[1:]
        return [*trees, *homes, *(f"branch {name}" for name in branches), *(f"git worktree {one}" for one in known)]

    def _unequal(self, database: Any) -> list[str]:
        """Both tables are written in one transaction."""
        by_worker = database.one("SELECT sum(tokens_in) AS i, sum(tokens_out) AS o, sum(cost_usd) AS c FROM workers")
        by_report = database.one("SELECT sum(tokens_in) AS i, sum(tokens_out) AS o, sum(cost) AS c FROM usage")
        same = (by_worker["i"], by_worker["o"]) == (by_report["i"], by_report["o"])
        same = same and abs((by_worker["c"] or 0) - (by_report["c"] or 0)) < 1e-6
        return [] if same else [f"the workers used {by_worker}, the table of usage says {by_report}"]

    def judge(self) -> None:
        """When all is over."""
        wrong, source = self.findings.wrong, self.workspace.source
        try:
            history = verify(source)
        except AssertionError as error:
            wrong.append(str(error))
        else:
            wrong += [f"{task} was completed {n} times" for task, n in history.completions.items() if n != 1]
        if places := self.places():
            wrong.append(f"left: {places[:10]}")
        with looked_at(source) as database:
            wrong += self._unequal(database)
            rows = database.rows("SELECT worker_id, task_id, state, reason FROM workers WHERE state <> 'ended'")
            wrong += [f"this worker has not ended: {row}" for row in rows[:10]]
            tasks = database.rows("SELECT id, status, attempts, expiries, last_error FROM tasks")
            entries = database.rows("SELECT task_id, commit_sha FROM merge_entries")
            launches = database.rows("SELECT task_id, outcome, tokens_in, tokens_out FROM workers")
            alerts = database.rows("SELECT kind, message FROM alerts WHERE severity = 'critical'")
        wrong += [f"an alert: {row}" for row in alerts[:10]]
        struck = self._spent(wrong, launches)
        failed = Counter(row["task_id"] for row in launches if row["outcome"] in ("failed", "killed"))
        for task in tasks:
            # Homes are of a provider: with another one a faulty agent begins anew. A session that began just before its
            # autopilot was killed may be known to nobody: the next is another one, and no longer faulty.
            most = len(NAMES) if task["id"].partition("-")[0] in FAULTY else 0
            least = 0 if task["id"] in struck else min(most, 1)
            fine = task["attempts"] == failed[task["id"]] and least <= task["attempts"] <= most
            if task["status"] != "done" or task["expiries"] or not fine:
                wrong.append(f"this is not how it should have ended: {task}")
        if len(tasks) != self._number:
            wrong.append(f"{self._number} tasks were made, {len(tasks)} are there")
        wrong += self._unpinned(entries, {task["id"] for task in tasks})
        outcomes = Counter(row["outcome"] for row in launches)
        self.findings.figures |= {"tasks": len(tasks), "launches": len(launches), "outcomes": dict(outcomes)}
        if "Traceback" in (self.flight.folder / "autopilot.log").read_text() + self.workspace.logged():
            wrong.append("a traceback was written")

    def _spent(self, wrong: list[str], launches: Sequence[Mapping[str, Any]]) -> set[str]:
        """Compare what the agents wrote down with what the store knows, task by task. Tasks that spent something when an
        autopilot was killed: of those that much may be missing, and nothing else."""
        told, unsure = Counter[str](), Counter[str]()
        for line in self.ledger.read_text().splitlines():
            entry = json.loads(line)
            tokens = entry["in"] + entry["out"]
            told[entry["task_id"]] += tokens
            if any(-SETTLE_SECONDS < entry["at"] - at < ORPHAN_SECONDS for at in self.findings.killed_at):
                unsure[entry["task_id"]] += tokens
        known = Counter[str]()
        for row in launches:
            known[row["task_id"]] += row["tokens_in"] + row["tokens_out"]
        wrong += [
            f"{one}: {told[one]} tokens were used, {known[one]} are known"
            for one in told | known
            if not told[one] - unsure[one] <= known[one] <= told[one]
        ]
        missing = told.total() - known.total()
        self.findings.figures |= {"tokens": told.total(), "tokens lost by kills": missing}
        return set(unsure)

    def _unpinned(self, entries: Sequence[Mapping[str, Any]], tasks: set[str]) -> list[str]:
        asked = "".join(f"{one['commit_sha']}:{one['task_id']}.txt\n" for one in entries)
        command = ["git", "cat-file", "--batch-check"]
        done = subprocess.run(
            command, cwd=self.flight.root, input=asked, capture_output=True, text=True, check=True
        ).stdout
        wrong = [f"not in its submission: {line}" for line in done.splitlines() if line.endswith("missing")][:10]
        counts = Counter(one["task_id"] for one in entries)
        return wrong + [f"{one} has {counts[one]} submissions" for one in tasks if counts[one] != 1][:10]


def described(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return f"{pid} (child of {process.ppid()}) {process.cmdline()}"
    except psutil.Error:
        return str(pid)


def soak(folder: Path, seconds: float, *, seed: int, kill_every: float, look_every: float) -> Findings:
    """Let it work for so long on tasks that never end; or, for no time, on one task of each honest kind, and kill it once.
    What was found is in `wrong`; nothing of it is raised."""
    over = Soak(folder, seed)
    findings, chance = over.findings, random.Random(seed)
    try:
        over.add([*HONEST, *(FAULTY if seconds else ())])  # of each at least one
        over.start()
        eventually(lambda: over.sessions() >= WORKERS // 2)
        if not seconds:
            over.look()
            over.kill()
            over.start()
        began = time.monotonic()
        due = {"kill": began + kill_every, "look": began + look_every}
        while (now := time.monotonic()) < began + seconds and not findings.wrong:
            over.keep_busy([*HONEST, *HONEST, *FAULTY])
            over.sample()
            if now >= due["look"]:
                over.look()
                due["look"] = now + look_every
            if now >= due["kill"]:
                over.kill()
                over.sample()
                over.start()
                due["kill"] = now + chance.uniform(0.5, 1.5) * kill_every
            time.sleep(1)
        over.drained(240)
        eventually(lambda: set(over.processes()) <= {over.planner.pid}, seconds=ORPHAN_SECONDS + 2)
        over.planner.end()
        over.judge()
    finally:
        over.workspace.close()
        if over._pilot is not None:
            over.kill()
    return findings


def grown(findings: Findings) -> list[dict[str, float]]:
    """Of each life that was long enough: its minutes, and from the first third after the warming up to the last, the growth
    of memory (medians, in MB a minute) and of descriptors and threads at their lowest."""
    found: list[dict[str, float]] = []
    for samples in findings.samples:
        warm = [one for one in samples if one["at"] > WARM_SECONDS]
        third = len(warm) // 3
        if third < 15:
            continue
        first, last = warm[:third], warm[-third:]
        minutes = (last[third // 2]["at"] - first[third // 2]["at"]) / 60

        def lowest(name: str, part: Sequence[Mapping[str, float]]) -> float:
            return min(one[name] for one in part)

        memory = [statistics.median(one["memory_mb"] for one in part) for part in (first, last)]
        found.append(
            {
                "minutes": round(samples[-1]["at"] / 60, 1),
                "memory_mb": round(memory[1], 1),
                "memory_mb a minute": round((memory[1] - memory[0]) / minutes, 2),
                **{name: lowest(name, last) - lowest(name, first) for name in ("descriptors", "threads")},
            }
        )
    return found
