"""A machine that plays calls on the store and on the model, and compares both after every step."""

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.support import model_calls as calls
from tests.support.agreement import contents
from tests.support.bench import OWNER
from tests.support.draws import (
    BY,
    CLEARED,
    DAYS,
    DONE,
    EPICS,
    FIELDS,
    IDS,
    LIMITS,
    MOST_TASKS,
    WRITES,
    batch,
)
from tests.support.model import World
from tests.support.sessions import an_agent
from tests.support.stage import Stage
from wvo_mcp.domain.task import Status
from wvo_mcp.orchestration import keeping
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Transaction


class Machine(Stage):
    """Steps are calls by agents and people, the passing of time, and servers that come and go."""

    # Plans of people and agents.

    @precondition(lambda self: len(self.world.tasks) < MOST_TASKS)
    @rule(by=BY, tasks=st.runner().flatmap(batch))
    def create(self, by: str, tasks: list[dict[str, Any]]) -> None:
        self.put_tasks(self.callers[by], tasks)

    @rule(by=BY, task_id=IDS, name=st.sampled_from([*FIELDS]), data=st.data())
    def edit(self, by: str, task_id: str, name: str, data: st.DataObject) -> None:
        caller = self.callers[by]
        values = FIELDS[name] | st.none() if name in CLEARED else FIELDS[name]
        given = {name: data.draw(values, label=name)}
        self.play(
            lambda world: calls.edit(world, caller, task_id, given),
            self.run("update_task", caller, task_id=task_id, **given),
        )

    @rule(
        by=BY | st.just("cli:owner"), task_id=IDS | DONE, add=st.sets(IDS, max_size=2), remove=st.sets(IDS, max_size=2)
    )
    def relink(self, by: str, task_id: str, add: set[str], remove: set[str]) -> None:
        caller = self.callers[by]
        remove -= add
        lists = {"add_depends_on": sorted(add), "remove_depends_on": sorted(remove)}
        self.play(
            lambda world: calls.relink(world, caller, task_id, add, remove),
            self.run("update_task", caller, task_id=task_id, **lists),
        )

    @precondition(lambda self: any(t.parent is not None for t in self.world.tasks.values()))
    @rule(by=BY)
    def await_children(self, by: str) -> None:
        """A parent that depends on its children as well."""
        parent = next(t.parent for t in self.world.tasks.values() if t.parent is not None)
        self.relink(by, parent, {t.id for t in self.world.tasks.values() if t.parent == parent}, set())

    @rule(due=st.dictionaries(st.sampled_from(["M1", "M2"]), DAYS | st.none()), limits=st.dictionaries(EPICS, LIMITS))
    def sync_groups(self, due: dict[str, int | None], limits: dict[str, int | None]) -> None:
        self.put_groups(due, limits)

    @rule(by=BY, task_id=IDS, to=st.sampled_from(["pending", "blocked", "cancelled"]), why=st.booleans())
    def set_status(self, by: str, task_id: str, to: str, why: bool) -> None:
        caller = self.callers[by]
        reason = {"reason": "because"} if why else {}
        self.play(
            lambda world: calls.set_status(world, caller, task_id, to, reason.get("reason")),
            self.run("update_task", caller, task_id=task_id, status=to, **reason),
        )

    @rule(task_id=IDS, verdict=st.sampled_from(["approve", "deny"]))
    def decide(self, task_id: str, verdict: str) -> None:
        verb = calls.approve if verdict == "approve" else calls.deny
        self.play(
            lambda world: verb(world, OWNER, task_id), self.run(verdict, OWNER, task_id=task_id, reason="because")
        )

    @rule(by=BY, task_id=IDS)
    def pause(self, by: str, task_id: str) -> None:
        """Nothing is given out until work is resumed."""

        def expect(world: World) -> None:
            world.record(OWNER)
            world.paused = not world.paused

        self.play(expect, self.run("pause", OWNER))
        self.claim_best(by, False, None)
        self.claim_named(by, False, task_id)
        self.play(expect, self.run("resume", OWNER))

    # Work.

    @rule(by=BY, sub=st.booleans(), seconds=st.sampled_from([None, 30, 5_000]))
    def claim_best(self, by: str, sub: bool, seconds: int | None) -> None:
        caller = self.callers[by]
        label = f"{caller.agent_id}.1" if sub else caller.agent_id
        for row in self.loop.run(self.bench.sql("SELECT id, score FROM tasks")):
            self.world.tasks[row["id"]].score = row["score"]  # a completion before it may have changed others
        expected, got = self.play(
            lambda world: calls.Claims(world, caller, label, seconds).best(),
            self.run("claim_task", caller, agent_id=label, lease_seconds=seconds),
        )
        assert ((got["task"] or {}).get("id"), got.get("reason")) == expected
        if got.get("reason") == "agent_wip_limit":
            mine = {task.id: task.token for task in self.world.in_progress(agent=label)}
            assert {held["id"]: held["lease"]["token"] for held in got["holding"]} == mine

    @rule(by=BY, times=st.integers(1, 4), seconds=st.sampled_from([0, 0, 250]))
    def work(self, by: str, times: int, seconds: int) -> None:
        """The whole of it, several times: claim the best, work for so long, complete it."""
        for _ in range(times):
            self.claim_best(by, False, None)
            self.pass_time(seconds)
            mine = self.world.in_progress(session=by)
            if mine:
                self.write(by, "complete_task", mine[0].id, 0, False, set(), False)

    @rule(by=BY, times=st.integers(1, 3))
    def lapse(self, by: str, times: int) -> None:
        """Leases that run out, one after the other."""
        for _ in range(times):
            self.claim_best(by, False, 30)
            self.pass_time(31)
            self.maintain(by, "reap")

    @rule(by=BY, sub=st.booleans(), task_id=IDS)
    def claim_named(self, by: str, sub: bool, task_id: str) -> None:
        caller = self.callers[by]
        label = f"{caller.agent_id}.1" if sub else caller.agent_id
        for row in self.loop.run(self.bench.sql("SELECT id, score FROM tasks")):
            self.world.tasks[row["id"]].score = row["score"]  # a completion before it may have changed others
        expected, got = self.play(
            lambda world: calls.Claims(world, caller, label, None).named(task_id),
            self.run("claim_task", caller, agent_id=label, task_id=task_id),
            left=lambda world: world.end_the_dead(caller.session_id),
        )
        assert got is None or got["task"]["id"] == expected

    @rule(by=BY, tool=st.sampled_from(WRITES), task_id=IDS, off=st.sampled_from([None, 0, 0, -1, 1]),
          retry=st.booleans(), waits=st.sets(IDS, max_size=2), mine=st.booleans())  # fmt: skip
    def write(
        self, by: str, tool: str, task_id: str, off: int | None, retry: bool, waits: set[str], mine: bool
    ) -> None:
        caller = self.callers[by]
        going = self.world.in_progress()
        if mine and going:
            # Most writes come from holders; the rest tries what must be refused.
            task_id = going[self.steps % len(going)].id
            caller = self.callers[self.world.tasks[task_id].session or ""] if off == 0 else caller
        known = self.world.tasks.get(task_id)
        token = None if off is None or known is None else max(0, known.token + off)
        arguments: dict[str, Any] = {"task_id": task_id, "lease_token": token}
        text = f"step {self.steps}"
        arguments |= {
            "heartbeat": {"note": text},
            "checkpoint": {"summary": text},
            "complete_task": {"summary": text},
            "fail_task": {"error": text, "retry": retry},
            "release_task": {"reason": text},
            "block_task": {"reason": text, "waiting_for": sorted(waits)},
        }[tool]
        leased = known is not None and known.status == "in_progress"
        expected, got = self.play(
            lambda world: calls.write(world, caller, tool, task_id, token, retry, sorted(waits)),
            self.run(tool, caller, **arguments),
        )
        if got is None or known is None:
            return
        if tool == "complete_task":
            assert sorted(got["unlocked"]) == sorted(expected)
        if leased and tool != "heartbeat":
            self.repeatable = (tool, caller, {**arguments, "lease_token": known.token}, got)

    @rule(by=BY, task_id=IDS, waits=st.sets(IDS, min_size=1, max_size=2), then=st.sampled_from(["stay", "pending"]))
    def hold_up(self, by: str, task_id: str, waits: set[str], then: str) -> None:
        """A pending task that waits for others, and perhaps is freed by hand."""
        self.write(by, "block_task", task_id, None, False, waits, False)
        if then == "pending":
            self.set_status(by, task_id, then, False)

    @rule(by=BY)
    def flounder(self, by: str) -> None:
        """Fail, come back after the delay, fail for good, and be tried anew."""
        mine = ""
        for retry in (True, False):
            self.claim_best(by, False, None)
            going = self.world.in_progress(session=by)
            if going:
                mine = going[0].id
                self.write(by, "fail_task", mine, 0, retry, set(), False)
                self.pass_time(61)
        if mine:
            self.set_status(by, mine, "pending", False)

    @precondition(lambda self: any(not (t.session or "").startswith("cli:") for t in self.world.in_progress()))
    @rule(
        how=st.sampled_from(["leaves", "is killed"]),
        off=st.sampled_from([None, 0, -1]),
        tool=st.sampled_from(WRITES),
        stranger=st.booleans(),
    )
    def succeed(self, how: str, off: int | None, tool: str, stranger: bool) -> None:
        """The server of a holder goes; another session of its agent, or of somebody else, writes in its place."""
        task = next(t for t in self.world.in_progress() if not (t.session or "").startswith("cli:"))
        if task.session in self.connected():
            self.depart(task.session, how)
        heirs = [
            by for by in self.connected() if (self.callers[by].agent_id != (task.agent or "").split(".")[0]) is stranger
        ]
        self.write(heirs[-1], tool, task.id, off, False, set(), False)

    @precondition(lambda self: self.repeatable is not None)
    @rule()
    def repeat(self) -> None:
        """The reply to the last write of a holder was lost: the same call comes again."""
        assert self.repeatable is not None
        tool, caller, arguments, first = self.repeatable
        before = self.loop.run(contents(self.bench))
        _, again = self.play(lambda world: None, self.run(tool, caller, **arguments))
        assert again == first
        assert self.loop.run(contents(self.bench)) == before

    @precondition(lambda self: self.world.in_progress())
    @rule(way=st.sampled_from(["awaiting_approval", "done", "pending", "blocked"]))
    def review(self, way: str) -> None:
        """Work is handed over to somebody who decides."""
        task_id = self.world.in_progress()[0].id
        if way == "awaiting_approval":
            self._move(task_id, way)
        else:
            self._move(task_id, "in_review")
            self.set_status("ann/2" if "ann/2" in self.connected() else "bob/1", task_id, "pending", False)
            self._move(task_id, way)

    def _move(self, task_id: str, to: str) -> None:
        async def move(tx: Transaction) -> None:
            await lifecycle.move(tx, await tx.tasks.get(task_id), Status(to), f"task.{to}")

        self.play(lambda world: world.move(world.get(task_id), to), self.within(move))

    @precondition(lambda self: any(t.status == "pending" for t in self.world.tasks.values()))
    @rule(agent=st.sampled_from(["ann", "bob"]), seconds=st.sampled_from([0, 61, 300]), by=BY, sub=st.booleans())
    def keep(self, agent: str, seconds: int, by: str, sub: bool) -> None:
        """A task waits for one agent; somebody asks for work."""
        pending = [t for t in self.world.tasks.values() if t.status == "pending"]
        task_id = pending[self.steps % len(pending)].id
        until = self.clock.now() + timedelta(seconds=seconds)

        async def keep(tx: Transaction) -> None:
            kept = {"kept_for": agent, "kept_until": until}
            await tx.tasks.change(await tx.tasks.get(task_id), "task.kept", kept, {})

        self.play(lambda world: world.keep(world.get(task_id), agent, seconds), self.within(keep))
        self.claim_named(by, sub, task_id)
        self.claim_best(by, sub, None)

    # Time and servers.

    @rule(seconds=st.sampled_from([1, 31, 61, 301, 90_000]))
    def pass_time(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.world.now = self.clock.now()

    @rule(by=BY.filter(lambda by: not by.startswith("cli:")), how=st.sampled_from(["leaves", "is killed"]))
    def depart(self, by: str, how: str) -> None:
        """The client goes away, or its server is killed; another connects under the same name."""
        caller = self.callers[by]
        if how == "is killed":
            self.servers.kill(by)
            self.world.sessions[by].dead = True
        else:
            end = keeping.end
            self.play(lambda world: world.end(by), lambda: end(self.bench.store, caller, self.bench.policy))
            self.world.sessions[by].ended = True
        self.join(an_agent(caller.agent_id, f"{caller.agent_id}/{len(self.callers) + 1}", *caller.capabilities))

    @rule(by=BY, task=st.sampled_from(["renew", "reap", "rescore"]))
    def maintain(self, by: str, task: str) -> None:
        """What servers do by themselves: renew their leases, return what expired, refresh scores that time changes."""
        caller = self.callers[by]
        if task == "renew":
            self.play(
                lambda world: [calls.renew(world, task) for task in world.in_progress(session=by)],
                self.within(lambda tx: tx.queue.renew(by), caller),
            )
        elif task == "reap":
            self.play(lambda world: world.reap(by), self.within(lambda tx: claims.reap(tx, self.bench.policy), caller))
        else:
            self.play(calls.rescore, self._sweep)

    async def _sweep(self) -> None:
        after: str | None = None
        while True:
            after = await self.bench.write(lambda tx, after=after: tx.graph.rescore_due(after, 2))
            if after is None:
                return
