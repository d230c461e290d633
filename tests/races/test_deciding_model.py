"""Histories of asking and deciding, with sessions that begin anew and clocks that jump: nothing is used twice, decided by who
asked, or approved for something else than was shown."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine, Generator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.support.bench import Bench
from tests.support.clock import StoppedClock
from tests.support.postgres import Cluster
from tests.support.providers import FixedProviders, limited, only
from tests.support.scale import sized
from tests.support.services import Services
from tests.support.sessions import Servers, a_person, an_agent
from tests.support.stores import Slate, a_fresh_store
from wvo_mcp.domain.approval import (
    Approval,
    ApprovalKind,
    ApprovalState,
    subject_hash,
    subject_of_command,
    subject_of_step,
)
from wvo_mcp.domain.instant import Instant
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.providers.catalogue import Catalogue, Limits
from wvo_mcp.errors import WvoError
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.roadmap.source import RoadmapSource
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.orchestration.routing import raising
from wvo_mcp.orchestration.routing.windows import window_of
from wvo_mcp.orchestration.tasks import asked
from wvo_mcp.ports import Transaction
from wvo_mcp.ports.providers import Spent

pytestmark = pytest.mark.requirement("APPR-1", "APPR-2")

NAMES = st.sampled_from(["ann", "bob", "ann.sub"])
TASKS = st.sampled_from(["T1", "T2"])
COMMANDS = st.sampled_from(["make", "make deploy", "make\rls"])
TOPICS = st.sampled_from(["flow/1", "flow/2"])
WEEK = 7 * 86_400


def the_step(topic: str, version: int) -> dict[str, Any]:
    return subject_of_step(topic, "deploy", f"deploy version {version}", {"version": version})


class Approvals(RuleBasedStateMachine):
    """Agents ask and use, people decide; whoever is refused changes nothing."""

    slate: Slate | None = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.clock, self.servers = StoppedClock(), Servers()
        self.session: dict[str, int] = {}
        self.before: dict[str, Approval] = {}
        self.used: list[str] = []
        self.limit = 100

    @initialize()
    def open(self) -> None:
        store = a_fresh_store(self.folder, self.slate, self.clock, self.servers)
        self.loop.run(store.open())
        policy = Policy(wip_limit=9, agent_wip_limit=9, approval_seconds=3_600)
        roadmap, directives = RoadmapSource(self.folder / "roadmap.yaml"), DirectiveFiles(self.folder)
        self.bench = Bench(
            Services(store=store, policy=policy, roadmap=roadmap, directives=directives),
            store,
            self.clock,
            self.servers,
        )
        gate = {"id": "G", "title": "begin", "requires_approval": True}
        tasks = [{"id": name, "title": name} for name in ("T1", "T2")]
        self.run(self.bench.call("create_tasks", self.agent("ann"), tasks=[*tasks, gate]))
        spent = Spent("zoe", "claude", "low", "m", 1_000_000, 1_000_000)
        self.run(self.bench.write(lambda tx: tx.routing.record(spent)))

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            self.loop.run(self.bench.store.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(work)

    def tried(self, work: Coroutine[Any, Any, Any]) -> Any:
        """None when it was refused."""
        try:
            return self.run(work)
        except WvoError:
            return None

    def agent(self, name: str) -> Caller:
        # A subagent works behind the connection of its agent.
        own = name.partition(".")[0]
        return an_agent(name, f"{own}/{self.session.get(own, 0)}")

    @property
    def catalogue(self) -> Catalogue:
        return limited("claude", Limits(daily=self.limit), only("claude"))

    def now(self) -> dict[str, Approval]:
        async def all_of_them(tx: Transaction) -> list[Approval]:
            return [*await tx.approvals.waiting(1_000), *await tx.approvals.decided(1_000)]

        return {one.approval_id: one for one in self.run(self.bench.read(all_of_them))}

    def time(self) -> Instant:
        """Of the store, which never goes back."""

        async def now(tx: Transaction) -> Instant:
            return tx.now

        return self.run(self.bench.write(now))

    @rule(name=NAMES, task=TASKS, command=COMMANDS)
    def work(self, name: str, task: str, command: str) -> None:
        """Claims, and asks for a command, or is told that it may run it: that is its use."""
        claimed = self.tried(self.bench.claim(self.agent(name), task))
        if claimed is None:
            return
        given = {"task_id": task, "lease_token": claimed["lease"]["token"], "command": command}
        answer = self.tried(self.bench.call("approval_request", self.agent(name), **given))
        if answer is None or answer["approval"]["state"] != "approved":
            return
        self.was_used(answer["approval"]["approval_id"], subject_of_command(task, command))
        self.run(self.bench.call("release_task", self.agent(name), task_id=task))

    @rule(name=NAMES, topic=TOPICS, version=st.integers(0, 1))
    def ask_step(self, name: str, topic: str, version: int) -> None:
        kind, subject = ApprovalKind.FLOW_STEP, the_step(topic, version)

        async def ask(tx: Transaction) -> Approval:
            return await deciding.ask_apart(tx, self.bench.policy, kind, topic, subject)

        self.run(self.bench.write(ask, self.agent(name)))

    @rule(topic=TOPICS, version=st.integers(0, 1))
    def use_step(self, topic: str, version: int) -> None:
        subject = the_step(topic, version)
        used = self.run(self.bench.write(lambda tx: deciding.use(tx, ApprovalKind.FLOW_STEP, subject)))
        if used is not None:
            self.was_used(used.approval_id, subject)

    @rule(name=NAMES)
    def meet_the_budget(self, name: str) -> None:
        async def ask(tx: Transaction) -> None:
            window = await window_of(tx, self.catalogue, "provider", "claude", "day")
            if window is not None and not window.has_room(1):
                await raising.ask(tx, window, 1, timedelta(hours=1))

        self.run(self.bench.write(ask, self.agent(name)))

    @rule(limit=st.sampled_from([100, 200]))
    def change_the_limit(self, limit: int) -> None:
        self.limit = limit

    @rule(title=st.sampled_from(["begin", "begin something else"]))
    def change_the_task(self, title: str) -> None:
        self.tried(self.bench.call("update_task", self.agent("ann"), task_id="G", title=title))

    @rule(task=st.sampled_from(["T1", "T2", "G"]), verb=st.sampled_from(["unblock", "cancel", "restore"]))
    def manage(self, task: str, verb: str) -> None:
        self.tried(self.bench.call(verb, a_person(), task_id=task))

    @rule(
        who=st.sampled_from(["owner", "owner", "carol", "ann", "bob"]),
        approved=st.booleans(),
        which=st.integers(0, 4),
        person=st.sampled_from([True, True, False]),
        meanwhile=st.sampled_from(["nothing", "nothing", "hours", "a week", "another limit", "another task"]),
    )
    def decide(self, who: str, approved: bool, which: int, person: bool, meanwhile: str) -> None:
        self.decided(who, approved, which, person, meanwhile)

    @rule(which=st.integers(0, 4), meanwhile=st.sampled_from(["nothing", "a week", "another limit", "another task"]))
    def approve(self, which: int, meanwhile: str) -> None:
        self.decided("owner", True, which, True, meanwhile)

    def decided(self, who: str, approved: bool, which: int, person: bool, meanwhile: str) -> None:
        if meanwhile in ("hours", "a week"):
            self.clock.advance(WEEK if meanwhile == "a week" else 3_600)
        elif meanwhile == "another limit":
            self.limit = 300 - self.limit
        elif meanwhile == "another task":
            self.run(self.bench.force("UPDATE tasks SET title = title || '!' WHERE id = 'G'"))
        known = sorted(self.now().values(), key=lambda one: (one.state is not ApprovalState.PENDING, one.seq))
        if not known:
            return
        one = known[which % len(known)]
        caller = a_person(who) if person else self.agent(who)
        bench = Bench(
            replace(self.bench.services, providers=FixedProviders(self.catalogue)),
            self.bench.store,
            self.clock,
            self.servers,
        )
        raises = len(self.run(bench.sql("SELECT id FROM budget_raises")))
        subject = self.run(self.bench.read(lambda tx: tx.tasks.get("G")))
        window = self.run(bench.read(lambda tx: window_of(tx, self.catalogue, "provider", "claude", "day")))
        now = self.time()
        answer = self.tried(bench.call("approve" if approved else "deny", caller, id=one.approval_id, reason="so"))
        after = self.now()[one.approval_id]
        more = len(self.run(bench.sql("SELECT id FROM budget_raises"))) - raises
        if answer is None:
            assert after.state in (one.state, ApprovalState.EXPIRED, ApprovalState.VOID)
            assert more == 0
            return
        assert caller.person and one.state is ApprovalState.PENDING and not one.late(now)
        assert (who, caller.session_id) != (one.asked_by, one.asked_session) and who != one.asked_by
        assert answer["approval"]["about"] == one.about
        if one.gate:
            assert subject_hash(asked.subject_of(subject)) == one.subject_hash
        if one.kind is ApprovalKind.BUDGET:
            assert window is not None and window.limit == one.subject["limit"]
        assert more == (approved and one.kind is ApprovalKind.BUDGET)

    @rule()
    def expire(self) -> None:
        now = self.time()
        for one in self.run(self.bench.write(deciding.expire)):
            assert self.before[one.approval_id].late(now)

    @rule(name=st.sampled_from(["ann", "bob"]))
    def begin_anew(self, name: str) -> None:
        self.servers.kill(f"{name}/{self.session.get(name, 0)}")
        self.session[name] = self.session.get(name, 0) + 1

    @rule(seconds=st.sampled_from([1, 601, 3_600, 86_400, WEEK]))
    def pass_time(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-86_400, -3_600, -1, 3_600]))
    def jump(self, seconds: int) -> None:
        self.clock.jump(seconds)

    def was_used(self, approval_id: str, subject: dict[str, Any]) -> None:
        before, after = self.before[approval_id], self.now()[approval_id]
        assert (before.state, after.state) == (ApprovalState.APPROVED, ApprovalState.USED)
        assert before.subject_hash == subject_hash(subject)
        assert before.expires_at is None or before.expires_at > before.created_at
        assert approval_id not in self.used
        self.used.append(approval_id)

    @invariant()
    def every_step_is_legal(self) -> None:
        if not hasattr(self, "bench"):
            return
        now = self.now()
        for known, before in self.before.items():
            after = now[known]
            assert (before.subject, before.subject_hash, before.asked_by) == (
                after.subject,
                after.subject_hash,
                after.asked_by,
            )
            if before.state is ApprovalState.APPROVED:
                assert after.state in (ApprovalState.APPROVED, ApprovalState.USED, ApprovalState.VOID)
            elif before.state is not ApprovalState.PENDING:
                assert after == before
        topics = [one.topic for one in now.values() if one.topic and one.state is ApprovalState.PENDING]
        assert len(topics) == len(set(topics))
        self.before = now


class ApprovalsOnPostgres(Approvals):
    """The same in a database."""


@pytest.fixture(scope="module")
def slate(postgres: Cluster) -> Generator[None]:
    with postgres.database() as url:
        ApprovalsOnPostgres.slate = Slate(postgres, url)
        yield


BOUNDED = settings(
    max_examples=sized(full=100, short=25),
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@pytest.mark.timeout(600)
def test_no_history_decides_or_uses_an_approval_wrongly() -> None:
    run_state_machine_as_test(Approvals, settings=BOUNDED)  # type: ignore[no-untyped-call]


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("slate")
def test_no_history_on_postgresql_decides_or_uses_an_approval_wrongly() -> None:
    fewer = settings(BOUNDED, max_examples=sized(full=50, short=8))
    run_state_machine_as_test(ApprovalsOnPostgres, settings=fewer)  # type: ignore[no-untyped-call]
