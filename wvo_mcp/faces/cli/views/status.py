"""The state of work on one screen: what needs a person, what is in progress, what is ready, who is there, and the rest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from wvo_mcp.domain.instant import instant
from wvo_mcp.faces.cli.views.budgets import WINDOWS, noteworthy
from wvo_mcp.faces.cli.views.paint import STATUS, clean, clock
from wvo_mcp.faces.cli.views.plain import table

Row = dict[str, Any]

_BAR = 20
_FEW = 3
"""Rows that each part gets before the first ones get more."""
_GAUGES = 4
_LEVELS = "▁▂▃▄▅▆▇█"
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
    """A table of the screen, its columns as `screens.toml` has them. `more` is how many rows there are beyond these;
    `command` shows them all."""

    columns: str
    rows: Sequence[Row]
    more: int = 0
    command: str = ""

    def lines(self, most: int) -> int:
        """What it takes with at most so many rows: a gap, the headings, the rows, and a note of what is left out."""
        return 2 + min(most, len(self.rows)) + (most < len(self.rows) + self.more)

    def shown(self, most: int, now: datetime) -> RenderableType:
        over = max(0, len(self.rows) - most) + self.more
        rest = f"+{over} more" + (f": wvo-mcp {self.command}" if self.command else "")
        note = [Text(rest, "dim", no_wrap=True)] if over else []
        return Group(Text(), table(self.rows[:most], self.columns, now), *note)


@dataclass(frozen=True, slots=True)
class Screen:
    """The result of `status`, as much of it as the terminal has lines for; all of it where there is no terminal."""

    result: Row
    watched: bool = False
    """True: it is drawn again and again, and says how to end it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        result, now = self.result, instant(self.result["at"])
        needs = _needs(result)
        parts = [part for part in (needs, _held(result), _ready(result), _agents(result)) if part.rows]
        # Beside the parts: two lines above, two below, and one for the prompt that follows.
        room = console.height - (4 if self.watched else 5) if console.is_terminal else 10_000
        yield _headline(result)
        yield _legend(result)
        while len(parts) > 1 and sum(part.lines(_FEW) for part in parts) > room:
            parts.pop()
        for place, part in enumerate(parts):
            free = room - sum(later.lines(_FEW) for later in parts[place + 1 :])
            most = next((rows for rows in range(len(part.rows), 0, -1) if part.lines(rows) <= free), 0)
            if most:
                room -= part.lines(most)
                yield part.shown(most, now)
        for further in _further(result, now):
            lines = len(console.render_lines(further, options, pad=False))
            if lines <= room:
                room -= lines
                yield further
        yield Text()
        command, why = _next(result, needs, watched=self.watched)
        yield Text.assemble(
            (f"{clock(result['at'])}, Ctrl-C ends.  " if self.watched else "", "dim"),
            ("Next: " if command else "", "dim"),
            (f"wvo-mcp {command}" if command else "", "cyan"),
            f"  {why}" if command and why else "",
            no_wrap=True,
            overflow="ellipsis",
        )


def _headline(result: Row) -> Text:
    counts: dict[str, int] = result["counts"]
    total = sum(counts.get(name, 0) for name in STATUS)
    share = f" ({100 * counts.get('done', 0) // total} %)" if total else ""
    reason = f": {clean(result['paused_reason'])}" if result["paused_reason"] else ""
    return Text.assemble(
        (f"{counts.get('done', 0)} of {total} tasks done{share}", "bold"),
        f"   {counts.get('in_progress', 0)}/{result['wip_limit']} in progress   {counts.get('ready', 0)} ready",
        (f"   PAUSED{reason}" if result["paused"] else "", "bold yellow"),
        no_wrap=True,
        overflow="ellipsis",
    )


def _legend(result: Row) -> Text:
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
    waiting = counts.get("pending", 0) - counts.get("ready", 0) - result["held_back"]
    kinds = ("in_review", "awaiting_approval", "blocked", "failed", "cancelled")
    words = [(waiting, "waiting", ""), (result["held_back"], "held back", "")]
    words += [(counts.get(name, 0), name.replace("_", " "), STATUS[name]) for name in kinds]
    return line.append_text(Text(", ").join(Text(f"{n} {word}", style) for n, word, style in words if n > 0))


def _needs(result: Row) -> Part:
    """What waits for a person, with the command that ends it; an alert about one of these tasks says nothing more."""
    named = {task["id"] for task in result["needs_you"]}
    alerts = [
        {
            "id": f"alert {alert['id']}",
            "why": alert["severity"],
            "severity": alert["severity"],
            "text": alert["message"],
            "since": alert["raised_at"],
            "run": _CURES.get(alert["kind"], f"alert-ack {alert['id']}"),
        }
        for alert in sorted(result["alerts"], key=lambda alert: -alert["id"])
        if alert["acknowledged_at"] is None and alert["severity"] != "info" and alert["task_id"] not in named
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
    rows = [one for one in alerts if one["severity"] == "critical"] + tasks
    rows += [one for one in alerts if one["severity"] != "critical"] + stranded
    return Part("id=Needs_you~ why text=what~ since run=run_wvo-mcp~", rows, 0, "alerts")


def _held(result: Row) -> Part:
    more = result["counts"].get("in_progress", 0) - len(result["in_progress"])
    columns = "id=In_progress~ title~ agent_id=by~ progress started_at=since remaining=lease>"
    return Part(columns, result["in_progress"], more, "list-tasks --status in_progress")


def _ready(result: Row) -> Part:
    more = max(0, result["counts"]["ready"] - len(result["ready"]))
    return Part("id=Ready~ title~ epic_id=epic priority score>", result["ready"], more, "plan-next --limit 50")


def _agents(result: Row) -> Part:
    more = max(0, sum(result["pool"].values()) - len(result["agents"]))
    columns = "agent_id=Agents~ status current_task_id=task~ assigned_at=for last_seen_at=seen"
    return Part(columns, result["agents"], more)


def _further(result: Row, now: datetime) -> Iterator[RenderableType]:
    """What is left out first: budgets that are used, the pace, which server does the background work."""
    providers: list[Row] = result["providers"]["providers"] if result["providers"] else []
    failing = [{**one, "enabled": True} for one in providers if one["breakers"]]
    if failing:
        yield Group(Text(), table(failing, "name=Providers condition=~", now))
    used = noteworthy([window for one in providers for window in one["windows"]])
    if used:
        more = f"{len(used[_GAUGES:])} with more room: wvo-mcp budget show"
        yield Group(Text(), table(used[:_GAUGES], WINDOWS, now), *([Text(more, "dim")] if used[_GAUGES:] else []))
    flow = result["flow"]
    series: list[int] = flow["completed_per_5_min"]
    if any(series) or flow["created_last_hour"]:
        hour = f"{flow['completed_last_hour']} done, {flow['created_last_hour']} created"
        pace = f"  {sum(series)} done in 2 h; last hour: {hour}"
        line = Text.assemble(("Flow  ", "bold"), (sparkline(series), "green"), pace, no_wrap=True, overflow="ellipsis")
        yield Group(Text(), line)
    yield _leader(result["leader"])


def sparkline(values: Sequence[int]) -> str:
    """A column per value, its height the share of the greatest one; nothing at all is a line at the bottom."""
    greatest = max(values, default=0)
    return "".join(_LEVELS[max(1, -(-7 * value // greatest))] if value else _LEVELS[0] for value in values)


def _leader(leader: Row | None) -> Text:
    if leader is None:
        return Text("No server is running: background work waits for the next one.", "dim")
    name = clean(leader["agent_id"] or f"session {leader['session_id'][:8]}")
    if not leader["alive"]:
        return Text(f"The server of {name}, which led, is gone; the next server takes over.", "yellow")
    return Text(f"Background work is done by the server of {name}.", "dim", no_wrap=True, overflow="ellipsis")


def _next(result: Row, needs: Part, *, watched: bool) -> tuple[str, str]:
    """The command that makes sense now, and what it does."""
    counts: dict[str, int] = result["counts"]
    no_file = result["roadmap"] is None and not any(counts.get(name, 0) for name in STATUS)
    choices = (
        (result["paused"], "resume", "starts giving out tasks again"),
        (needs.rows, clean(needs.rows[0]["run"]) if needs.rows else "", ""),
        (no_file, "init", "writes a sample state/roadmap.yaml; or wvo-mcp add TITLE"),
        (counts["in_progress"], "" if watched else "status --watch", "keeps this on the screen"),
        (counts["ready"], "claim-task", "claims the first; or start an agent here"),
        (counts.get("pending"), "plan-next", "says what the rest waits for"),
    )
    for applies, command, why in choices:
        if applies:
            return command, why
    return "add TITLE", "adds a task; so does state/roadmap.yaml"
