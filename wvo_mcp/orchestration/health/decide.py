"""The third step: which alerts to resolve, and which remedies to try. Only what cannot do harm is a remedy."""

from dataclasses import dataclass

from wvo_mcp.domain.health import AnomalyKind, Thresholds
from wvo_mcp.orchestration.health.orient import Orientation, silent, stale

AT_ONCE = 100
"""Remedies of one cycle; the rest follow in the next ones."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """One thing to do: a task goes back to pending, its checkpoints kept, or an agent no longer counts as one that could work.
    `token` is the lease that a task was judged under."""

    anomaly: AnomalyKind
    subject: str
    token: int | None = None

    @property
    def action(self) -> str:
        return "return_to_queue" if self.anomaly is AnomalyKind.STALE_TASKS else "put_offline"


@dataclass(frozen=True, slots=True)
class Decision:
    """Every anomaly raises an alert or refreshes the open one. `withheld` are the remedies that are not allowed
    (WVO_AUTOPILOT_HEALTH_AUTO_REMEDIATE=0)."""

    resolve: tuple[AnomalyKind, ...]
    remedies: tuple[Remedy, ...] = ()
    withheld: tuple[Remedy, ...] = ()


def decide(meant: Orientation, limits: Thresholds) -> Decision:
    seen = meant.observation
    there = {anomaly.kind for anomaly in meant.anomalies}
    over = tuple(kind for kind in seen.open if kind in meant.judged and kind not in there)
    held = seen.held or ()
    back = [
        Remedy(AnomalyKind.STALE_TASKS, one.task_id, one.token)
        for age, one in stale(held, seen, limits)
        if age >= limits.stale_seconds and one.returnable(seen.at, limits)
    ]
    # An agent that holds a task is not put offline: its tasks come first, and within the grace it may come back for them.
    holding = {one.agent_id for one in held if not one.returnable(seen.at, limits)}
    gone = [name for name in silent(seen, limits) if name not in holding]
    away = [] if seen.vacant is None else [*seen.vacant, *gone, *(seen.departed or ())]
    remedies = [*back, *(Remedy(AnomalyKind.ZOMBIE_AGENTS, name) for name in away)]
    if limits.auto_remediate:
        return Decision(over, remedies=tuple(remedies[:AT_ONCE]))
    return Decision(over, withheld=tuple(remedies[:AT_ONCE]))
