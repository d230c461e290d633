"""The state of work on one screen: what needs a person, what is in progress, what is ready, who is there, and the rest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from wvo_mcp.domain.instant import instant
from wvo_mcp.faces.cli.views.budgets import WINDOWS, noteworthy
from wvo_mcp.faces.cli.views.paint import STATUS, clean, clock
from wvo_mcp.faces.cli.views.plain import table

_BAR = 20
_FEW = 3
"""Rows that each part gets before any gets more."""
_GAUGES = 4
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


@dataclass(frozen=True, slots=True)
class Part:
    """A table of the screen, its columns as `plain.declared` has them. `more` is how many rows there are beyond these;
    `command` shows them all."""

    columns: str
    rows: Sequence[dict[str, Any]]
    more: int = 0
    command: str = ""

    def lines(self, rows: int) -> int:
        """What it takes with so many rows: a gap, the headings, the rows, what is left out."""
        return 2 + rows + (rows < len(self.rows) + self.more) if rows else 0

    def shown(self, rows: int, now: datetime) -> RenderableType:
        over = len(self.rows) + self.more - rows
        rest = f"+{over} more" + (f": wvo-mcp {self.command}" if self.command else "")
        shown = table(self.rows[:rows], self.columns, now)
        return Group(Text(), shown, *([Text(rest, "dim", no_wrap=True)] if over else []))


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
        needs = _needs(self.result)
        parts = [part for part in (needs, _held(self.result), _ready(self.result), _agents(self.result)) if part.rows]
        rest = _rest(self.result, now)
        head = [_headline(self.result), _legend(self.result)]
        room -= len(head) + 2
        for part, rows in zip(parts, _fitting(parts, room), strict=True):
            head += [part.shown(rows, now)] if rows else []
            room -= part.lines(rows)
        yield from head
        for renderable in rest:
            lines = len(console.render_lines(renderable, options, pad=False))
            if lines <= room:
                room -= lines
                yield renderable
        yield Text()
        yield self._last(needs, now)

    def _last(self, needs: Part, now: datetime) -> Text:
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


def _needs(result: dict[str, Any]) -> Part:
    """What waits for a person, with the command that ends it; an alert about one of these tasks says nothing more."""
    named = {task["id"] for task in result["needs_you"]}
    alerts = [
        {
            "severity": alert["severity"],
            "id": f"alert {alert['id']}",
            "why": alert["severity"],
            "text": alert["message"],
            "since": alert["raised_at"],
            "run": _CURES.get(alert["kind"], f"alert-ack {alert['id']}"),
        }
        for alert in sorted(result["alerts"], key=lambda alert: (-_RANKS.get(alert["severity"], 0), -alert["id"]))
        if alert["acknowledged_at"] is None and alert["severity"] in _RANKS and alert["task_id"] not in named
    ]
    tasks = [
        {**task, "text": task["detail"] or task["title"], "run": f"{_VERBS[task['why']]} {task['id']}"}
        for task in result["needs_you"]
    ]
    stranded = [
        {
            "id": task["id"],
            "why": "stranded",
            "text": f"waits for {task['waiting_for']}, which is cancelled or failed",
            "run": f"get-task {task['waiting_for']}",
        }
        for task in result["stranded"]
    ]
    critical = [one for one in alerts if one["severity"] == "critical"]
    rows = [*critical, *tasks, *(one for one in alerts if one not in critical), *stranded]
    return Part("id=Needs_you~ why text=what~ since run=run_wvo-mcp~", rows, 0, "alerts")


def _held(result: dict[str, Any]) -> Part:
    rows = result["in_progress"]
    columns = "id=In_progress~ title~ agent_id=by~ progress started_at=since remaining=lease>"
    more = result["counts"].get("in_progress", 0) - len(rows)
    return Part(columns, rows, more, "list-tasks --status in_progress")


def _ready(result: dict[str, Any]) -> Part:
    rows = result["ready"]
    more = max(0, result["counts"]["ready"] - len(rows))
    return Part("id=Ready~ title~ epic_id=epic priority score>", rows, more, "plan-next --limit 50")


def _agents(result: dict[str, Any]) -> Part:
    rows = result["agents"]
    columns = "agent_id=Agents~ status current_task_id=task~ assigned_at=for last_seen_at=seen"
    return Part(columns, rows, max(0, sum(result["pool"].values()) - len(rows)))


def _rest(result: dict[str, Any], now: datetime) -> list[RenderableType]:
    """What is left out first: budgets that are used, the pace, who does the background work."""
    parts: list[RenderableType] = []
    providers: list[dict[str, Any]] = result["providers"]["providers"] if result["providers"] is not None else []
    failing = [{**one, "enabled": True} for one in providers if one["breakers"]]
    if failing:
        parts += [Text(), table(failing, "name=Providers condition=~", now)]
    used = noteworthy([window for one in providers for window in one["windows"]])
    if used:
        parts += [Text(), table(used[:_GAUGES], WINDOWS, now)]
    if used[_GAUGES:]:
        parts.append(Text(f"{len(used[_GAUGES:])} with more room: wvo-mcp budget show", "dim"))
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


def _next(result: dict[str, Any], needs: Part, *, watched: bool) -> Text | None:
    counts: dict[str, int] = result["counts"]
    if result["paused"]:
        return _run("resume", "gives out work again")
    if needs.rows:
        return _run(clean(needs.rows[0]["run"]), "")
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
