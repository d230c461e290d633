"""The state of work on one screen: what needs a person, what is in progress, what is ready, who is there, and the rest."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.text import Text

from wvo_mcp.domain.instant import instant
from wvo_mcp.faces.cli.views.cells import NEARLY, STATUS, clean, local, sparkline
from wvo_mcp.faces.cli.views.plain import table

Row = dict[str, Any]

_BAR = 20
_FEW = 3
"""Rows that each part gets before the first ones get more."""
_GAUGES = 4


@dataclass(frozen=True, slots=True)
class Part:
    """A table of the screen. `total` is how many rows there are, of which these are the first; `command` shows them all."""

    columns: str
    rows: Sequence[Row]
    total: int
    command: str = ""

    def lines(self, most: int) -> int:
        """What it takes with at most so many rows: a gap, the headings, the rows, and a note of what is left out."""
        return 2 + min(most, len(self.rows)) + (most < self.total)

    def shown(self, most: int, now: datetime) -> RenderableType:
        rest = f"+{self.total - most} more" + (f": wvo-mcp {self.command}" if self.command else "")
        note = [Text(rest, "dim", no_wrap=True)] if most < self.total else []
        return Group(Text(), table(self.rows[:most], self.columns, now), *note)


@dataclass(frozen=True, slots=True)
class Screen:
    """The result of `status`, as much of it as the terminal has lines for; all of it where there is no terminal."""

    result: Row
    columns: dict[str, str]
    watched: bool = False
    """True: it is drawn again and again, and says how to end it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        result, now, counts = self.result, instant(self.result["at"]), self.result["counts"]
        needs = [{**one, "text": one["detail"] or one["title"]} for one in result["needs_you"]]
        tables = (
            ("needs", needs, len(needs), "attention"),
            ("running", result.get("running", []), counts.get("in_progress", 0), "list-tasks --status in_progress"),
            ("merging", result.get("merging", []), counts.get("in_review", 0), "merge queue"),
            ("ready", result["ready"], counts["ready"], "plan-next --limit 50"),
            ("agents", result["agents"], sum(result["pool"].values()), ""),
        )
        parts = [
            Part(self.columns[name], rows, max(total, len(rows)), run) for name, rows, total, run in tables if rows
        ]
        # Beside the parts: two lines above, two below, and one for the prompt that follows.
        room = console.height - (4 if self.watched else 5) if console.is_terminal else 10_000
        yield from _head(result)
        while len(parts) > 1 and sum(part.lines(_FEW) for part in parts) > room:
            parts.pop()
        for place, part in enumerate(parts):
            free = room - sum(later.lines(_FEW) for later in parts[place + 1 :])
            most = next((rows for rows in range(len(part.rows), 0, -1) if part.lines(rows) <= free), 0)
            if most:
                room -= part.lines(most)
                yield part.shown(most, now)
        for further in self._further(now):
            lines = len(console.render_lines(further, options, pad=False))
            if lines <= room:
                room -= lines
                yield further
        yield Text()
        on_screen = self.watched and str(result["next"]["command"]).startswith("status ")
        command, why = ("", "") if on_screen else (clean(result["next"]["command"]), result["next"]["why"])
        yield _line(
            (f"{now.astimezone():%H:%M:%S}, Ctrl-C ends.  " if self.watched else "", "dim"),
            ("Next: " if command else "", "dim"),
            (f"wvo-mcp {command}" if command else "", "cyan"),
            (f"  {why}" if command and why else "", ""),
        )

    def _further(self, now: datetime) -> Iterator[RenderableType]:
        """What is left out first: why nothing runs, budgets that are used, the pace, which server does the background work."""
        result = self.result
        if result["holds"]:
            said = "Waiting" if result["counts"].get("in_progress") else "Not running"
            yield Group(Text(), *(_hold(said, one) for one in result["holds"]))
        providers: list[Row] = result["providers"]["providers"] if result["providers"] else []
        failing = [{**one, "enabled": True} for one in providers if one["breakers"]]
        if failing:
            yield Group(Text(), table(failing, self.columns["failing"], now))
        # Budgets that are used or nearly reserved, the tightest first. What a claim reserves says nothing until then.
        windows = [one for provider in providers for one in provider["windows"]]
        used = [one for one in windows if one["used"] or one["reserved"] >= NEARLY * one["limit"]]
        used.sort(key=lambda one: -(one["used"] + one["reserved"]) / max(1, one["limit"]))
        if used:
            more = f"{len(used[_GAUGES:])} with more room: wvo-mcp budget show"
            gauges = table(used[:_GAUGES], self.columns["windows"], now)
            yield Group(Text(), gauges, *([Text(more, "dim")] if used[_GAUGES:] else []))
        flow = result["flow"]
        series: list[int] = flow["completed_per_5_min"]
        if any(series) or flow["created_last_hour"]:
            hour = f"{flow['completed_last_hour']} done, {flow['created_last_hour']} created"
            pace = f"  {sum(series)} done in 2 h; last hour: {hour}"
            yield Group(Text(), _line(("Flow  ", "bold"), (sparkline(series), "green"), (pace, "")))
        leader = result["leader"]
        if leader is None:
            yield Text("No server is running: background work waits for the next one.", "dim")
            return
        name = clean(leader["agent_id"] or f"session {leader['session_id'][:8]}")
        gone = f"The server of {name}, which led, is gone; the next server takes over."
        yield _line(
            (f"Background work is done by the server of {name}.", "dim") if leader["alive"] else (gone, "yellow")
        )


def _hold(said: str, hold: Row) -> Text:
    """A sentence of why work is not begun, until when, and the command that helps: whole, however narrow it is here."""
    until = f" Until {local(hold['until'])}." if hold["until"] else ""
    run = f"  wvo-mcp {hold['run']}" if hold["run"] else ""
    return Text.assemble((f"{said}: ", "yellow"), clean(hold["text"]), until, (run, "cyan"))


def _line(*parts: tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _head(result: Row) -> Iterator[Text]:
    """What there is in numbers; then a bar of all tasks, and in words what the numbers do not say."""
    counts: dict[str, int] = {**dict.fromkeys((*STATUS, "ready"), 0), **result["counts"]}
    total = sum(counts[name] for name in STATUS)
    share = f" ({100 * counts['done'] // total} %)" if total else ""
    reason = f": {clean(result['paused_reason'])}" if result["paused_reason"] else ""
    yield _line(
        (f"{counts['done']} of {total} tasks done{share}", "bold"),
        (f"   {counts['in_progress']}/{result['wip_limit']} in progress   {counts['ready']} ready", ""),
        (f"   PAUSED{reason}" if result["paused"] else "", "bold yellow"),
    )
    if not total:
        yield Text("No tasks yet.", "dim")
        return
    line = _line()
    for name in ("done", "in_progress", "in_review", "awaiting_approval", "blocked", "failed"):
        part = counts[name]
        line.append("█" * min(max(1, _BAR * part // total) if part else 0, _BAR - len(line)), STATUS[name])
    line.append("░" * (_BAR - len(line)) + "  ", "dim")
    waiting = counts["pending"] - counts["ready"] - result["held_back"]
    kinds = ("in_review", "awaiting_approval", "blocked", "failed", "cancelled")
    words = [(waiting, "waiting", ""), (result["held_back"], "held back", "")]
    words += [(counts[name], name.replace("_", " "), STATUS[name]) for name in kinds]
    yield line.append_text(Text(", ").join(Text(f"{n} {word}", style) for n, word, style in words if n > 0))
