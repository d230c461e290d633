"""The autopilot on a terminal: what happened, a line each; below it who works on what now; at the end what became of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table
from rich.text import Text

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.worker import ALONE
from wvo_mcp.faces.cli.views.cells import amount, clean, clock, span, text
from wvo_mcp.faces.cli.views.plain import table

Row = Mapping[str, Any]

STATES = {
    "starting": "cyan",
    "working": "cyan",
    "idle": "yellow",
    "stuck": "bold yellow",
    "limited": "yellow",
    "waiting_approval": "magenta",
    "paused": "yellow",
    "stopping": "dim",
    "ended": "dim",
}
_TROUBLE = ("failed", "blocked", "awaiting_approval")
_ENDS = ("done", "landed", "failed", "waiting")
_GOOD, _BAD = ("done", "landed", "resumed"), ("failed", "refused", "blocked", "unusable", "conflict", "red")
_FEW = 4


@dataclass(frozen=True, slots=True)
class Running:
    """The screen that stays at the bottom. `state` is the result of `workers` for this run; `cap` in US dollars."""

    state: Row
    now: datetime
    began: datetime
    agents: int
    cap: float | None = None
    ending: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        open_ones = [one for one in self.state["workers"] if one["state"] != "ended"]
        active = [one for one in open_ones if one["state"] not in ("limited", "waiting_approval", "paused")]
        reserved = sum(max(0.0, one["reserved_usd"] - one["cost_usd"]) for one in open_ones)
        money = f"${max(0.0, self.state['spent_usd'] - reserved):,.2f}"
        money += "" if self.cap is None else f" of ${self.cap:,.2f}"
        money += f", ${reserved:,.2f} reserved" if reserved >= 0.005 else ""
        counts = self.state["counts"]
        tasks = [f"{counts.get('done', 0)} done", f"{counts.get('ready', 0)} ready"]
        tasks += [f"{counts[name]} {name.replace('_', ' ')}" for name in _TROUBLE if counts.get(name)]
        runs = [f"{len(active)}/{self.agents} workers", span((self.now - self.began).total_seconds()), money]
        yield Text()
        yield Text(" \u00b7 ".join(runs), "bold", no_wrap=True, overflow="ellipsis")
        line = Text(" \u00b7 ".join(tasks), no_wrap=True, overflow="ellipsis")
        if self.state.get("paused"):
            line.append("  PAUSED: wvo-mcp resume", "bold yellow")
        yield line
        if self.ending:
            yield Text(_line(self.ending), "bold yellow")
        most = max(2, (options.max_height - 9) // 2)
        yield from _workers(open_ones, most, self.now, options.max_width)
        yield from needs(self.state["approvals"], self.now)


@dataclass(frozen=True, slots=True)
class Listed:
    """The result of `workers` as `wvo-mcp workers` shows it."""

    state: Row

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        now, everyone = instant(self.state["at"]), self.state["workers"]
        if self.state["paused"]:
            yield Text("PAUSED: wvo-mcp resume", "bold yellow")
        for one in self.state["autopilots"]:
            yield Text(f"Autopilot {clean(one['agent_id'])} runs as process {one['pid']}.", "dim")
        if not self.state["autopilots"]:
            yield Text("No autopilot runs; wvo-mcp autopilot starts one.", "dim")
        yield from _workers([one for one in everyone if one["state"] != "ended"], 100, now, options.max_width)
        ended = [{**one, "since": one["ended_at"]} for one in everyone if one["state"] == "ended"]
        if ended:
            yield Text("\nEnded", "bold")
            yield table(ended, "worker_id=worker task_id=task outcome since=ended cost_usd=cost> reason~", now)
        yield from needs(self.state["approvals"], now)
        if self.state["violations"]:
            yield Text("\nViolations", "bold")
            seen = [{**one, "since": one["at"]} for one in self.state["violations"]]
            yield table(seen, "since=seen worker_id=worker task_id=task verdict subject~", now)
        yield Text(f"\n${self.state['spent_usd']:,.2f} spent or reserved in 24 hours.", "dim")


def _workers(rows: Sequence[Row], most: int, now: datetime, width: int) -> Iterator[RenderableType]:
    """Two lines for each of the first ones: who, what and what it used; below them what it does, or why it waits."""
    wide = width >= 100
    shown = [(one, _who(one, wide=wide), _state(one, now)) for one in rows[:most]]
    names = min(34 if wide else 14, max((len(who) for _, who, _ in shown), default=0))
    states = max((len(state) for *_, state in shown), default=0)
    for one, who, state in shown:
        grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
        grid.add_column(no_wrap=True, min_width=5)
        grid.add_column(no_wrap=True, overflow="ellipsis", min_width=names, max_width=names)
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        grid.add_column(no_wrap=True, overflow="ellipsis", min_width=states)
        grid.add_column(no_wrap=True, justify="right", min_width=5)
        grid.add_column(no_wrap=True, justify="right", min_width=6)
        what = Text.assemble((clean(one["task_id"]), "bold"), " ", _line(one["title"]))
        used = Text(amount(one["tokens_in"] + one["tokens_out"]))
        grid.add_row(text(one["worker_id"]), Text(who), what, state, used, Text(f"${one['cost_usd']:,.2f}"))
        yield grid
        yield Text.assemble(" " * 7, _doing(one, now), no_wrap=True, overflow="ellipsis", end="\n")
    if len(rows) > most:
        yield Text(f"+{len(rows) - most} more: wvo-mcp workers", "dim")
    if not rows:
        yield Text("No worker runs.", "dim")


def _who(one: Row, *, wide: bool) -> str:
    return _line(f"{one['provider']}/{one['tier']}" + (f" {one['model']}" if wide else ""))


def _state(one: Row, now: datetime) -> Text:
    since = span((now - instant(one["since"])).total_seconds())
    return Text(f"{one['state'].replace('_', ' ')} {since}", STATES[one["state"]])


def _doing(one: Row, now: datetime) -> Text:
    reason = one.get("reason") if one["state"] != "working" else None
    alone = (one.get("reason") or "").partition(ALONE)[2] if reason is None else ""
    doing = Text(
        _line(reason or one.get("last_act") or "...") + (f"  deterministic: {_line(alone)}" if alone else ""), "dim"
    )
    if one.get("resets_at"):
        left = (instant(one["resets_at"]) - now).total_seconds()
        when = f"goes on in {span(left)} ({clock(one['resets_at'], now)})" if left > 0 else "goes on now"
        doing = Text.assemble((when, "yellow"), "  ", doing)
    elif one["state"] == "working" and one.get("memory_mb"):
        doing = Text.assemble(doing, (f"  {one['memory_mb']} MB", "dim"))
    return doing


def needs(approvals: Sequence[Row], now: datetime) -> Iterator[RenderableType]:
    """What waits for a person, each with the command to paste."""
    if approvals:
        yield Text.assemble("\n", ("Needs you", "bold magenta"))
    for one in approvals[:_FEW]:
        left = one.get("expires_at")
        until = "" if left is None else f"  ({span((instant(left) - now).total_seconds())} left)"
        line = Text.assemble((f"wvo-mcp approve {clean(one['approval_id'])}", "magenta"), f"{until}  ")
        line.append(f"{clean(one.get('task_id') or one['kind'])}: {_line(one['about'])}", "dim")
        line.no_wrap, line.overflow = True, "ellipsis"
        yield line
    if len(approvals) > _FEW:
        yield Text(f"+{len(approvals) - _FEW} more: wvo-mcp approvals", "dim")


def plan(found: Row) -> RenderableType:
    """What a run may do and cost, before it starts."""
    cap, most = found.get("max_cost_usd"), found.get("max_tasks")
    money = "with no limit on cost (--max-cost USD sets one)" if cap is None else f"for at most ${cap:,.2f}"
    tasks = "" if most is None else f"at most {most} task{'s' * (most != 1)}, "
    workers = found.get("workers", 1)
    lines = [Text(f"Up to {workers} worker{'s' * (workers != 1)} at once, {tasks}{money}.", "bold")]
    estimate = found.get("estimate_usd")
    if estimate and found.get("tiers"):
        limit = "" if estimate["most"] is None else f", at most ${estimate['most']:,.2f}"
        lines.append(Text(f"Likely cost: ${estimate['usual']:,.2f}{limit}."))
    if found.get("day_cap_usd") is not None:
        lines.append(Text(f"Today: ${found.get('day_spent_usd', 0.0):,.2f} of ${found['day_cap_usd']:,.2f} spent."))
    by_provider: dict[str, list[str]] = {}
    for one in found.get("tiers", ()):
        by_provider.setdefault(one["provider"], []).append(f"{one['model']} ({one['tier']})")
    if not by_provider:
        lines.append(Text("No provider can be used: see state/providers.yaml and wvo-mcp doctor.", "yellow"))
    lines += [text(f"  {name}: {', '.join(models)}", "dim") for name, models in by_provider.items()]
    lines.append(Text(f"{found.get('ready', 0)} tasks are ready, {found.get('open', 0)} open."))
    lines += [text(note, "yellow") for note in found.get("notes", ())]
    return Group(*lines)


def news(one: Row, now: datetime) -> RenderableType:
    """One thing that happened; what does not fit stands below itself."""
    what = str(one["event"])
    if what == "ended":  # what became of its task says more
        what = str(one.get("outcome") if one.get("task") == "pending" else one.get("task") or what)
    style = "green" if what in _GOOD else "red" if what in _BAD else "magenta" if what == "asks" else ""
    said = [one.get("worker_id"), "/".join(str(one[name]) for name in ("provider", "tier") if one.get(name))]
    said += [f"wvo-mcp approve {one['approval_id']}"] if one.get("approval_id") else []
    said += [f"until {clock(one['until'], now)}"] if one.get("until") else []
    said += [one.get("command"), one.get("reason") if what != "done" and not one.get("approval_id") else None]
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, min_width=8)
    grid.add_column(overflow="fold")
    about = Text.assemble(
        (f"{clean(one.get('task_id') or '-'):<10} ", "bold"), "  ".join(_line(str(part)) for part in said if part)
    )
    about.truncate(400)
    grid.add_row(Text(f"{now.astimezone():%H:%M:%S}", "dim"), text(what.replace("_", " "), style), about)
    return grid


def summary(found: Row, now: datetime) -> RenderableType:
    """What became of each task that the run touched; the last line counts them."""
    rows: list[Row] = []
    landed = {one["task_id"] for one in found.get("landed", ())}
    for name in _ENDS:
        for one in found.get(name, ())[:200]:
            if name == "done" and one["task_id"] in landed:  # it is listed with the commit that landed
                continue
            why = [_line(one["reason"])] if one.get("reason") else []
            why += ["nothing was changed"] if one.get("no_changes") else []
            why += [f"until {clock(one['until'], now)}"] if one.get("until") else []
            why += [f"wvo-mcp approve {one['approval_id']}"] if one.get("approval_id") else []
            rows.append({"became": name, **one, "commit": (one.get("commit") or "")[:10], "why": "; ".join(why)})
    counts = ", ".join(f"{len(found.get(name, ()))} {name}" for name in _ENDS)
    spent = f"; ${found['cost_usd']:,.2f}" if found.get("cost_usd") is not None else ""
    ended = [Text(f"Ended: {_line(found['ended'])}.", "dim")] if found.get("ended") else []
    table_of = [table(rows, "became task_id=task commit why+", now)] if rows else []
    return Group(Text(), *table_of, *ended, Text.assemble((counts, "bold"), spent))


def log(found: Row) -> RenderableType:
    """The lines of a worker's log as they are, without what would steer the terminal."""
    head = Text.assemble((clean(found["worker_id"]), "bold"), f"  {clean(found['task_id'])}  ", _state_of(found))
    return Group(head, *(text(line) for line in found["lines"] or ["(nothing yet)"]))


def _state_of(found: Row) -> Text:
    why = f"  {_line(found['reason'])}" if found.get("reason") else ""
    return Text(f"{found.get('outcome') or found['state']}{why}".replace("_", " "), STATES[found["state"]])


def _line(said: str) -> str:
    """A text on one line that steers no terminal, and no megabyte of it."""
    return clean(" ".join(said[:400].split()))
