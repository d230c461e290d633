"""The second step: compare with thresholds and with what is usual. Pure; every anomaly comes with its numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wvo_mcp.domain import health
from wvo_mcp.domain.health import Anomaly, AnomalyKind, Condition, Held, Hour, Provider, Severity, Thresholds, Walk
from wvo_mcp.domain.instant import iso
from wvo_mcp.orchestration.health.observe import Flow, Observation


@dataclass(frozen=True, slots=True)
class Orientation:
    """What the observation means."""

    observation: Observation
    metrics: Mapping[str, Any] | None
    """An entry of the report's `metricsHistory`; None when the counts could not be read."""
    anomalies: tuple[Anomaly, ...]
    judged: frozenset[AnomalyKind]
    """Kinds whose presence is known."""


def orient(seen: Observation, limits: Thresholds) -> Orientation:
    found: list[Anomaly] = []
    judged: set[AnomalyKind] = set()
    for kind, (needs, rule) in _RULES.items():
        values = [getattr(seen, name) for name in needs]
        if None not in values:
            judged.add(kind)
            if (verdict := rule(seen, limits, *values)) is not None:
                severity, message, evidence = verdict
                found.append(Anomaly(kind, severity, message[:2_000], evidence))
    return Orientation(seen, _metrics(seen, limits), tuple(found), frozenset(judged))


def stale(held: Sequence[Held], seen: Observation, limits: Thresholds) -> list[tuple[float, Held]]:
    """(seconds since the last sign of life, task) of those without a live holder, oldest first."""
    ages = [(one.stale_seconds(seen.at, limits), one) for one in held]
    return sorted(((age, one) for age, one in ages if age is not None), key=lambda pair: (-pair[0], pair[1].task_id))


def silent(seen: Observation, limits: Thresholds) -> list[str]:
    """Agents that hold tasks, all beyond the threshold, and are not there."""
    held = seen.held or ()
    over = {one.agent_id for age, one in stale(held, seen, limits) if age >= limits.stale_seconds}
    there = {one.agent_id for one in held if one.stale_seconds(seen.at, limits) is None}
    return sorted(agent for agent in over - there if agent is not None)


def _metrics(seen: Observation, limits: Thresholds) -> dict[str, Any] | None:
    if seen.flow is None:
        return None
    flow, counts = seen.flow, seen.flow.counts
    aged = [age for age, _ in stale(seen.held or (), seen, limits)]
    busy, idle = flow.agents.get("busy", 0), flow.agents.get("idle", 0)
    return {
        "timestamp": iso(seen.at),
        **{f"{name}Count": counts[name] for name in ("pending", "done", "blocked")},
        "inProgressCount": counts["in_progress"],
        "readyCount": flow.claimable,
        "queueDepth": flow.claimable,
        "wipUtilization": round(counts["in_progress"] / limits.wip_limit, 4),
        "throughputLastHour": flow.last_hour,
        "throughputLast5Min": flow.last_minutes,
        "staleTaskCount": sum(age >= limits.stale_seconds for age in aged),
        "maxStaleAgeMs": round(max(aged, default=0.0) * 1_000),
        "dependencySyncRatio": 1.0 if seen.walk is None else round(seen.walk.ratio, 4),
        "busyAgents": busy,
        "idleAgents": idle,
        "totalAgents": busy + idle,
    }


_Verdict = tuple[Severity, str, dict[str, Any]] | None
"""How bad it is, a sentence for people, and the numbers; None: no such anomaly."""


def _found(message: str, *, critical: bool = False, **evidence: Any) -> _Verdict:
    return Severity.CRITICAL if critical else Severity.WARNING, message, evidence


def _stale_tasks(seen: Observation, limits: Thresholds, held: Sequence[Held]) -> _Verdict:
    aged = [(age, one) for age, one in stale(held, seen, limits) if age >= limits.stale_seconds / 2]
    if not aged:
        return None
    oldest, over = aged[0][0], sum(age >= limits.stale_seconds for age, _ in aged)
    tasks = [{"id": one.task_id, "agent": one.agent_id, "age_seconds": round(age, 3)} for age, one in aged]
    return _found(
        f"{_many(len(aged), 'task')} in progress without a live agent; the last sign of life is {oldest / 60:.0f} min old.",
        critical=over > 0,
        count=len(aged),
        at_threshold=over,
        threshold_seconds=limits.stale_seconds,
        max_age_seconds=round(oldest, 3),
        tasks=tasks[: health.SHOWN],
    )


def _desync(seen: Observation, limits: Thresholds, walk: Walk) -> _Verdict:
    if walk.ratio >= health.DESYNC_WARNING:
        return None
    message = f"The store has {walk.present} of the roadmap's {walk.written} dependencies: run wvo-mcp roadmap-sync."
    numbers = {"written": walk.written, "present": walk.present, "ratio": round(walk.ratio, 4)}
    return _found(message, critical=walk.ratio < health.DESYNC_CRITICAL, **numbers)


def _degradation(seen: Observation, limits: Thresholds, flow: Flow, hours: Sequence[Hour]) -> _Verdict:
    usual = health.baseline(hours, seen.at) if _worked_for_an_hour(flow, seen) else None
    if usual is None or flow.last_hour >= min(health.FALL_WARNING * usual.usual, usual.lowest):
        return None
    return _found(
        f"{_many(flow.last_hour, 'task')} completed in the last hour; {usual.usual:g} are usual ({usual.of}).",
        critical=flow.last_hour < health.FALL_CRITICAL * usual.usual,
        last_hour=flow.last_hour,
        usual=usual.usual,
        deviation=usual.deviation,
        hours=usual.hours,
        compared_with=usual.of,
        ready=flow.claimable,
    )


def _worked_for_an_hour(flow: Flow, seen: Observation) -> bool:
    """Was there claimable work all the time, and no pause?"""
    waits = flow.ready_since is not None and flow.ready_since <= seen.at - health.STALLED
    return waits and flow.claimable > 0 and not flow.paused


def _starvation(seen: Observation, limits: Thresholds, flow: Flow) -> _Verdict:
    idle, pending, gated = flow.agents.get("idle", 0), flow.counts["pending"], flow.counts["ready"]
    if flow.paused or flow.claimable or not idle or not pending:
        return None
    return _found(
        f"{_many(idle, 'agent')} idle, nothing ready, {_many(pending, 'task')} pending: {pending - gated} wait for"
        f" dependencies, {gated} for time, approval, parts or a limit.",
        idle_agents=idle,
        pending=pending,
        waiting_for_dependencies=pending - gated,
        waiting_for_gates=gated,
        in_progress=flow.counts["in_progress"],
    )


def _empty(seen: Observation, limits: Thresholds, flow: Flow) -> _Verdict:
    known, held = sum(n for name, n in flow.counts.items() if name != "ready"), flow.counts["in_progress"]
    if flow.counts["pending"] or not known:
        return None
    numbers = {"pending": 0, "in_progress": held, "tasks": known}
    return Severity.INFO, f"No task is pending; {held} in progress.", numbers


def _stalled(seen: Observation, limits: Thresholds, flow: Flow) -> _Verdict:
    if flow.last_hour or not _worked_for_an_hour(flow, seen):
        return None
    return _found(
        f"No task was completed for an hour, though {_many(flow.claimable, 'task')} could be worked on.",
        critical=True,
        ready=flow.claimable,
        ready_since=None if flow.ready_since is None else iso(flow.ready_since),
        in_progress=flow.counts["in_progress"],
        agents=dict(flow.agents),
    )


def _growing(seen: Observation, limits: Thresholds, flow: Flow, before: Sequence[int]) -> _Verdict:
    depths = [*before, flow.claimable]
    cycles = health.rising(depths)
    if cycles < health.GROWING_CYCLES:
        return None
    message = f"More work becomes ready than is done: the queue grew in {cycles} cycles running, to {depths[-1]}."
    return _found(message, cycles=cycles, depths=depths[-health.SHOWN :])


def _cycle(seen: Observation, limits: Thresholds, walk: Walk) -> _Verdict:
    if not walk.cycle:
        return None
    shown = list(walk.cycle[: health.SHOWN + 1])
    message = f"These tasks wait for each other and will never be ready: {' -> '.join(shown)}."
    numbers = {"path": shown, "length": len(walk.cycle) - 1, "tasks_in_or_behind_cycles": walk.in_cycles}
    return _found(message, critical=True, **numbers)


def _stranded(seen: Observation, limits: Thresholds, pairs: Sequence[tuple[str, str]]) -> _Verdict:
    if not pairs:
        return None
    tasks = sorted({task for task, _ in pairs})
    wait = "waits" if len(tasks) == 1 else "wait"
    message = f"{_many(len(tasks), 'task')} {wait} for a cancelled or failed task: {', '.join(tasks[:5])}."
    listed = [{"id": task, "waiting_for": other} for task, other in pairs[: health.SHOWN]]
    return _found(message, count=len(tasks), tasks=listed)


def _capacity(seen: Observation, limits: Thresholds, providers: Sequence[Provider]) -> _Verdict:
    warn_at, windows = seen.budgets.warn_at, seen.budgets.windows
    full = {one.name: one for one in providers if one.capacity and one.used / one.capacity >= warn_at}
    # Windows of providers, and of their tiers, are named with them.
    others = [
        f"{one['scope']} {one['name']}"
        for one in windows
        if one["scope"] not in ("provider", "tier") or str(one["name"]).partition("/")[0] not in full
    ]
    if not full and not others:
        return None
    used = [{"provider": one.name, "used": one.used, "capacity": one.capacity} for one in full.values()]
    message = f"Nearly used up: {', '.join(dict.fromkeys([*full, *others]))}."
    shown = [dict(one) for one in windows[: health.SHOWN]]
    return _found(message, providers=used[: health.SHOWN], threshold=warn_at, windows=shown)


def _all_failing(seen: Observation, limits: Thresholds, known: Sequence[Provider]) -> _Verdict:
    if not known or any(one.state != "open" for one in known):
        return None
    names = [one.name for one in known]
    return _found(f"No provider answers: {', '.join(names)}.", critical=True, providers=names[: health.SHOWN])


def _database(seen: Observation, limits: Thresholds, found: Condition) -> _Verdict:
    free = health.FREE_WARNING if found.free_bytes is None else found.free_bytes
    journal = found.journal_bytes or 0
    wrong = {
        f"a write failed: {seen.failed.get('write')}": "write" in seen.failed,
        f"it is damaged: {found.damage}": found.damage is not None,
        f"its disk has {free / 1e6:.0f} MB left": free < health.FREE_WARNING,
        f"its journal has {journal / 1e6:.0f} MB: a long read keeps it from being merged": journal
        > health.JOURNAL_WARNING,
    }
    if not any(wrong.values()):
        return None
    critical = "write" in seen.failed or found.damage is not None or free < health.FREE_CRITICAL
    message = f"The database: {'; '.join(sentence for sentence, holds in wrong.items() if holds)}."
    numbers = {"bytes": found.bytes, "journal_bytes": found.journal_bytes, "free_bytes": found.free_bytes}
    return _found(message, critical=critical, **numbers)


def _zombies(seen: Observation, limits: Thresholds, vacant: Sequence[str], held: Sequence[Held]) -> _Verdict:
    gone = silent(seen, limits)
    names = [*vacant, *gone]
    if not names:
        return None
    message = f"{_many(len(names), 'agent')} shown with a task, but not connected: {', '.join(names[:5])}."
    return _found(
        message,
        count=len(names),
        hold_nothing=list(vacant[: health.SHOWN]),
        silent=gone[: health.SHOWN],
        threshold_seconds=limits.stale_seconds,
    )


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


_RULES: dict[AnomalyKind, tuple[tuple[str, ...], Callable[..., _Verdict]]] = {
    AnomalyKind.STALE_TASKS: (("held",), _stale_tasks),
    AnomalyKind.DEPENDENCY_DESYNC: (("walk",), _desync),
    AnomalyKind.THROUGHPUT_DEGRADATION: (("flow", "hours"), _degradation),
    AnomalyKind.WIP_STARVATION: (("flow",), _starvation),
    AnomalyKind.QUEUE_EMPTY: (("flow",), _empty),
    AnomalyKind.QUEUE_STALLED: (("flow",), _stalled),
    AnomalyKind.QUEUE_GROWING: (("flow", "depths"), _growing),
    AnomalyKind.CYCLE: (("walk",), _cycle),
    AnomalyKind.STRANDED: (("stranded",), _stranded),
    AnomalyKind.PROVIDER_CAPACITY: (("providers",), _capacity),
    AnomalyKind.ALL_PROVIDERS_FAILING: (("providers",), _all_failing),
    AnomalyKind.DATABASE: (("database",), _database),
    AnomalyKind.ZOMBIE_AGENTS: (("vacant", "held"), _zombies),
}
"""Each is called with the observation, the thresholds, and the readings that it needs."""
