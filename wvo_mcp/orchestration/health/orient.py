"""The second step: compare with thresholds and with what is usual. Pure; every anomaly comes with its numbers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wvo_mcp.domain.health import (
    DESYNC_CRITICAL,
    DESYNC_WARNING,
    FALL_CRITICAL,
    FALL_WARNING,
    FREE_CRITICAL,
    FREE_WARNING,
    GROWING_CYCLES,
    JOURNAL_WARNING,
    SHOWN,
    STALLED,
    Anomaly,
    Held,
    Kind,
    Metrics,
    Severity,
    Thresholds,
    baseline,
    rising,
)
from wvo_mcp.domain.instant import iso
from wvo_mcp.orchestration.health.observe import Flow, Observation


@dataclass(frozen=True, slots=True)
class Orientation:
    """What the observation means."""

    observation: Observation
    metrics: Metrics | None
    """None when the counts could not be read."""
    anomalies: tuple[Anomaly, ...]
    judged: frozenset[Kind]
    """Kinds of which it can be told whether they are there."""


def orient(seen: Observation, limits: Thresholds) -> Orientation:
    found: list[Anomaly] = []
    judged: set[Kind] = set()
    for kinds, needs, judge in _JUDGES:
        if all(getattr(seen, name) is not None for name in needs):
            found += judge(seen, limits)
            judged.update(kinds)
    return Orientation(seen, _metrics(seen, limits), tuple(found), frozenset(judged))


def stale(held: Sequence[Held], seen: Observation, limits: Thresholds) -> list[tuple[float, Held]]:
    """(seconds since the last sign of life, task) of those behind which nobody lives, oldest first."""
    ages = [(one.stale_seconds(seen.at, limits), one) for one in held]
    return sorted(((age, one) for age, one in ages if age is not None), key=lambda pair: (-pair[0], pair[1].task_id))


def silent(seen: Observation, limits: Thresholds) -> list[str]:
    """Agents that hold tasks, all beyond the threshold, and are not there."""
    held = seen.held or ()
    over = {one.agent_id for age, one in stale(held, seen, limits) if age >= limits.stale_seconds}
    there = {one.agent_id for one in held if one.stale_seconds(seen.at, limits) is None}
    return sorted(agent for agent in over - there if agent is not None)


def _metrics(seen: Observation, limits: Thresholds) -> Metrics | None:
    if seen.flow is None:
        return None
    flow = seen.flow
    aged = stale(seen.held or (), seen, limits)
    busy, idle = flow.agents.get("busy", 0), flow.agents.get("idle", 0)
    return Metrics(
        timestamp=seen.at,
        pending_count=flow.counts["pending"],
        ready_count=flow.claimable,
        in_progress_count=flow.counts["in_progress"],
        done_count=flow.counts["done"],
        blocked_count=flow.counts["blocked"],
        queue_depth=flow.claimable,
        wip_utilization=round(flow.counts["in_progress"] / limits.wip_limit, 4),
        throughput_last_hour=flow.last_hour,
        throughput_last5_min=flow.last_minutes,
        stale_task_count=sum(age >= limits.stale_seconds for age, _ in aged),
        max_stale_age_ms=round(max((age for age, _ in aged), default=0.0) * 1_000),
        dependency_sync_ratio=1.0 if seen.walk is None else round(seen.walk.ratio, 4),
        busy_agents=busy,
        idle_agents=idle,
        total_agents=busy + idle,
    )


def _stale_tasks(seen: Observation, limits: Thresholds) -> Iterator[Anomaly]:
    aged = [(age, one) for age, one in stale(seen.held or (), seen, limits) if age >= limits.stale_seconds / 2]
    if not aged:
        return
    over = sum(age >= limits.stale_seconds for age, _ in aged)
    severity = Severity.CRITICAL if over else Severity.WARNING
    yield Anomaly(
        Kind.STALE_TASKS,
        severity,
        f"Nobody works on {_many(len(aged), 'task')} in progress; the last sign of life is {aged[0][0] / 60:.0f} min old.",
        {
            "count": len(aged),
            "at_threshold": over,
            "threshold_seconds": limits.stale_seconds,
            "max_age_seconds": round(aged[0][0], 3),
            "tasks": [
                {"id": one.task_id, "agent": one.agent_id, "age_seconds": round(age, 3)} for age, one in aged[:SHOWN]
            ],
        },
    )


def _desync(seen: Observation, limits: Thresholds) -> Iterator[Anomaly]:
    walk = seen.walk
    if walk is None or walk.ratio >= DESYNC_WARNING:
        return
    yield Anomaly(
        Kind.DEPENDENCY_DESYNC,
        Severity.CRITICAL if walk.ratio < DESYNC_CRITICAL else Severity.WARNING,
        f"Of {walk.written} dependencies that the roadmap writes the store has {walk.present}: run wvo-mcp roadmap-sync.",
        {
            "written": walk.written,
            "present": walk.present,
            "ratio": round(walk.ratio, 4),
            "thresholds": {"warning": DESYNC_WARNING, "critical": DESYNC_CRITICAL},
        },
    )


def _degradation(seen: Observation, limits: Thresholds) -> Iterator[Anomaly]:
    flow, past = seen.flow, seen.past
    if flow is None or past is None or not flow.counted or not _worked_for_an_hour(flow, seen):
        return
    usual = baseline(past.hours, seen.at)
    if usual is None or flow.last_hour >= min(FALL_WARNING * usual.usual, usual.lowest):
        return
    yield Anomaly(
        Kind.THROUGHPUT_DEGRADATION,
        Severity.CRITICAL if flow.last_hour < FALL_CRITICAL * usual.usual else Severity.WARNING,
        f"{_many(flow.last_hour, 'task')} completed in the last hour; {usual.usual:g} are usual ({usual.of}).",
        {
            "last_hour": flow.last_hour,
            "usual": usual.usual,
            "deviation": usual.deviation,
            "lowest_usual": round(usual.lowest, 4),
            "hours": usual.hours,
            "compared_with": usual.of,
            "ready": flow.claimable,
            "thresholds": {"warning": FALL_WARNING, "critical": FALL_CRITICAL},
        },
    )


def _worked_for_an_hour(flow: Flow, seen: Observation) -> bool:
    """Was there claimable work all the time, and no pause?"""
    waits = flow.ready_since is not None and flow.ready_since <= seen.at - STALLED
    return waits and flow.claimable > 0 and not flow.paused


def _stalled(seen: Observation, limits: Thresholds) -> Iterator[Anomaly]:
    flow = seen.flow
    if flow is None or not flow.counted or flow.last_hour or not _worked_for_an_hour(flow, seen):
        return
    since = flow.ready_since
    yield Anomaly(
        Kind.QUEUE_STALLED,
        Severity.CRITICAL,
        f"Nothing was completed for an hour, and {_many(flow.claimable, 'task')} could be worked on.",
        {
            "ready": flow.claimable,
            "ready_since": None if since is None else iso(since),
            "in_progress": flow.counts["in_progress"],
            "busy_agents": flow.agents.get("busy", 0),
            "idle_agents": flow.agents.get("idle", 0),
            "threshold_seconds": STALLED.total_seconds(),
        },
    )


def _starvation(seen: Observation, limits: Thresholds) -> Iterator[Anomaly]:
    flow = seen.flow
    if flow is None or flow.paused or flow.claimable:
        return
    idle, pending = flow.agents.get("idle", 0), flow.counts["pending"]
    if not idle or not pending:
        return
    gated = flow.counts["ready"]
    yield Anomaly(
        Kind.WIP_STARVATION,
        Severity.WARNING,
        f"{_many(idle, 'agent')} idle, nothing ready, {_many(pending, 'task')} pending:"
        f" {pending - gated} for what they depend on, {gated} for time, approval, parts or a limit.",
        {
            "idle_agents": idle,
            "pending": pending,
            "waiting_for_dependencies": pending - gated,
            "waiting_for_gates": gated,
            "in_progress": flow.counts["in_progress"],
        },
    )


def _empty(seen: Observation, limits: Thresholds) -> Iterator[Anomaly]:
    flow = seen.flow
    if flow is None or flow.counts["pending"]:
        return
    known = sum(n for name, n in flow.counts.items() if name != "ready")
    if known:
        yield Anomaly(
            Kind.QUEUE_EMPTY,
            Severity.INFO,
            f"No task is pending; {flow.counts['in_progress']} in progress.",
            {"pending": 0, "in_progress": flow.counts["in_progress"], "tasks": known},
        )


def _growing(seen: Observation, limits: Thresholds) -> Iterator[Anomaly]:
    if seen.flow is None or seen.past is None:
        return
    depths = [*seen.past.depths, seen.flow.claimable]
    cycles = rising(depths)
    if cycles >= GROWING_CYCLES:
        yield Anomaly(
            Kind.QUEUE_GROWING,
            Severity.WARNING,
            f"More work becomes ready than is done: the queue grew in {cycles} cycles running, to {depths[-1]}.",
            {"cycles": cycles, "threshold_cycles": GROWING_CYCLES, "depths": depths[-SHOWN:]},
        )


def _cycle(seen: Observation, limits: Thresholds) -> Iterator[Anomaly]:
    walk = seen.walk
    if walk is not None and walk.cycle:
        shown = list(walk.cycle[: SHOWN + 1])
        yield Anomaly(
            Kind.CYCLE,
            Severity.CRITICAL,
            f"These tasks wait for each other and will never be ready: {' -> '.join(shown)}.",
            {"path": shown, "length": len(walk.cycle) - 1, "tasks_in_or_behind_cycles": walk.in_cycles},
        )


def _stranded(seen: Observation, limits: Thresholds) -> Iterator[Anomaly]:
    pairs = seen.stranded.pairs if seen.stranded is not None else ()
    if pairs:
        tasks = sorted({task for task, _ in pairs})
        wait = "waits" if len(tasks) == 1 else "wait"
        yield Anomaly(
            Kind.STRANDED,
            Severity.WARNING,
            f"{_many(len(tasks), 'task')} {wait} for what was cancelled or failed: {', '.join(tasks[:5])}.",
            {
                "count": len(tasks),
                "tasks": [{"id": task, "waiting_for": other} for task, other in pairs[:SHOWN]],
            },
        )


def _capacity(seen: Observation, limits: Thresholds) -> Iterator[Anomaly]:
    warn_at = seen.budgets.warn_at
    full = [one for one in seen.providers or () if one.capacity and one.used / one.capacity >= warn_at]
    windows = seen.budgets.windows
    # Those of providers are told with them.
    names = [one.name for one in full]
    names += [f"{one['scope']} {one['name']}" for one in windows if not _of(one, {provider.name for provider in full})]
    if names:
        evidence: dict[str, Any] = {
            "providers": [{"provider": one.name, "used": one.used, "capacity": one.capacity} for one in full[:SHOWN]],
            "threshold": warn_at,
        }
        if windows:
            evidence["windows"] = [dict(one) for one in windows[:SHOWN]]
        message = f"Nearly used up: {', '.join(dict.fromkeys(names))}."[:2_000]
        yield Anomaly(Kind.PROVIDER_CAPACITY, Severity.WARNING, message, evidence)


def _of(window: Mapping[str, Any], providers: set[str]) -> bool:
    name = str(window["name"])
    return (window["scope"] == "provider" and name in providers) or (
        window["scope"] == "tier" and name.rpartition("/")[0] in providers
    )


def _all_failing(seen: Observation, limits: Thresholds) -> Iterator[Anomaly]:
    known = seen.providers or ()
    if known and all(one.state == "open" for one in known):
        yield Anomaly(
            Kind.ALL_PROVIDERS_FAILING,
            Severity.CRITICAL,
            f"No provider answers: {', '.join(one.name for one in known)}.",
            {"providers": [one.name for one in known[:SHOWN]]},
        )


def _database(seen: Observation, limits: Thresholds) -> Iterator[Anomaly]:
    found = seen.database
    wrong: list[str] = []
    critical = False
    if "write" in seen.failed:
        wrong.append(f"a write failed: {seen.failed['write']}")
        critical = True
    if found is not None and found.damage is not None:
        wrong.append(f"it is damaged: {found.damage}")
        critical = True
    if found is not None and found.free_bytes is not None and found.free_bytes < FREE_WARNING:
        wrong.append(f"{found.free_bytes / 1e6:.0f} MB are left on its disk")
        critical |= found.free_bytes < FREE_CRITICAL
    if found is not None and found.journal_bytes is not None and found.journal_bytes > JOURNAL_WARNING:
        wrong.append(f"its journal has {found.journal_bytes / 1e6:.0f} MB: a long read keeps it from being merged")
    if wrong:
        evidence: dict[str, Any] = {
            "thresholds": {"free": FREE_WARNING, "free_critical": FREE_CRITICAL, "journal": JOURNAL_WARNING}
        }
        if found is not None:
            evidence |= {"bytes": found.bytes, "journal_bytes": found.journal_bytes, "free_bytes": found.free_bytes}
        severity = Severity.CRITICAL if critical else Severity.WARNING
        yield Anomaly(Kind.DATABASE, severity, f"The database: {'; '.join(wrong)}."[:2_000], evidence)


def _zombies(seen: Observation, limits: Thresholds) -> Iterator[Anomaly]:
    vacant = seen.crew.vacant if seen.crew is not None else ()
    gone = silent(seen, limits)
    if vacant or gone:
        names = [*vacant, *gone]
        yield Anomaly(
            Kind.ZOMBIE_AGENTS,
            Severity.WARNING,
            f"{_many(len(names), 'agent')} shown with a task, and nobody is there: {', '.join(names[:5])}.",
            {
                "count": len(names),
                "hold_nothing": list(vacant[:SHOWN]),
                "silent": gone[:SHOWN],
                "threshold_seconds": limits.stale_seconds,
            },
        )


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


_Judge = Callable[[Observation, Thresholds], Iterator[Anomaly]]

_JUDGES: tuple[tuple[tuple[Kind, ...], tuple[str, ...], _Judge], ...] = (
    ((Kind.STALE_TASKS,), ("held",), _stale_tasks),
    ((Kind.DEPENDENCY_DESYNC,), ("walk",), _desync),
    ((Kind.THROUGHPUT_DEGRADATION,), ("flow", "past"), _degradation),
    ((Kind.WIP_STARVATION,), ("flow",), _starvation),
    ((Kind.QUEUE_EMPTY,), ("flow",), _empty),
    ((Kind.QUEUE_STALLED,), ("flow",), _stalled),
    ((Kind.QUEUE_GROWING,), ("flow", "past"), _growing),
    ((Kind.CYCLE,), ("walk",), _cycle),
    ((Kind.STRANDED,), ("stranded",), _stranded),
    ((Kind.PROVIDER_CAPACITY,), ("providers",), _capacity),
    ((Kind.ALL_PROVIDERS_FAILING,), ("providers",), _all_failing),
    ((Kind.DATABASE,), ("database",), _database),
    ((Kind.ZOMBIE_AGENTS,), ("crew", "held"), _zombies),
)
"""(kinds, what must have been seen, judge)."""


def ready_since(seen: Observation) -> str | None:
    """Since when there has been work to take up without a pause, this cycle included."""
    flow = seen.flow
    if flow is None or flow.paused or not flow.claimable:
        return None
    return iso(flow.ready_since or seen.at)
