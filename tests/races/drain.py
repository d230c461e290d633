"""Agents that work a store empty, each through a server of its own, while some of the servers are killed."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tests.support.dag import random_tasks
from tests.support.databases import looked_at
from tests.support.http_client import HttpClient
from tests.support.linear import judged
from tests.support.recording import Recorder, recorded
from tests.support.stdio_client import HANDSHAKE, MODERN, Gone, Refused, StdioClient
from tests.support.workspace import Workspace

START_SECONDS = 240.0
EPIC_LIMITS = {"NARROW": 1, "SMALL": 2, "WIDE": 5, "OPEN": None}


def seed_tasks(workspace: Workspace, count: int, seed: int) -> None:
    """A random graph in four epics, three of them with a limit, created through the doors that people and agents use."""
    lines = ["epics:"]
    for epic, limit in EPIC_LIMITS.items():
        lines += [
            f"  - id: {epic}",
            f"    title: {epic}",
            *([f"    wip_limit: {limit}"] if limit else []),
            "    tasks: []",
        ]
    (workspace.root / "state").mkdir(exist_ok=True)
    (workspace.root / "state" / "roadmap.yaml").write_text("\n".join(lines) + "\n")
    planner = workspace.server("planner")
    tasks = random_tasks(count, seed=seed, epics=list(EPIC_LIMITS))
    for start in range(0, count, 500):
        planner.call("create_tasks", {"tasks": tasks[start : start + 500], "request_id": f"batch-{start}"})
    assert planner.end() == 0


class Ledger:
    """What the agents of one drain know together."""

    def __init__(self) -> None:
        self.finished = threading.Event()
        self.moved = threading.Event()
        """Set whenever a task was completed; then other work may be ready."""
        self.wrong: list[str] = []
        self.answers: Counter[str] = Counter()
        self.resumed = 0
        """Claims that came with the checkpoint of somebody before."""
        self.room: float = float("inf")
        """So many tasks may be done; then all wait until there is more room."""
        self._waiting_for: set[str] = set()
        self._checkpoints: dict[str, int] = {}
        self._lock = threading.Lock()

    def expect(self, names: Iterable[str]) -> None:
        """Nobody begins a second task before each of these has done one: whose server starts late finds work, too."""
        self._waiting_for = set(names)

    def did(self, name: str) -> None:
        """This agent has completed a task."""
        with self._lock:
            self._waiting_for.discard(name)
        self.moved.set()
        self.moved.clear()

    def may_begin(self, name: str) -> bool:
        with self._lock:
            return (not self._waiting_for or name in self._waiting_for) and self.answers["complete_task"] < self.room

    def count(self, what: str) -> None:
        with self._lock:
            self.answers[what] += 1

    def object(self, what: str) -> None:
        self.wrong.append(what)
        self.finished.set()

    def checkpointed(self, task_id: str, seq: int) -> None:
        with self._lock:
            self._checkpoints[task_id] = max(seq, self._checkpoints.get(task_id, 0))

    def claimed(self, task_id: str, resume: dict[str, Any] | None) -> None:
        """An acknowledged checkpoint reaches the next holder."""
        with self._lock:
            known = self._checkpoints.get(task_id, 0)
            self.resumed += resume is not None
        given = 0 if resume is None else resume["seq"]
        if given < known:
            self.object(f"{task_id} was claimed with checkpoint {given}, but {known} had been acknowledged")


class Agent(threading.Thread):
    """Claims and completes until the drain is finished. When its server dies it gets another one, as itself or under a
    new name."""

    def __init__(self, workspace: Workspace, name: str, ledger: Ledger, *, seed: int, mortal: bool) -> None:
        super().__init__(name=name)
        self.client: StdioClient | HttpClient | None = None
        self.serving = False
        self.holding = False
        """In the middle of a task."""
        self._workspace = workspace
        self._ledger = ledger
        self._chance = random.Random(seed)
        self._mortal = mortal
        self._lives = 0
        self._calls = 0
        self._known_as = name
        self._history = Recorder(workspace.logs / f"history-{name}.jsonl")

    def run(self) -> None:
        try:
            self._start()
            while not self._ledger.finished.is_set():
                self._work()
            assert self.client is not None
            self.client.end()
        except Exception as error:
            if not (isinstance(error, Gone) and self._mortal and self._ledger.finished.is_set()):
                self._ledger.object(f"{self.name}: {error!r}")
        finally:
            self._history.close()

    def _start(self) -> None:
        self.serving = False
        self._lives += 1
        era = self._chance.choice((HANDSHAKE, MODERN))
        name = self.name if self._lives == 1 or self._chance.random() < 0.5 else f"{self.name}.{self._lives}"
        self._known_as = name
        while not self._ledger.finished.is_set():
            self.client = self._workspace.spawn(name, era=era)
            try:
                self.client.open(START_SECONDS)
                self.serving = True
                return
            except Gone:
                if not self._mortal:
                    raise

    def _work(self) -> None:
        if not self._ledger.may_begin(self.name):
            self._ledger.moved.wait(0.1)
            return
        claim = self._ask("claim_task")
        if claim is None or claim["task"] is None:
            if claim is not None:
                self._ledger.count(claim["reason"])
            self._ledger.moved.wait(0.1)
            return
        task_id, token = claim["task"]["id"], claim["lease"]["token"]
        self._ledger.claimed(task_id, claim["resume"])
        self.holding = True
        self._to_the_end(task_id, token)
        self.holding = False

    def _to_the_end(self, task_id: str, token: int) -> None:
        for _ in range(self._chance.choice((0, 0, 1, 2))):
            if not self._on_the_way(task_id, token):
                return
        if self._ask("complete_task", task_id=task_id, lease_token=token, summary=f"{self.name} did it") is not None:
            self._ledger.did(self.name)

    def _on_the_way(self, task_id: str, token: int) -> bool:
        """Something that agents do while they work; False when the task turned out to be lost."""
        held = {"task_id": task_id, "lease_token": token}
        what = self._chance.choice(
            ("checkpoint", "checkpoint", "checkpoint", "heartbeat", "plan_next", "context_write")
        )
        if what == "plan_next":
            return self._ask("plan_next", limit=3) is not None
        if what == "context_write":
            return self._ask("context_write", topic=f"about {task_id}", content="noted", task_id=task_id) is not None
        if what == "heartbeat":
            return self._ask("heartbeat", **held, progress=self._chance.randint(0, 100)) is not None
        saved = self._ask("checkpoint", **held, summary=f"step {self._calls} of {self.name}", next_steps="go on")
        if saved is not None:
            self._ledger.checkpointed(task_id, saved["checkpoint"]["seq"])
        return saved is not None

    def _ask(self, tool: str, **arguments: Any) -> dict[str, Any] | None:
        """The answer. None when the lease is lost, which only happens to agents whose servers die; a call whose answer
        was lost is repeated to the next server."""
        self._calls += 1
        if tool in ("claim_task", "context_write"):
            arguments["request_id"] = f"{self.name}-{self._calls}"
        while True:
            client = self.client
            assert client is not None
            try:
                given = self._history.call(
                    self._known_as, tool, arguments, lambda client=client: client.call(tool, arguments, deadline=120)
                )
            except Refused as refused:
                self._ledger.count(refused.code)
                if refused.code != "stale_lease" or not self._mortal:
                    raise
                return None
            except Gone:
                if not self._mortal or self._ledger.finished.is_set():
                    raise
                self._start()
                self._ledger.count("repeated")
            else:
                self._ledger.count(tool)
                return given


def drain(
    workspace: Workspace,
    count: int,
    agents: int,
    *,
    seconds: float,
    kill_every: float | None = None,
    seed: int = 7,
    blows: Sequence[Callable[[], object]] = (),
    make: Callable[..., Agent] = Agent,
) -> Ledger:
    """Until `count` tasks are done. Fails when that takes longer.

    A random server is killed every so often, if something was done since the last time, and on a machine where all is done
    in no time also after every tenth. The `blows` come one after the other, evenly over the work, which waits for each.
    """
    share = count // (len(blows) + 1)
    left = list(blows)
    ledger = Ledger()
    ledger.room = share + agents if blows else ledger.room
    chance = random.Random(seed)
    team = [
        make(workspace, f"agent-{number}", ledger, seed=seed + number, mortal=kill_every is not None)
        for number in range(agents)
    ]
    ledger.expect(agent.name for agent in team)
    for agent in team:
        agent.start()
    until = time.monotonic() + seconds
    next_kill = time.monotonic() + (kill_every or seconds)
    done = mark = 0
    while done < count and not ledger.finished.is_set() and time.monotonic() < until:
        ledger.finished.wait(0.05)
        with looked_at(workspace.source) as database:
            done = database.value("SELECT n FROM counters WHERE name = 'done'")
        if left and done >= share * (len(blows) - len(left) + 1):
            ledger.room = ledger.room + share if len(left) > 1 else float("inf")
            left.pop(0)()
        # On a slow machine servers that are killed by the clock would never come to do anything.
        if kill_every is not None and ((done > mark and time.monotonic() >= next_kill) or done >= mark + count // 10):
            killed = kill_one(team, chance)
            ledger.answers["killed"] += killed
            next_kill = time.monotonic() + kill_every
            mark = done if killed else mark
    ledger.finished.set()
    for agent in team:
        agent.join(START_SECONDS)
    assert not ledger.wrong, ledger.wrong
    with looked_at(workspace.source) as database:
        violations = judged(recorded(workspace.logs.glob("history-*.jsonl")), database)
    assert not violations, "\n".join(map(str, violations[:20]))
    assert done == count, f"{done} of {count} tasks were done in {seconds} s; {dict(ledger.answers)}"
    return ledger


def kill_one(team: Sequence[Agent], chance: random.Random) -> int:
    """How many were killed: none while less than half of them serve, for on a busy machine no work would be done. One in
    the middle of a task where there is any; now and then one that is still starting."""
    serving = [agent for agent in team if agent.client is not None and agent.client.running and agent.serving]
    starting = [agent.client for agent in team if agent.client is not None and not agent.serving]
    if len(serving) * 2 < len(team):
        return 0
    holding = [agent.client for agent in serving if agent.client is not None and agent.holding]
    victims = holding or [agent.client for agent in serving if agent.client is not None]
    chance.choice(starting if starting and chance.random() < 0.2 else victims).kill()
    return 1
