"""The state of work and what happened, on a terminal."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wvo_mcp.domain.instant import instant
from wvo_mcp.faces.cli.views.budgets import gauges
from wvo_mcp.faces.cli.views.paint import SEVERITY, STATUS, Listing, ago, clean, joined, label, left, span, text

_BAR = 40
_SHARE = 24
_ALERTS = 4
_RANKS = {"critical": 2, "warning": 1, "info": 0}
_LEVELS = "▁▂▃▄▅▆▇█"


def status(result: dict[str, Any]) -> RenderableType:
    now = instant(result["at"])
    counts: dict[str, int] = result["counts"]
    parts: list[RenderableType] = [_headline(result), _bar(counts), _legend(counts), Text(), _gauges(result)]
    if result["alerts"]:
        parts += _block("Alerts", _alerts(result["alerts"], now))
    stand = gauges(result["providers"], now) if result["providers"] is not None else []
    if stand:
        parts += _block("Budgets", Group(*stand))
    if result["in_progress"]:
        held = Listing("task~", "title~", "by~", "progress>", "since", "lease left>")
        for task in result["in_progress"]:
            held.add(
                text(task["id"], "bold"),
                text(task["title"]),
                text(task["agent_id"], "cyan"),
                "" if task["progress"] is None else f"{task['progress']} %",
                ago(task["started_at"], now),
                left(task["lease_expires_at"], now),
            )
        parts += _block("In progress", held.table)
    if result["ready"]:
        ready = Listing("task", "title~", "score>")
        for task in result["ready"]:
            ready.add(text(task["id"], "bold"), text(task["title"]), f"{task['score']:.2f}")
        parts += _block(f"Ready, best of {counts.get('ready', len(result['ready']))}", ready.table)
    if result["agents"]:
        ahead: dict[str, Any] = result["prefetch"]
        told: dict[str, Any] | None = ahead["utilisation"]
        shares: dict[str, float] = told["agents"] if told is not None else {}
        kept = {entry["agent_id"]: entry["task_id"] for entry in reversed(ahead["queue"])}
        agents = Listing("agent~", "status", "task~", "for", "next~", "busy>", "seen")
        for agent in result["agents"]:
            share = shares.get(agent["agent_id"])
            agents.add(
                text(agent["agent_id"]),
                text(agent["status"], {"busy": "cyan", "offline": "dim"}.get(agent["status"], "")),
                text(agent["current_task_id"], "bold"),
                _lasting(agent, now),
                text(kept.get(agent["agent_id"]), "dim"),
                "" if share is None else f"{share:.0%}",
                ago(agent["last_seen_at"], now),
            )
        parts += _block("Agents", agents.table)
    if result["stranded"]:
        stranded = Listing("task", "waits for what was cancelled or failed")
        for task in result["stranded"]:
            stranded.add(text(task["id"], "bold"), text(task["waiting_for"], "yellow"))
        parts += _block("Stranded", stranded.table)
    parts += [Text(), _leader(result["leader"])]
    return Group(*parts)


def _gauges(result: dict[str, Any]) -> RenderableType:
    """Work in progress and agents as bars, what came and went, and the pace of the last two hours."""
    held, limit = result["counts"].get("in_progress", 0), result["wip_limit"]
    pool: dict[str, int] = result["pool"]
    busy = pool.get("busy", 0)
    there = busy + pool.get("idle", 0)
    flow = result["flow"]
    series: list[int] = flow["completed_per_5_min"]
    wip = _share("wip", held, limit, "cyan", f"{held} of {limit}")
    wip.append(f"   queue {result['queue_depth']}")
    crew = _share("agents", busy, there, "blue", f"{busy} of {there} busy")
    if pool.get("offline"):
        crew.append(f", {pool['offline']} offline", "dim")
    pace = Text.assemble(("flow     ", "dim"), (sparkline(series), "green"))
    pace.append(f"  {sum(series)} done in 2 h", "dim")
    hour = Text.assemble(
        ("         ", ""),
        f"{flow['completed_last_hour']} done and {flow['created_last_hour']} created in the last hour",
        (f", at most {max(series)} done in 5 min" if any(series) else "", "dim"),
    )
    return Group(wip, crew, pace, hour)


def _share(name: str, part: int, whole: int, style: str, words: str) -> Text:
    filled = min(_SHARE, round(_SHARE * part / whole)) if whole else 0
    percent = f" ({100 * part // whole} %)" if whole else ""
    bar = ("█" * filled, style), ("░" * (_SHARE - filled), "dim")
    return Text.assemble((name.ljust(9), "dim"), *bar, f"  {words}{percent}")


def sparkline(values: Sequence[int]) -> str:
    """A column per value, its height the share of the greatest one; nothing at all is a line at the bottom."""
    greatest = max(values, default=0)
    return "".join(_LEVELS[max(1, -(-7 * value // greatest))] if value else _LEVELS[0] for value in values)


def _alerts(alerts: Sequence[dict[str, Any]], now: datetime) -> RenderableType:
    """The worst, and of these the newest: what stands above all else may not fill the screen."""
    worst = sorted(alerts, key=lambda alert: (-_RANKS.get(alert["severity"], 1), -alert["id"]))
    shown = [_alert(alert, now) for alert in worst[:_ALERTS]]
    more = len(alerts) - len(shown)
    return Group(*shown, *([Text(f"{more} more: wvo-mcp alerts", "dim")] if more else []))


def _alert(alert: dict[str, Any], now: datetime) -> RenderableType:
    """Two lines: a message beside all the rest would be cut to nothing on a narrow terminal."""
    head = Text.assemble(
        (f"{alert['id']}  ", "dim"),
        (clean(alert["severity"]), SEVERITY.get(alert["severity"], "")),
        f"  {clean(alert['kind'])}",
        (f"  {clean(alert['task_id'])}" if alert["task_id"] else "", "bold"),
        "  ",
        ago(alert["raised_at"], now),
        ("  seen to" if alert["acknowledged_at"] is not None else "", "dim"),
    )
    head.no_wrap, head.overflow = True, "ellipsis"
    body = text(alert["message"])
    body.no_wrap, body.overflow = True, "ellipsis"
    body.plain = body.plain.replace("\n", " ")
    return Group(head, Padding(body, (0, 0, 0, 3)))


def _lasting(agent: dict[str, Any], now: datetime) -> Text:
    if agent["status"] != "busy" or agent["assigned_at"] is None:
        return Text()
    return Text(span((now - instant(agent["assigned_at"])).total_seconds()))


def _leader(leader: dict[str, Any] | None) -> Text:
    if leader is None:
        return Text("No server leads: background work waits for the next one.", "dim")
    who = clean(leader["agent_id"] or f"session {leader['session_id']}")
    if not leader["alive"]:
        return Text(f"The server of {who} led until it was lost; another follows within seconds.", "yellow")
    return Text(f"Background work is done by the server of {who}.", "dim")


def _block(heading: str, content: RenderableType) -> list[RenderableType]:
    return [Text(), label(heading), Padding(content, (0, 0, 0, 2))]


def _headline(result: dict[str, Any]) -> Text:
    counts: dict[str, int] = result["counts"]
    total = sum(counts.get(name, 0) for name in STATUS)
    done = counts.get("done", 0)
    share = f" ({100 * done // total} %)" if total else ""
    head = Text.assemble(
        (f"{done} of {total} tasks done{share}", "bold"),
        f"   {counts.get('in_progress', 0)}/{result['wip_limit']} in progress   {counts.get('ready', 0)} ready",
    )
    if result["paused"]:
        reason = result["paused_reason"]
        head.append(f"   PAUSED{': ' + clean(reason) if reason else ''}", "bold yellow")
    return head


def _bar(counts: dict[str, int]) -> Text:
    total = sum(counts.get(name, 0) for name in STATUS)
    bar = Text()
    if not total:
        return bar
    for name in ("done", "in_progress", "in_review", "awaiting_approval", "blocked", "failed"):
        part = counts.get(name, 0)
        width = max(1, _BAR * part // total) if part else 0
        bar.append("█" * min(width, _BAR - len(bar)), STATUS[name])
    bar.append("░" * (_BAR - len(bar)), "dim")
    return bar


def _legend(counts: dict[str, int]) -> Text:
    shown = [
        Text(f"{counts[name]} {name.replace('_', ' ')}", style) for name, style in STATUS.items() if counts.get(name, 0)
    ]
    return Text(", ").join(shown) if shown else Text("No tasks yet: write state/roadmap.yaml, or wvo-mcp add.", "dim")


def events(result: dict[str, Any]) -> RenderableType:
    if not result["events"]:
        return Text("No events.", "dim")
    trail = Listing("seq>", "at", "event", "task", "by~", "data~")
    for event in result["events"]:
        trail.add(
            str(event["seq"]),
            text(event["at"][:19] + "Z", "dim"),
            text(event["kind"]),
            text(event["task_id"], "bold"),
            text(event["agent_id"], "dim"),
            text(json.dumps(event["data"], ensure_ascii=False) if event["data"] else "", "dim"),
        )
    more = Text(f"More: --after {result['next_after']}", "dim") if result["more"] else Text()
    return Group(trail.table, more)


def synced(result: dict[str, Any]) -> RenderableType:
    if result["guard"] is not None and result["unchanged"]:
        return text(result["guard"], "bold yellow")
    if result["unchanged"]:
        return Text(f"The roadmap is unchanged: {result['tasks']} tasks.", "dim")
    parts: list[RenderableType] = [Text(f"The roadmap has {result['tasks']} tasks.", "bold")]
    for name, style in (("created", "green"), ("updated", "cyan"), ("cancelled", "yellow"), ("restored", "green")):
        if result[name]:
            count = result["created_count"] if name == "created" else len(result[name])
            parts.append(Text.assemble((f"{count} {name}: ", style), joined(result[name], 12)))
    parts += [text(warning, "yellow") for warning in result["warnings"]]
    if result["guard"] is not None:
        parts.append(text(result["guard"], "bold yellow"))
    return Group(*parts)


def switch(result: dict[str, Any]) -> RenderableType:
    if not result["paused"]:
        return Text("Work is given out.", "green")
    reason = f": {clean(result['reason'])}" if result["reason"] else ""
    return Text(f"Paused{reason}. What is in progress may be finished; wvo-mcp resume goes on.", "yellow")
