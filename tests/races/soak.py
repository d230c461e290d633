"""Servers that work for a long time, are killed at random and backed up meanwhile: does anything break, or grow?

`scripts/soak [--minutes 15] [--store sqlite|postgres]`. Every second the store is looked at; every five seconds memory,
descriptors, journal and lock files are measured; every call and answer is recorded and judged in the end.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.support.databases import looked_at, mirrored
from tests.support.invariants import verify
from tests.support.linear import judged
from tests.support.postgres import Cluster
from tests.support.recording import Recorder, recorded
from tests.support.rules import KEPT, LEASES
from tests.support.stdio_client import Gone, Late, Refused, StdioClient
from tests.support.workspace import Workspace

SERVERS = 8
LASTING = 2
"""So many are never killed: what grows in a server shows in them."""
KILL_SECONDS = 4.0
BACKUP_SECONDS = 30.0
SAMPLE_SECONDS = 5.0
PASSING = frozenset({"stale_lease", "illegal_transition", "not_ready", "conflict", "store_busy", "store_unavailable"})


@dataclass
class Findings:
    wrong: list[str] = field(default_factory=list[str])
    answers: Counter[str] = field(default_factory=Counter[str])
    samples: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    looks: int = 0
    slowest_look: float = 0.0
    slowest_call: float = 0.0


class Client(threading.Thread):
    """An agent that does a bit of everything, through one server after the other."""

    def __init__(self, workspace: Workspace, name: str, findings: Findings, over: threading.Event, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.server: StdioClient | None = None
        self.serving = False
        self._workspace = workspace
        self._findings = findings
        self._over = over
        self._chance = random.Random(seed)
        self._history = Recorder(workspace.logs / f"history-{name}.jsonl")
        self._calls = 0

    def run(self) -> None:
        try:
            self._start()
            while not self._over.is_set():
                self._work()
                self._over.wait(self._chance.uniform(0.02, 0.3))
            if self.server is not None:
                self.server.end()
        except Exception as error:
            if not (isinstance(error, Gone) and self._over.is_set()):
                self._findings.wrong.append(f"{self.name}: {error!r}")
        finally:
            self._history.close()

    def _start(self) -> None:
        self.serving = False
        while not self._over.is_set():
            if self.server is not None:
                self.server.close()
                self._workspace.started.remove(self.server)
            self.server = self._workspace.spawn(self.name)
            try:
                self.server.open()
                self.serving = True
                return
            except (Gone, Late):
                continue

    def _ask(self, tool: str, **arguments: Any) -> dict[str, Any] | None:
        self._calls += 1
        if tool in ("claim_task", "context_write", "create_tasks"):
            arguments["request_id"] = f"{self.name}-{self._calls}"
        while not self._over.is_set():
            server = self.server
            assert server is not None
            began = time.monotonic()
            try:
                given = self._history.call(self.name, tool, arguments, lambda s=server: s.call(tool, arguments))
            except Refused as refused:
                self._findings.answers[refused.code] += 1
                if refused.code not in PASSING:
                    raise
                return None
            except Gone:
                self._findings.answers["repeated"] += 1
                self._start()
            else:
                self._findings.slowest_call = max(self._findings.slowest_call, time.monotonic() - began)
                self._findings.answers[tool] += 1
                return given
        return None

    def _work(self) -> None:
        claim = self._ask("claim_task")
        if claim is None:
            return
        if claim["task"] is None:
            self._findings.answers[f"no task: {claim['reason']}"] += 1
            if claim["reason"] == "no_ready_tasks":
                self._plan()
            return
        held = {"task_id": claim["task"]["id"], "lease_token": claim["lease"]["token"]}
        for step in range(self._chance.randint(0, 4)):
            self._over.wait(self._chance.uniform(0.01, 0.2))
            if not self._on_the_way(held, step):
                return
        end = self._chance.random()
        if end < 0.88:
            self._ask("complete_task", **held, summary=f"done by {self.name}")
        elif end < 0.95:
            self._ask("release_task", **held, reason="later")
        else:
            self._ask("fail_task", **held, error="flaky")

    def _on_the_way(self, held: dict[str, Any], step: int) -> bool:
        what = self._chance.choice(
            ("checkpoint", "heartbeat", "context_write", "context_read", "get_task", "plan_next")
        )
        if what == "checkpoint":
            return self._ask(what, **held, summary=f"{self.name} {self._calls}", progress=step * 20) is not None
        if what == "heartbeat":
            return self._ask(what, **held, note=f"{self._calls}") is not None
        if what == "context_write":
            asked = {"topic": f"topic-{self._chance.randint(1, 40)}", "content": f"noted by {self.name}"}
        elif what == "context_read":
            asked = {"query": "noted topic"}
        elif what == "get_task":
            asked = {"task_id": held["task_id"]}
        else:
            asked = {"limit": 5}
        self._ask(what, **asked)
        return True

    def _plan(self) -> None:
        stem = f"{self.name}-{self._calls}"
        tasks: list[dict[str, Any]] = []
        for place in range(6):
            behind = [f"{stem}-{other}" for other in range(place) if self._chance.random() < 0.3]
            tasks.append({"id": f"{stem}-{place}", "title": f"Do {place}", "depends_on": behind, "max_attempts": 9})
        self._ask("create_tasks", tasks=tasks)


def soak(
    workspace: Workspace,
    seconds: float,
    *,
    seed: int = 1,
    kill_every: float = KILL_SECONDS,
    enough: Callable[[Findings], bool] = lambda _: True,
) -> Findings:
    """Let them work for so long, and until it is `enough`. What was found is in `wrong`; nothing of it is raised."""
    workspace.settings |= {
        "WVO_TOOLSETS": "all",
        "WVO_AUTOPILOT_WIP_LIMIT": str(SERVERS),
        "WVO_LEASE_SECONDS": "30",
        "WVO_LEASE_GRACE_SECONDS": "1",
    }
    findings, over, chance = Findings(), threading.Event(), random.Random(seed)
    clients = [Client(workspace, f"agent-{n}", findings, over, seed + n) for n in range(SERVERS)]
    for client in clients:
        client.start()
    # The store is made by the first write, and there is nothing to look at before it.
    while not findings.wrong and not (
        findings.answers["create_tasks"] and sum(client.serving for client in clients) > SERVERS // 2
    ):
        over.wait(0.1)
    began = time.monotonic()
    due = {"look": began, "kill": began + 5, "sample": began + SAMPLE_SECONDS, "backup": began + 2}
    backups = Backups(workspace, findings)
    while (time.monotonic() < began + seconds or not enough(findings)) and not findings.wrong:
        now = time.monotonic()
        if now >= due["look"]:
            due["look"] = now + 1
            look(workspace, findings)
        if now >= due["kill"]:
            due["kill"] = now + chance.uniform(0.5, 1.5) * kill_every
            mortal = [client.server for client in clients[LASTING:] if client.serving and client.server is not None]
            if len(mortal) > (SERVERS - LASTING) // 2:
                chance.choice(mortal).kill()
                findings.answers["killed"] += 1
        if now >= due["sample"]:
            due["sample"] = now + SAMPLE_SECONDS
            findings.samples.append({"at": now - began, **measured(workspace, clients)})
        if now >= due["backup"]:
            due["backup"] = now + BACKUP_SECONDS
            backups.begin()
        over.wait(0.1)
    over.set()
    for client in clients:
        client.join(120)
    backups.end()
    try:
        verify(workspace.source)
    except AssertionError as error:
        findings.wrong.append(str(error))
    with looked_at(workspace.source) as database:
        violations = judged(recorded(workspace.logs.glob("history-*.jsonl")), database)
    findings.wrong += [str(violation) for violation in violations[:20]]
    if "Traceback" in workspace.logged():
        findings.wrong.append("a server wrote a traceback")
    return findings


class Backups:
    """`backup_create` through a server of its own, beside everything else."""

    def __init__(self, workspace: Workspace, findings: Findings) -> None:
        self._workspace = workspace
        self._findings = findings
        self._running: threading.Thread | None = None

    def begin(self) -> None:
        if self._running is None or not self._running.is_alive():
            self._running = threading.Thread(target=self._back_up)
            self._running.start()

    def _back_up(self) -> None:
        server = self._workspace.server("keeper")
        try:
            server.call("backup_create")
            self._findings.answers["backup_create"] += 1
            server.end()
        except Refused as refused:
            self._findings.answers[f"backup {refused.code}"] += 1
        finally:
            server.close()

    def end(self) -> None:
        if self._running is not None:
            self._running.join(120)


def look(workspace: Workspace, findings: Findings) -> None:
    """What must hold at every moment, holds now."""
    began = time.monotonic()
    with mirrored(workspace.source) as database:
        for rules in (KEPT, LEASES):
            for rule, offending in rules.items():
                findings.wrong += [f"{rule}: {row}" for row in database.rows(offending)[:3]]
    findings.looks += 1
    findings.slowest_look = max(findings.slowest_look, time.monotonic() - began)


def measured(workspace: Workspace, clients: list[Client]) -> dict[str, float]:
    """Megabytes, descriptors and threads of the largest lasting server; journal and lock files of the store."""
    lasting = [psutil.Process(client.server.pid) for client in clients[:LASTING] if client.server is not None]
    state = workspace.root / "state"
    wal = state / "state.db-wal"
    found = {
        "memory_mb": max((process.memory_info().rss for process in lasting), default=0) / 2**20,
        "descriptors": max((process.num_fds() for process in lasting), default=0),
        "threads": max((process.num_threads() for process in lasting), default=0),
        "wal_mb": wal.stat().st_size / 2**20 if wal.exists() else 0,
        "locks": len(list((state / "sessions").glob("*.lock"))) if (state / "sessions").exists() else 0,
    }
    with looked_at(workspace.source) as database:
        found["sessions"] = database.value("SELECT count(*) FROM sessions WHERE ended_at IS NULL AND durable = 0")
        found["events"] = database.value("SELECT count(*) FROM events")
        if workspace.url is not None:
            found["connections"] = database.value(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            )
    return found


GROWTH = {"memory_mb": 25.0, "descriptors": 3, "threads": 3, "wal_mb": 66.0, "locks": SERVERS, "sessions": SERVERS,
          "connections": 2 * SERVERS}  # fmt: skip
"""By how much the last fifth may lie above the second one, in medians."""


def grown(findings: Findings) -> dict[str, tuple[float, float]]:
    """From the second fifth of the time to the last."""
    fifth = max(1, len(findings.samples) // 5)
    before, after = findings.samples[fifth : 2 * fifth], findings.samples[-fifth:]
    return {
        name: (
            round(statistics.median(sample[name] for sample in before), 1),
            round(statistics.median(sample[name] for sample in after), 1),
        )
        for name in (findings.samples[0] if before and after else {})
        if name != "at"
    }


def outgrown(findings: Findings) -> list[str]:
    return [
        f"{name} grew from {before} to {after}"
        for name, (before, after) in grown(findings).items()
        if name in GROWTH and after - before > GROWTH[name]
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=Path, help="write every measurement there, as JSON lines")
    asked = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wvo-soak-", ignore_cleanup_errors=True)))
        url = None
        if asked.store == "postgres":
            cluster = Cluster.make()
            stack.callback(cluster.close)
            url = stack.enter_context(cluster.database())
        workspace = Workspace(folder / "workspace", folder / "logs", url)
        stack.callback(workspace.close)
        findings = soak(workspace, asked.minutes * 60, seed=asked.seed)
        if asked.samples is not None:
            asked.samples.write_text("".join(json.dumps(sample) + "\n" for sample in findings.samples))
    wrong = findings.wrong + outgrown(findings)
    report = {
        "store": asked.store,
        "minutes": asked.minutes,
        "answers": dict(findings.answers.most_common()),
        "slowest call, s": round(findings.slowest_call, 2),
        "looks at the store": findings.looks,
        "slowest look, s": round(findings.slowest_look, 2),
        "second fifth -> last fifth": {name: f"{b} -> {a}" for name, (b, a) in grown(findings).items()},
        "most": {name: max(s[name] for s in findings.samples) for name in findings.samples[0] if name != "at"},
        "wrong": wrong[:20],
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
