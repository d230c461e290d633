"""Cycle after cycle on the leader, or a single one by hand; and the walk over the whole graph: are there cycles, does the
table hold what the roadmap writes?

It goes in slices, so that no other read waits for it, and only when an edge changed or the roadmap was read again. Product
code lets no cycle in; what it finds was written past it.
"""

import itertools
from array import array
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread

from wvo_mcp.domain.dependency import find_cycle, knotted
from wvo_mcp.domain.health import Remediation, Thresholds, Walk
from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.orchestration.health.act import act
from wvo_mcp.orchestration.health.decide import Decision, decide
from wvo_mcp.orchestration.health.observe import WALKED, Observation, Prepare, observe, walked
from wvo_mcp.orchestration.health.orient import Orientation, orient
from wvo_mcp.orchestration.leader import ROLE, Candidate, LeaderJob, LeaderTerm, Overtaken
from wvo_mcp.orchestration.plan.roadmap import SYNCED
from wvo_mcp.ports import SILENT, Clock, Probe, Store, Tracer, Transaction

_EDGES, _ENTRIES = 2_000, 400
"""Of one slice."""


async def walk(store: Store, caller: Caller) -> Walk:
    """What the store holds now; what changes meanwhile is a reason for the next walk."""
    changes, digest = await store.read(caller, _state)
    written = present = 0
    after: str | None = ""
    while after is not None:
        begin = after
        after, more, there = await store.read(caller, lambda tx, begin=begin: tx.health.written_links(begin, _ENTRIES))
        written, present = written + more, present + there
    path, number = await _cycle(store, caller)
    return Walk(changes, digest, written, present, tuple(path), number)


async def _state(tx: Transaction) -> tuple[int, str | None]:
    changes = await tx.health.edge_changes()
    synced = await tx.state.get(SYNCED)
    return changes, None if synced is None else synced["digest"]


async def _cycle(store: Store, caller: Caller) -> tuple[list[str], int]:
    sources, targets = array("q"), array("q")
    last: tuple[str, str] = ("", "")
    while True:
        edges = await store.read(caller, lambda tx, last=last: tx.health.edges_behind(last, _EDGES))
        for _, _, a, b in edges:
            sources.append(a)
            targets.append(b)
        if len(edges) < _EDGES:
            break
        last = edges[-1][:2]
        await anyio.lowlevel.checkpoint()  # others of this server have waited
    left = await anyio.to_thread.run_sync(knotted, sources, targets)
    if not left:
        return [], 0
    path = find_cycle(left) or []
    return await store.read(caller, partial(_confirmed, path)), len(left)


async def _confirmed(path: Sequence[int], tx: Transaction) -> list[str]:
    """The ids, if every edge is there at one moment: the slices were read one after the other."""
    ids = await tx.health.ids(path)
    named = [ids[seq] for seq in path if seq in ids]
    for task_id, other in itertools.pairwise(named):
        if other not in {row["id"] for row in await tx.tasks.dependencies(task_id)}:
            return []
    return named


_WALK_SHARE = 20
"""A walk over the graph that took one second is not repeated for this many seconds."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """The result of each step. `leader`: the session that alone may act, when it is not ours; nothing was changed then."""

    observation: Observation
    orientation: Orientation
    decision: Decision
    done: tuple[Remediation, ...]
    walk: Walk | None = None
    leader: str | None = None


@dataclass(eq=False)
class HealthLoop:
    """The health cycle of this server."""

    limits: Thresholds
    policy: Policy
    clock: Clock
    probe: Probe | None = None
    tracer: Tracer = SILENT
    prepare: Prepare | None = None
    """Goes before each cycle that may act."""
    _walk_after: float = field(default=0.0, init=False)
    _term: LeaderTerm | None = field(default=None, init=False)

    def jobs(self) -> tuple[LeaderJob, ...]:
        """For the leader: at once when it begins to lead, which is when the tasks of servers that are gone come back."""
        every = self.limits.interval_seconds
        return (LeaderJob("health", every, self._turn), LeaderJob("graph_walk", every, self._walk))

    async def cycle(self, term: LeaderTerm) -> Cycle:
        """One cycle. Raises Overtaken, and WvoError when the store cannot be read or written."""
        within = self.tracer.span
        with within("health.cycle", {"wvo.leader.token": term.token}) as span:
            with within("health.observe"):
                seen = await observe(term, term.caller, self.limits, self.probe, count=True, prepare=self.prepare)
            with within("health.orient"):
                meant = orient(seen, self.limits)
            with within("health.decide"):
                decision = decide(meant, self.limits)
            with within("health.act"):
                done = await act(term, meant, decision, self.limits, self.policy)
            span.set_attribute("wvo.health.anomalies", len(meant.anomalies))
            span.set_attribute("wvo.health.remedies", len(done))
        return Cycle(seen, meant, decision, done)

    async def _turn(self, term: LeaderTerm) -> None:
        self._term = term
        await self.cycle(term)

    async def _walk(self, term: LeaderTerm) -> None:
        async def changed(tx: Transaction) -> bool:
            last = await walked(tx)
            return last is None or (last.changes, last.digest) != await _state(tx)

        began = self.clock.steady()
        if began < self._walk_after or not await term.read(term.caller, changed):
            return
        found = await walk(term, term.caller)
        await term.write(term.caller, lambda tx: tx.state.put(WALKED, asdict(found)))
        ended = self.clock.steady()
        self._walk_after = ended + _WALK_SHARE * (ended - began)

    async def by_hand(self, store: Store, caller: Caller) -> Cycle:
        """One cycle now, the walk over the graph included. It acts when this server leads, or the caller can; otherwise it
        shows what would be done."""
        found = await walk(store, caller)  # before this session leads: it may take longer than its lease
        if self._term is not None:
            with suppress(Overtaken):
                return await self._acted(self._term, found)
            self._term = None
        term = await Candidate(store, lambda: caller, self.clock).seek()
        if term is not None:
            try:
                with suppress(Overtaken):
                    return await self._acted(term, found)
            finally:
                if caller.durable:  # it has no process: the next server leads at once
                    await store.write(caller, lambda tx: tx.state.resign(ROLE))
        seen = await observe(store, caller, self.limits, self.probe, count=False)
        meant = orient(seen, self.limits)
        leader = await store.read(caller, lambda tx: tx.state.leader(ROLE))
        who = None if leader is None else leader["session_id"]
        return Cycle(seen, meant, decide(meant, self.limits), (), found, who or "another session")

    async def _acted(self, term: LeaderTerm, found: Walk) -> Cycle:
        await term.write(term.caller, lambda tx: tx.state.put(WALKED, asdict(found)))
        return replace(await self.cycle(term), walk=found)


async def leads(tx: Transaction) -> bool:
    """Does any server lead, as far as can be seen?"""
    row = await tx.state.leader(ROLE)
    if row is None or row["session_id"] is None or row["expires_at"] <= iso(tx.now):
        return False
    return tx.liveness.alive(row["session_id"])


async def late(tx: Transaction, limits: Thresholds) -> str | None:
    """Why it cannot be said that the health cycle runs; None when it does."""
    if not await leads(tx):
        return "no server is running: health is not monitored until one starts"
    last = await tx.health.samples(1)
    if not last:
        return "the first health cycle has not ended yet"
    age = tx.now - instant(last[0]["timestamp"])
    if age > timedelta(seconds=3 * limits.interval_seconds + 15):
        return f"the last health cycle ended {age.total_seconds():.0f} s ago"
    return None
