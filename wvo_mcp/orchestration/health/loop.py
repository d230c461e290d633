"""Cycle after cycle on the leader, or a single one by hand."""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from wvo_mcp.domain.health import Remediation, Thresholds, Walk
from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.orchestration.health import walk as graph
from wvo_mcp.orchestration.health.act import act
from wvo_mcp.orchestration.health.decide import Decision, decide
from wvo_mcp.orchestration.health.observe import Observation, Prepare, observe
from wvo_mcp.orchestration.health.orient import Orientation, orient
from wvo_mcp.orchestration.leader import ROLE, Candidate, LeaderJob, LeaderTerm, Overtaken
from wvo_mcp.ports import SILENT, Clock, Probe, Store, Tracer, Transaction

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


class HealthLoop:
    """The health cycle of this server."""

    def __init__(
        self,
        limits: Thresholds,
        policy: Policy,
        clock: Clock,
        probe: Probe | None = None,
        tracer: Tracer = SILENT,
        prepare: Prepare | None = None,
    ) -> None:
        """`prepare` goes before each cycle that may act."""
        self.limits = limits
        self._policy = policy
        self.clock = clock
        self._probe = probe
        self._tracer = tracer
        self._prepare = prepare
        self._walk_after = 0.0
        self._term: LeaderTerm | None = None

    def jobs(self) -> tuple[LeaderJob, ...]:
        """For the leader: at once when it begins to lead, which is when the tasks of servers that are gone come back."""
        every = self.limits.interval_seconds
        return (LeaderJob("health", every, self._turn), LeaderJob("graph_walk", every, self._walk))

    async def cycle(self, term: LeaderTerm) -> Cycle:
        """One cycle. Raises Overtaken, and WvoError when the store cannot be read or written."""
        within = self._tracer.span
        with within("health.cycle", {"wvo.leader.token": term.token}) as span:
            with within("health.observe"):
                seen = await observe(term, term.caller, self.limits, self._probe, count=True, prepare=self._prepare)
            with within("health.orient"):
                meant = orient(seen, self.limits)
            with within("health.decide"):
                decision = decide(meant, self.limits)
            with within("health.act"):
                done = await act(term, meant, decision, self.limits, self._policy)
            span.set_attribute("wvo.health.anomalies", len(meant.anomalies))
            span.set_attribute("wvo.health.remedies", len(done))
        return Cycle(seen, meant, decision, done)

    async def _turn(self, term: LeaderTerm) -> None:
        self._term = term
        await self.cycle(term)

    async def _walk(self, term: LeaderTerm) -> None:
        began = self.clock.steady()
        if began < self._walk_after or not await graph.needed(term, term.caller):
            return
        await graph.keep(term, await graph.walk(term, term.caller))
        ended = self.clock.steady()
        self._walk_after = ended + _WALK_SHARE * (ended - began)

    async def by_hand(self, store: Store, caller: Caller) -> Cycle:
        """One cycle now, the walk over the graph included. It acts when this server leads, or the caller can; otherwise it
        shows what would be done."""
        found = await graph.walk(store, caller)  # before this session leads: it may take longer than its lease
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
        seen = await observe(store, caller, self.limits, self._probe, count=False)
        meant = orient(seen, self.limits)
        leader = await store.read(caller, lambda tx: tx.state.leader(ROLE))
        who = None if leader is None else leader["session_id"]
        return Cycle(seen, meant, decide(meant, self.limits), (), found, who or "another session")

    async def _acted(self, term: LeaderTerm, found: Walk) -> Cycle:
        await graph.keep(term, found)
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
