"""The state of work on one screen: what needs a person, what is in progress, what is ready, who is there, and the rest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wvo_mcp.domain.instant import instant
from wvo_mcp.faces.cli.views.budgets import gauges
from wvo_mcp.faces.cli.views.paint import SEVERITY, STATUS, Listing, ago, clean, clock, left, span, text

_BAR = 20
_FEW = 3
"""Rows that each part gets before any gets more."""
_LEVELS = "▁▂▃▄▅▆▇█"
_RANKS = {"critical": 2, "warning": 1}
_VERBS = {"approval": "approve", "failed": "retry", "blocked": "unblock"}
_CURES = {
    "roadmap_guard": "alerts",
    "roadmap_invalid": "roadmap-sync",
    "trust": "trust",
    "clock_ahead": "set-time-back",
    "providers_file": "doctor",
}
"""Alerts with a command that explains or ends them; to acknowledge these would only hide them."""

Cells = Sequence[Text | str]


@dataclass(frozen=True, slots=True)
class Part:
    """A table of the screen. `more` is how many rows there are beyond these; `command` shows them all."""

    headings: Sequence[str]
    rows: Sequence[Cells]
    more: int = 0
    command: str = ""

    def lines(self, rows: int) -> int:
        """What it takes with so many rows: a gap, the headings, the rows, what is left out."""
        return 2 + rows + (rows < len(self.rows) + self.more) if rows else 0

    def shown(self, rows: int) -> RenderableType:
        listing = Listing(*self.headings)
        for cells in self.rows[:rows]:
            listing.add(*cells)
        over = len(self.rows) + self.more - rows
        rest = f"+{over} more" + (f": wvo-mcp {self.command}" if self.command else "")
        return Group(Text(), listing.table, *([Text(rest, "dim", no_wrap=True)] if over else []))


@dataclass(frozen=True, slots=True)
class Screen:
    """The result of `status`, as much of it as the terminal has lines for; all of it where there is no terminal."""

    result: dict[str, Any]
    watched: bool = False
    """True: it is drawn again and again, and says until when and how to end it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        now = instant(self.result["at"])
        # One line is for the prompt that follows.
        room = (console.height if self.watched else console.height - 1) if console.is_terminal else 10_000
        needs = _needs(self.result, now)
        parts = [
            part for part in (needs, _held(self.result, now), _ready(self.result), _agents(self.result, now)) if part
        ]
        rest = _rest(self.result, now)
        head = [_headline(self.result), _legend(self.result)]
        room -= len(head) + 2
        for part, rows in zip(parts, _fitting(parts, room), strict=True):
            head += [part.shown(rows)] if rows else []
            room -= part.lines(rows)
        yield from head
        for renderable in rest:
            lines = len(console.render_lines(renderable, options, pad=False))
            if lines <= room:
                room -= lines
                yield renderable
        yield Text()
        yield self._last(needs, now)

    def _last(self, needs: Part | None, now: datetime) -> Text:
        """The command that makes sense next."""
        line = Text(no_wrap=True, overflow="ellipsis")
        if self.watched:
            line.append(f"{clock(self.result['at'])}, Ctrl-C ends.  ", "dim")
        following = _next(self.result, needs, watched=self.watched)
        return line.append_text(Text.assemble(("Next: ", "dim"), following)) if following is not None else line


def _fitting(parts: Sequence[Part], room: int) -> list[int]:
    """Rows for each part: a few for all, in their order, then more for the first."""
    rows = [0] * len(parts)
    for most in (_FEW, room):
        for place, part in enumerate(parts):
            for wanted in range(rows[place] + 1, min(most, len(part.rows)) + 1):
                if part.lines(wanted) - part.lines(rows[place]) > room:
                    continue  # the last row takes no line more than the note that there is one
                room -= part.lines(wanted) - part.lines(rows[place])
                rows[place] = wanted
    return rows


def _headline(result: dict[str, Any]) -> Text:
    counts: dict[str, int] = result["counts"]
    total = sum(counts.get(name, 0) for name in STATUS)
    done = counts.get("done", 0)
    share = f" ({100 * done // total} %)" if total else ""
    head = Text.assemble(
        (f"{done} of {total} tasks done{share}", "bold"),
        f"   {counts.get('in_progress', 0)}/{result['wip_limit']} in progress   {counts.get('ready', 0)} ready",
        no_wrap=True,
        overflow="ellipsis",
    )
    if result["paused"]:
        reason = result["paused_reason"]
        head.append(f"   PAUSED{': ' + clean(reason) if reason else ''}", "bold yellow")
    return head


def _legend(result: dict[str, Any]) -> Text:
    """A bar of all tasks, and in words what the headline does not say."""
    counts: dict[str, int] = result["counts"]
    total = sum(counts.get(name, 0) for name in STATUS)
    if not total:
        return Text("No tasks yet.", "dim")
    line = Text(no_wrap=True, overflow="ellipsis")
    for name in ("done", "in_progress", "in_review", "awaiting_approval", "blocked", "failed"):
        part = counts.get(name, 0)
        line.append("█" * min(max(1, _BAR * part // total) if part else 0, _BAR - len(line)), STATUS[name])
    line.append("░" * (_BAR - len(line)) + "  ", "dim")
    waiting = counts.get("pending", 0) - counts.get("ready", 0)
    words = [(f"{waiting - result['held_back']} waiting", "")] if waiting > result["held_back"] else []
    words += [(f"{result['held_back']} held back", "")] if result["held_back"] else []
    kinds = ("in_review", "awaiting_approval", "blocked", "failed", "cancelled")
    words += [(f"{counts[name]} {name.replace('_', ' ')}", STATUS[name]) for name in kinds if counts.get(name)]
    return line.append_text(Text(", ").join(Text(*word) for word in words))


def _needs(result: dict[str, Any], now: datetime) -> Part | None:
    """What waits for a person, with the command that ends it; an alert about one of these tasks says nothing more."""
    named = {task["id"] for task in result["needs_you"]}
    alerts = [
        alert
        for alert in sorted(result["alerts"], key=lambda alert: (-_RANKS.get(alert["severity"], 0), -alert["id"]))
        if alert["acknowledged_at"] is None and alert["severity"] in _RANKS and alert["task_id"] not in named
    ]
    rows: list[Cells] = [_alert(one, now) for one in alerts if one["severity"] == "critical"]
    for task in result["needs_you"]:
        style = {"approval": "magenta", "failed": "red", "blocked": "yellow"}[task["why"]]
        said = task["detail"] or task["title"]
        verb = f"{_VERBS[task['why']]} {clean(task['id'])}"
        rows.append((text(task["id"], "bold"), text(task["why"], style), text(said), text(verb, "cyan")))
    rows += [_alert(one, now) for one in alerts if one["severity"] != "critical"]
    for task in result["stranded"]:
        behind = text(f"waits for {clean(task['waiting_for'])}, which is cancelled or failed")
        verb = text(f"get-task {clean(task['waiting_for'])}", "cyan")
        rows.append((text(task["id"], "bold"), text("stranded", "yellow"), behind, verb))
    return Part(("Needs you~", "why", "~", "run wvo-mcp~"), rows, 0, "alerts") if rows else None


def _alert(alert: dict[str, Any], now: datetime) -> Cells:
    said = Text.assemble(clean(alert["message"]), "  ", ago(alert["raised_at"], now))
    severity = text(alert["severity"], SEVERITY.get(alert["severity"], ""))
    verb = _CURES.get(alert["kind"], f"alert-ack {alert['id']}")
    return text(f"alert {alert['id']}", "bold"), severity, said, text(verb, "cyan")


def _held(result: dict[str, Any], now: datetime) -> Part | None:
    rows = [
        (
            text(task["id"], "bold"),
            text(task["title"]),
            text(task["agent_id"], "cyan"),
            "" if task["progress"] is None else f"{task['progress']} %",
            ago(task["started_at"], now),
            text("server gone", "yellow") if task.get("server_gone") else left(task["lease_expires_at"], now),
        )
        for task in result["in_progress"]
    ]
    more = result["counts"].get("in_progress", 0) - len(rows)
    headings = ("In progress~", "title~", "by~", "", "since", "lease>")
    return Part(headings, rows, more, "list-tasks --status in_progress") if rows else None


def _ready(result: dict[str, Any]) -> Part | None:
    rows = [
        (
            text(task["id"], "bold"),
            text(task["title"]),
            text(task["epic_id"], "dim"),
            text(task["priority"], "dim"),
            f"{task['score']:.2f}",
        )
        for task in result["ready"]
    ]
    more = max(0, result["counts"]["ready"] - len(rows))
    return (
        Part(("Ready~", "title~", "epic~", "priority", "score>"), rows, more, "plan-next --limit 50") if rows else None
    )


def _agents(result: dict[str, Any], now: datetime) -> Part | None:
    rows: list[Cells] = []
    for agent in result["agents"]:
        busy = agent["status"] == "busy" and agent["assigned_at"] is not None
        rows.append(
            (
                text(agent["agent_id"]),
                text(agent["status"], {"busy": "cyan", "offline": "dim"}.get(agent["status"], "")),
                text(agent["current_task_id"], "bold"),
                span((now - instant(agent["assigned_at"])).total_seconds()) if busy else "",
                ago(agent["last_seen_at"], now),
            )
        )
    more = sum(result["pool"].values()) - len(rows)
    headings = ("Agents~", "status", "task~", "for", "seen")
    return Part(headings, rows, max(0, more)) if rows else None


def _rest(result: dict[str, Any], now: datetime) -> list[RenderableType]:
    """What is left out first: budgets that are used, the pace, who does the background work."""
    stand = gauges(result["providers"], now) if result["providers"] is not None else []
    parts: list[RenderableType] = [Padding(Group(*stand), (1, 0, 0, 0))] if stand else []
    flow = result["flow"]
    series: list[int] = flow["completed_per_5_min"]
    pace = Text.assemble(("Flow  ", "bold"), (sparkline(series), "green"), no_wrap=True, overflow="ellipsis")
    hour = f"{flow['completed_last_hour']} done, {flow['created_last_hour']} created"
    pace.append(f"  {sum(series)} done in 2 h; last hour: {hour}")
    if any(series) or flow["created_last_hour"]:
        parts.append(Padding(pace, (1, 0, 0, 0)))
    return [*parts, _leader(result["leader"])]


def sparkline(values: Sequence[int]) -> str:
    """A column per value, its height the share of the greatest one; nothing at all is a line at the bottom."""
    greatest = max(values, default=0)
    return "".join(_LEVELS[max(1, -(-7 * value // greatest))] if value else _LEVELS[0] for value in values)


def _leader(leader: dict[str, Any] | None) -> Text:
    if leader is None:
        return Text("No server is running: background work waits for the next one.", "dim")
    who = clean(leader["agent_id"] or f"session {leader['session_id'][:8]}")
    if not leader["alive"]:
        return Text(f"The server of {who}, which led, is gone; the next server takes over.", "yellow")
    return Text(f"Background work is done by the server of {who}.", "dim", no_wrap=True, overflow="ellipsis")


def _next(result: dict[str, Any], needs: Part | None, *, watched: bool) -> Text | None:
    counts: dict[str, int] = result["counts"]
    if result["paused"]:
        return _run("resume", "gives out work again")
    if needs is not None:
        return _run(str(needs.rows[0][-1]), "")
    if not sum(counts.get(name, 0) for name in STATUS):
        if result["roadmap"] is None:
            return _run("init", "writes a sample state/roadmap.yaml; or wvo-mcp add TITLE")
        return _run("add TITLE", "adds a task; so does state/roadmap.yaml")
    if counts["in_progress"]:
        return None if watched else _run("status --watch", "keeps this on the screen")
    if counts["ready"]:
        return _run("claim-task", "takes the first; or start an agent here")
    if counts["pending"]:
        return _run("plan-next", "says what the rest waits for")
    return _run("add TITLE", "adds a task; so does state/roadmap.yaml")


def _run(command: str, why: str) -> Text:
    return Text.assemble((f"wvo-mcp {command}", "cyan"), f"  {why}" if why else "")


def status(result: dict[str, Any]) -> RenderableType:
    return Screen(result)


def watched(result: dict[str, Any]) -> RenderableType:
    return Screen(result, watched=True)
