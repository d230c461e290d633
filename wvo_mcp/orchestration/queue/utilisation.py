"""How busy the agents are: time with a task over time known, within the last hour, from the audit trail."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.event import Event

BEGINS = "task.claimed"
ENDS = ("task.completed", "task.failed_attempt", "task.failed", "task.released", "task.blocked", "lease.expired")
"""Their data names the `holder` where a holder was left."""

WINDOW = timedelta(hours=1)


@dataclass(slots=True)
class _Days:
    """What one agent did: spans (from, to) with a task; `since` while it has one."""

    known: datetime
    holds: dict[str, datetime] = field(default_factory=dict[str, datetime])
    spans: deque[tuple[datetime, datetime]] = field(default_factory=deque[tuple[datetime, datetime]])


class Utilisation:
    """Fed with events in their order; knows nothing of what came before the first."""

    def __init__(self) -> None:
        self._agents: dict[str, _Days] = {}

    def note(self, event: Event) -> None:
        if event.task_id is None:
            return
        if event.kind == BEGINS:
            agent = self._agents.setdefault(str(event.data.get("agent")), _Days(event.at))
            agent.holds[event.task_id] = event.at
            return
        holder = event.data.get("holder")
        agent = self._agents.get(str(holder)) if holder is not None else None
        began = None if agent is None else agent.holds.pop(event.task_id, None)
        if agent is not None and began is not None:
            agent.spans.append((began, event.at))

    def figures(self, now: datetime) -> dict[str, Any]:
        """{window_seconds, pool, agents: {id: share}}: shares from 0 to 1 of those that worked within the window, and of all
        their time together (None: nobody did)."""
        begin = now - WINDOW
        shares: dict[str, float] = {}
        busy_all = known_all = 0.0
        for agent_id, agent in sorted(self._agents.items()):
            while agent.spans and agent.spans[0][1] <= begin:
                agent.spans.popleft()
            spans = [*agent.spans, *((began, now) for began in agent.holds.values())]
            if not spans:
                continue
            known = (now - max(begin, agent.known)).total_seconds()
            busy = min(known, _covered(spans, begin))
            shares[agent_id] = round(busy / known, 3) if known > 0 else 1.0
            busy_all += busy
            known_all += known
        pool = round(busy_all / known_all, 3) if known_all else None
        return {"window_seconds": int(WINDOW.total_seconds()), "pool": pool, "agents": shares}


def _covered(spans: list[tuple[datetime, datetime]], begin: datetime) -> float:
    """Seconds since `begin` in which at least one lasted."""
    covered, until = 0.0, begin
    for start, end in sorted(spans):
        if end > until:
            covered += (end - max(start, until)).total_seconds()
            until = end
    return covered
