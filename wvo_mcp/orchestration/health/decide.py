"""The third step: which alerts to raise, which to resolve, and which remedies to try. Only what cannot do harm is a remedy."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from wvo_mcp.domain.health import Anomaly, AnomalyKind, Thresholds
from wvo_mcp.orchestration.health.orient import Orientation, silent, stale

AT_ONCE = 100
"""Remedies of one cycle; the rest follow in the next ones."""


class Action(StrEnum):
    RETURN = "return_to_queue"
    """The task goes back to pending, its checkpoints kept."""
    OFFLINE = "put_offline"
    """The agent no longer counts as one that could work."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """One thing to do. `token` is the lease that a task was judged under."""

    anomaly: AnomalyKind
    action: Action
    subject: str
    token: int | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`withheld` are the remedies that are not allowed (WVO_AUTOPILOT_HEALTH_AUTO_REMEDIATE=0)."""

    anomalies: tuple[Anomaly, ...]
    """Each raises an alert, or refreshes the open one."""
    resolve: tuple[AnomalyKind, ...]
    remedies: tuple[Remedy, ...]
    withheld: tuple[Remedy, ...]
    sample: Mapping[str, Any] | None
    working: bool
    """Was there anything to do, or being done?"""
    ready_since: datetime | None
    failed: Mapping[str, str]
    """Readings that failed."""


def decide(meant: Orientation, limits: Thresholds) -> Decision:
    seen = meant.observation
    there = {anomaly.kind for anomaly in meant.anomalies}
    remedies = _remedies(meant, limits)
    flow = seen.flow
    return Decision(
        anomalies=meant.anomalies,
        resolve=tuple(kind for kind in seen.open if kind in meant.judged and kind not in there),
        remedies=remedies if limits.auto_remediate else (),
        withheld=() if limits.auto_remediate else remedies,
        sample=meant.metrics,
        working=flow is not None and (flow.claimable > 0 or flow.counts["in_progress"] > 0) and not flow.paused,
        ready_since=None if flow is None else flow.ready_from(seen.at),
        failed=seen.failed,
    )


def _remedies(meant: Orientation, limits: Thresholds) -> tuple[Remedy, ...]:
    seen = meant.observation
    held = seen.held or ()
    back = [
        Remedy(AnomalyKind.STALE_TASKS, Action.RETURN, one.task_id, one.token)
        for age, one in stale(held, seen, limits)
        if age >= limits.stale_seconds and one.returnable(seen.at, limits)
    ]
    # An agent that holds a task is not put offline: its tasks come first, and within the grace it may come back for them.
    holding = {one.agent_id for one in held if not one.returnable(seen.at, limits)}
    gone = [name for name in silent(seen, limits) if name not in holding]
    away = [] if seen.vacant is None else [*seen.vacant, *gone, *(seen.departed or ())]
    return tuple([*back, *(Remedy(AnomalyKind.ZOMBIE_AGENTS, Action.OFFLINE, name) for name in away)][:AT_ONCE])
