"""Where the machine of `test_model` plays: a store, its model, and the comparison after every step."""

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from tests.support import model_calls as calls
from tests.support.agreement import compare, contents
from tests.support.bench import ANN, BOB, OWNER, Bench
from tests.support.clock import StoppedClock
from tests.support.draws import (
    CYD,
    FIRST,
)
from tests.support.model import ModelSession, Refused, World
from tests.support.services import Services
from tests.support.sessions import Servers, an_agent
from tests.support.stores import Slate, a_fresh_store
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.roadmap import Roadmap, RoadmapEpic, RoadmapMilestone, end_of_day
from wvo_mcp.errors import WvoError
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.orchestration.plan import roadmap
from wvo_mcp.ports import Transaction


class Stage(RuleBasedStateMachine):
    """A fresh store and its model, and one way to play a step on both."""

    slate: Slate | None = None
    """A database to play in; else in a file."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = StoppedClock()
        self.servers = Servers()
        self.steps = 0
        self.repeatable: tuple[str, Caller, dict[str, Any], dict[str, Any]] | None = None

    @initialize(wip=st.integers(2, 5), own=st.integers(1, 2), grace=st.sampled_from([0, 60]))
    def open(self, wip: int, own: int, grace: int) -> None:
        policy = Policy(wip_limit=wip, agent_wip_limit=own, lease_seconds=300, grace_seconds=grace)
        store = a_fresh_store(self.folder, self.slate, self.clock, self.servers)
        self.loop.run(store.open())
        files = RoadmapSource(self.folder / "roadmap.yaml")
        services = Services(store=store, policy=policy, roadmap=files, directives=DirectiveFiles(self.folder))
        self.bench = Bench(services, store, self.clock, self.servers)
        self.world = World(self.clock.now(), policy)
        self.callers: dict[str, Caller] = {}
        for caller in (ANN, an_agent("ann", "ann/2"), BOB, CYD, OWNER):
            self.join(caller)
        self.put_groups({"M1": None, "M2": 10}, {"E3": 1})
        self.put_tasks(ANN, FIRST)

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.loop.run(self.bench.store.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def join(self, caller: Caller) -> None:
        self.callers[caller.session_id] = caller
        session = ModelSession(caller.agent_id, caller.durable, caller.capabilities)
        self.world.sessions[caller.session_id] = session

    def connected(self) -> list[str]:
        return [name for name, session in self.world.sessions.items() if not session.dead and not session.ended]

    # One step on both sides.

    def play(
        self,
        expect: Callable[[World], Any],
        act: Callable[[], Coroutine[Any, Any, Any]],
        left: Callable[[World], bool] = lambda _: False,
    ) -> tuple[Any, Any]:
        """(what the model expects, what came), or (None, None) where both refuse; `left` does to the model what a refusal
        leaves behind, and says whether that is anything."""
        self.steps += 1
        trial = self.world.copy()
        trial.now = self.clock.now()
        trial.times.append(trial.now)
        try:
            expected = expect(trial)
        except Refused as refusal:
            before = self.loop.run(contents(self.bench))
            try:
                answer = self.loop.run(act())
            except WvoError as error:
                assert error.code in refusal.codes, (error.code, error.message)
            else:
                raise AssertionError(f"{refusal.codes} expected, not {answer}") from refusal
            after = self.world.copy()
            after.now = trial.now
            if left(after):
                after.times.append(after.now)
                self.world = after
            else:
                assert self.loop.run(contents(self.bench)) == before
            return None, None
        got = self.loop.run(act())
        self.world = trial
        return expected, got

    def run(self, name: str, caller: Caller, **arguments: Any) -> Callable[[], Coroutine[Any, Any, Any]]:
        return lambda: self.bench.call(name, caller, **arguments)

    def within(self, work: Callable[[Transaction], Any], caller: Caller = ANN) -> Callable[[], Any]:
        return lambda: self.bench.write(work, caller)

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "world"):
            self.settle()
            self.loop.run(compare(self.bench, self.world))

    def settle(self) -> None:
        """What has to happen before scores are final."""

    def put_tasks(self, caller: Caller, tasks: list[dict[str, Any]]) -> None:
        self.play(lambda world: calls.create(world, caller, tasks), self.run("create_tasks", caller, tasks=tasks))

    def put_groups(self, due: dict[str, int | None], limits: dict[str, int | None]) -> None:
        today = self.clock.now().date()
        days = {m: None if d is None else end_of_day(today + timedelta(days=d)) for m, d in due.items()}
        written = Roadmap(
            epics=tuple(RoadmapEpic(id=epic, title=epic, wip_limit=limit) for epic, limit in limits.items()),
            milestones=tuple(RoadmapMilestone(id=m, title=m, epic_id="E1", due_at=at) for m, at in days.items()),
            tasks=(),
            digest=f"digest {self.steps}",
        )

        def expect(world: World) -> None:
            world.record(OWNER)
            world.epics |= limits
            moved = {m for m, at in days.items() if world.milestones.get(m) != at}
            world.milestones |= days
            world.scored(task for task in world.tasks.values() if task.milestone in moved)

        self.play(expect, self.within(lambda tx: roadmap.sync(tx, written), OWNER))
